"The installer behind every `make` target: what it does is recorded here instead of done"
import importlib.util
import shutil
import sys
import pytest


def load(root):
    spec = importlib.util.spec_from_file_location('install', root/'tools/install.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def install(tmp_path, root, monkeypatch):
    m = load(root)
    for f in m.INPUTS: shutil.copy(root/f, tmp_path)
    monkeypatch.setattr(m, 'ROOT', tmp_path)
    monkeypatch.setattr(m, 'VENV', tmp_path/'.venv')
    monkeypatch.setattr(m, 'check_room', lambda: None)
    m.done = []

    def run(*command):
        m.done.append(' '.join(map(str, command)))
        if 'venv' not in command: return
        m.python().parent.mkdir(parents=True)
        m.python().symlink_to(sys.executable)
    monkeypatch.setattr(m, 'run', run)
    return m


def new_venv(m): return any('-m venv' in d for d in m.done)
def packages(m): return any('--require-hashes -r requirements.lock' in d for d in m.done)


def test_once_and_then_only_what_changed(install, capsys):
    install.main()
    assert new_venv(install) and packages(install) and '-e .' in install.done[-1]
    assert 'GB to fetch' in capsys.readouterr().out
    install.done.clear()
    install.main()
    assert install.done == []
    with (install.ROOT/'settings.ini').open('a') as f: f.write('# an edit\n')
    install.main()
    assert len(install.done) == 1 and '-e .' in install.done[0]
    install.done.clear()
    with (install.ROOT/'requirements.lock').open('a') as f: f.write('# an edit\n')
    install.main()
    assert packages(install) and not new_venv(install)


def copied_to(m, place):
    m.marker().write_text(m.marker().read_text().replace(str(m.ROOT), place))


def lose_pip(m):
    m.python().unlink()
    m.python().write_text('#!/bin/sh\nexit 1\n')
    m.python().chmod(0o755)


@pytest.mark.parametrize('harm', [
    lambda m: copied_to(m, '/elsewhere'),
    lambda m: copied_to(m, f'{m.ROOT}-main'),
    lose_pip,
    lambda m: m.python().unlink(),
], ids=['copied', 'copied beside', 'no pip', 'no python'])
def test_our_own_is_made_anew_when_broken_or_copied(install, harm):
    install.main()
    install.done.clear()
    harm(install)
    (install.VENV/'old.txt').touch()
    install.main()
    assert new_venv(install) and packages(install) and not (install.VENV/'old.txt').exists()


@pytest.mark.parametrize('stopped_at', ['-m venv', '-m pip', '--require-hashes', '-e .'])
def test_one_that_was_stopped_goes_on(install, monkeypatch, stopped_at):
    "Killed at any step, the second try knows its own environment and ends it"
    run = install.run

    def killed(*command):
        if stopped_at in ' '.join(map(str, command)): raise KeyboardInterrupt
        run(*command)
    monkeypatch.setattr(install, 'run', killed)
    with pytest.raises(KeyboardInterrupt): install.main()
    monkeypatch.setattr(install, 'run', run)
    install.done.clear()
    install.main()
    assert packages(install) and new_venv(install) == (stopped_at == '-m venv')
    assert install.made() == install.wanted()


def a_link(m):
    other = m.ROOT/'other'
    (other/'bin').mkdir(parents=True)
    m.VENV.symlink_to(other)
    return other/'bin'


def a_link_to_one_of_ours(m):
    bin = a_link(m)
    (bin.parent/'installed.txt').write_text(m.wanted())
    return bin


def a_dangling_link(m):
    m.VENV.symlink_to(m.ROOT/'nowhere')
    return m.ROOT


def without_pip(m):
    "As `uv venv` makes it, and a person may"
    (m.VENV/'bin').mkdir(parents=True)
    (m.VENV/'pyvenv.cfg').write_text('uv = 0.13.9\n')
    return m.VENV/'bin'


def with_pip(m):
    bin = without_pip(m)
    m.python().symlink_to(sys.executable)
    return bin


def a_file(m):
    m.VENV.write_text('not a folder')
    return m.ROOT


@pytest.mark.parametrize('make', [a_link, a_link_to_one_of_ours, a_dangling_link, without_pip,
                                  with_pip, a_file], ids=lambda f: f.__name__)
def test_what_it_did_not_make_is_left_alone(install, make):
    kept = make(install)
    before = sorted(install.ROOT.rglob('*'))
    with pytest.raises(SystemExit, match='Remove or rename it, or give another place: make VENV='):
        install.main()
    assert install.done == [] and kept.exists() and sorted(install.ROOT.rglob('*')) == before


def test_another_place(root, tmp_path, monkeypatch):
    monkeypatch.setenv('VENV', str(tmp_path/'a b'))
    assert load(root).VENV == tmp_path/'a b'
    monkeypatch.setenv('VENV', '')
    assert load(root).VENV == root/'.venv'


def test_too_old_a_python(install, monkeypatch):
    monkeypatch.setattr(install.sys, 'version_info', (3, 9, 2, 'final', 0))
    with pytest.raises(SystemExit, match='Python 3.9.2; fer_nbdev needs 3.11'): install.main()
    assert install.done == []


def test_no_venv(install, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ensurepip', None)
    with pytest.raises(SystemExit, match='apt-get install python3-venv'): install.main()


def test_what_is_there_counts_as_room(root, tmp_path, monkeypatch):
    m = load(root)
    monkeypatch.setattr(m, 'VENV', tmp_path)
    monkeypatch.setattr(m.shutil, 'disk_usage', lambda p: type('', (), dict(free=4e9)))
    monkeypatch.setattr(m, 'size', lambda p: 6.)
    m.check_room()
    monkeypatch.setattr(m, 'size', lambda p: 1.)
    with pytest.raises(SystemExit, match='4.0 GB free'): m.check_room()
