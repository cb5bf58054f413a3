"A fork's links are set by one command, and what is generated stays what the notebooks make"
import json
import re
import subprocess
import sys
import pytest


@pytest.fixture
def fork(copy_tree):
    "A copy of the tree, and a function that runs the command there"
    to = copy_tree()

    def _fork(*args):
        command = [sys.executable, to/'tools/fork.py', *args]
        return subprocess.run(command, cwd=to, capture_output=True, text=True, timeout=60)
    return to, _fork


def user_of(root):
    return re.search(r'^user = (\S+)', (root/'settings.ini').read_text(encoding='utf-8'), re.M)[1]


def naming(top, user):
    "The text files that have `user` in a link"
    link = rf'github(\.com)?/{user}\b|\b{user}\.github\.io|\b{user}/fer_nbdev\b'
    for f in sorted(top.rglob('*')):
        if f.is_file() and f.suffix in ('.py', '.md', '.ipynb', '.yml', '.yaml', '.ini', '.html'):
            if re.search(link, f.read_text(encoding='utf-8', errors='ignore')):
                yield f.relative_to(top).as_posix()


def test_no_link_to_the_old_place_remains(root, fork):
    to, run = fork
    old = user_of(root)
    assert 'README.md' in list(naming(to, old))
    r = run('somebody-else')
    assert r.returncode == 0, r.stderr
    assert list(naming(to, old)) == [] and user_of(to) == 'somebody-else'
    assert 'README.md' in list(naming(to, 'somebody-else'))
    for nb in to.rglob('nbs/**/*.ipynb'): json.loads(nb.read_text(encoding='utf-8'))


def test_generated_files_follow(fork, copy_tree):
    "Export and README of the fork are what its notebooks and settings make"
    to, run = fork
    assert run('somebody-else', 'faces').returncode == 0
    before = {f: f.read_bytes() for f in (to/'fer_nbdev').glob('*.py')}
    code = 'from nbdev.doclinks import nbdev_export; nbdev_export()'
    r = subprocess.run([sys.executable, '-c', code], cwd=to, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert [f.name for f,b in before.items() if f.read_bytes() != b] == []
    r = subprocess.run([sys.executable, to/'docs/build.py', '--check'], cwd=to,
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr


@pytest.mark.parametrize('args', [(), ('',), ('two words',), ('https://github.com/me',)])
def test_what_is_no_name_changes_nothing(root, fork, args):
    to, run = fork
    r = run(*args)
    assert r.returncode == 1 and r.stderr.startswith('error: ') and user_of(to) == user_of(root)
