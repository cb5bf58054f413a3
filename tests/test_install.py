"The installer behind every `make` target: what it does is recorded here instead of done"
import importlib.util, shutil, sys
import pytest


@pytest.fixture
def install(tmp_path, root, monkeypatch):
    spec = importlib.util.spec_from_file_location('install', root/'tools/install.py')
    m = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(m)
    for f in ('requirements.lock', 'settings.ini', 'setup.py', 'pyproject.toml'): shutil.copy(root/f, tmp_path)
    for k,v in dict(ROOT=tmp_path, VENV=tmp_path/'.venv', PYTHON=tmp_path/'.venv/bin/python', STAMP=tmp_path/'.venv/installed.txt').items(): monkeypatch.setattr(m, k, v)
    m.done = []
    def run(*command):
        m.done.append(' '.join(map(str, command)))
        if 'venv' in command: m.PYTHON.parent.mkdir(parents=True, exist_ok=True); m.PYTHON.unlink(missing_ok=True); m.PYTHON.symlink_to(sys.executable)
    monkeypatch.setattr(m, 'run', run)
    monkeypatch.setattr(m, 'check_room', lambda: None)
    return m


def test_once_and_then_only_what_changed(install, capsys):
    install.main()
    assert [any(s in d for d in install.done) for s in ('-m venv', '--require-hashes -r requirements.lock', '--no-deps --no-build-isolation -e .')] == [True]*3
    assert 'GB to fetch' in capsys.readouterr().out
    install.done.clear(); install.main()
    assert install.done == []
    (install.ROOT/'settings.ini').open('a').write('# an edit\n')
    install.main()
    assert len(install.done) == 1 and '-e .' in install.done[0]
    install.done.clear()
    (install.ROOT/'requirements.lock').open('a').write('# an edit\n')
    install.main()
    assert any('--require-hashes' in d for d in install.done) and not any('-m venv' in d for d in install.done)


def test_a_broken_or_copied_environment_is_made_anew(install):
    def copied_to(place): install.STAMP.write_text(install.STAMP.read_text().replace(str(install.ROOT), place))
    def lost_pip(): install.PYTHON.unlink(); install.PYTHON.write_text('#!/bin/sh\nexit 1\n'); install.PYTHON.chmod(0o755) # stopped before pip was in
    for harm in (lambda: copied_to('/elsewhere'), lambda: copied_to(f'{install.ROOT}-main'), lost_pip, lambda: install.PYTHON.unlink()):
        install.main(); install.done.clear()
        harm()
        install.main()
        assert '-m venv --clear' in install.done[0]


def test_an_unfinished_one_goes_on(install, monkeypatch):
    install.main(); install.done.clear()
    install.STAMP.unlink()
    install.main()
    assert any('--require-hashes' in d for d in install.done) and not any('-m venv' in d for d in install.done)


def test_too_old_a_python(install, monkeypatch):
    monkeypatch.setattr(install.sys, 'version_info', (3, 9, 2, 'final', 0))
    with pytest.raises(SystemExit, match='Python 3.9.2; fer_nbdev needs 3.11'): install.main()
    assert install.done == []


def test_no_venv(install, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ensurepip', None)
    with pytest.raises(SystemExit, match='apt-get install python3-venv'): install.main()


def test_what_is_there_counts_as_room(install, monkeypatch):
    spec = importlib.util.spec_from_file_location('install_again', install.__file__)
    m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m)
    monkeypatch.setattr(m, 'VENV', install.ROOT)
    monkeypatch.setattr(m.shutil, 'disk_usage', lambda p: type('', (), dict(free=4e9)))
    monkeypatch.setattr(m, 'size', lambda p: 6.)
    m.check_room()
    monkeypatch.setattr(m, 'size', lambda p: 1.)
    with pytest.raises(SystemExit, match='4.0 GB free'): m.check_room()
