"`make` lists its targets, each can be asked what it would do, and paths may have blanks"
import os
import re
import shutil
import subprocess
import pytest

OURS = ('FER2013_PATH', 'MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'VENV', 'PYTHON')
ENV = {k: v for k,v in os.environ.items() if k not in OURS}


@pytest.fixture
def place(root, tmp_path):
    "A folder with a blank in its name, and in it our Makefile with a target that prints"
    to = tmp_path/'a b'
    (to/'tools').mkdir(parents=True)
    (to/'tools/install.py').write_text('import os, sys\nprint("installer", os.environ["VENV"])\n')
    more = '\nwhere:\n\t@$(absolute) echo "<$$FER2013_PATH>"\n'
    makefile = (root/'Makefile').read_text(encoding='utf-8')
    (to/'Makefile').write_text(makefile + more, encoding='utf-8')
    return to


@pytest.fixture
def make(need, place):
    program = need('make', 'apt-get install make')

    def _make(*args, fails=False, **env):
        r = subprocess.run([program, *args], cwd=place, capture_output=True, text=True,
                           timeout=60, env={**ENV, **env})
        assert (r.returncode != 0) == fails, r.stdout + r.stderr
        return r.stderr if fails else r.stdout
    return _make


def test_targets(make, root):
    makefile = (root/'Makefile').read_text(encoding='utf-8')
    targets = re.search(r'^\.PHONY: (.+)', makefile, re.M)[1].split()
    listed = re.findall(r'^  make (\S+) +\S', make(), re.M)
    assert sorted(listed) == sorted(targets) == sorted(re.findall(r'^([a-z]+):', makefile, re.M))
    for t in targets: assert make('-n', t).strip(), t


def test_data_path_becomes_absolute(make, place):
    def where(path): return re.search('<(.*)>', make('-s', 'where', FER2013_PATH=path))[1]
    assert where('data/fer 2013') == f'{place}/data/fer 2013'
    assert where('/data/fer2013') == '/data/fer2013'
    assert where('') == ''
    for t in ('walkthrough', 'lab', 'outputs'):
        assert 'export FER2013_PATH="' in make('-n', t), t


def test_environment_goes_where_it_is_told(make, place):
    assert make('install') == f'installer {place}/.venv\n'
    assert make('install', 'VENV=my env') == f'installer {place}/my env\n'
    assert make('install', 'VENV=/x y/z') == 'installer /x y/z\n'


def test_a_python_that_is_not_there(make):
    said = make('install', 'PYTHON=python3.99', fails=True)
    assert 'no program python3.99' in said and 'apt-get install python3.99' in said
    assert 'command not found' not in said


def test_a_python_in_a_path_with_a_blank(make, place):
    (place/'python3').symlink_to(shutil.which('python3'))
    assert 'installer' in make('install', f'PYTHON={place}/python3')
