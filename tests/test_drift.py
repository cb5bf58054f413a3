"""What is generated is up to date, and what is committed is clean. Both are found out in a copy, so
that the checkout stays as it is"""
import json
import re
import subprocess
import sys

LEFT_OUT = {'.ipynb_checkpoints', '__pycache__'}


def differences(a, b, pattern):
    "Files under `pattern` that are not the same in both trees"
    names = {f.relative_to(t) for t in (a, b) for f in t.glob(pattern)}
    names = {n for n in names if not LEFT_OUT & {*n.parts}}
    def content(f): return f.read_bytes() if f.exists() else None
    return sorted(str(n) for n in names if content(a/n) != content(b/n))


def changed_by(code, copy_tree, pattern):
    "Files under `pattern` that a line of Python changes"
    before, copy = copy_tree(), copy_tree()
    r = subprocess.run([sys.executable, '-c', code], cwd=copy, capture_output=True, text=True,
                       timeout=300)
    assert r.returncode == 0, r.stdout + r.stderr
    return ', '.join(differences(before, copy, pattern))


def test_export_drift(copy_tree):
    code = 'from nbdev.doclinks import nbdev_export; nbdev_export()'
    changed = changed_by(code, copy_tree, 'fer_nbdev/**/*.py')
    assert not changed, f"not what the notebooks say: {changed}. Type: nbdev_export"


def test_clean_drift(copy_tree):
    code = 'from nbdev.clean import nbdev_clean; nbdev_clean()'
    changed = changed_by(code, copy_tree, 'nbs/**/*.ipynb')
    assert not changed, f"not clean: {changed}. Type: nbdev_clean"


def test_modules_and_notebooks_match(root):
    "No module without its notebook: a renamed one leaves its .py. No two notebooks for one module"
    owner = {}
    for nb in sorted((root/'nbs').glob('[0-9][0-9]_*.ipynb')):
        cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
        source = '\n'.join(''.join(c['source']) for c in cells)
        for m in re.findall(r'^#\|\s*default_exp\s+(\S+)', source, re.M):
            assert m not in owner, f"{nb.name} and {owner[m]} both write fer_nbdev/{m}.py"
            owner[m] = nb.name
            assert nb.stem[3:] == m, f"{nb.name} writes fer_nbdev/{m}.py, not {nb.stem[3:]}.py"
    modules = {f.stem for f in (root/'fer_nbdev').glob('*.py')} - {'__init__', '_modidx'}
    assert modules == set(owner)
