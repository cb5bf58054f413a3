"What is generated is up to date, and what is committed is clean; both are found out in a copy, so the checkout stays as it is"
import json, re, subprocess, sys


def differences(a, b, pattern):
    "Files under `pattern` that are not the same in both trees"
    names = {f.relative_to(t) for t in (a, b) for f in t.glob(pattern) if '.ipynb_checkpoints' not in f.parts and '__pycache__' not in f.parts}
    def same(n): return (a/n).exists() and (b/n).exists() and (a/n).read_bytes() == (b/n).read_bytes()
    return sorted(str(n) for n in names if not same(n))


def run_in(copy, code):
    r = subprocess.run([sys.executable, '-c', code], cwd=copy, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stdout + r.stderr


def test_export_drift(root, copy_tree):
    copy = copy_tree()
    before = copy_tree()
    run_in(copy, 'from nbdev.doclinks import nbdev_export; nbdev_export()')
    changed = differences(before, copy, 'fer_nbdev/**/*.py')
    assert not changed, f"not what the notebooks say: {', '.join(changed)}. Type: nbdev_export"


def test_clean_drift(root, copy_tree):
    copy = copy_tree()
    before = copy_tree()
    run_in(copy, 'from nbdev.clean import nbdev_clean; nbdev_clean()')
    changed = differences(before, copy, 'nbs/**/*.ipynb')
    assert not changed, f"not clean: {', '.join(changed)}. Type: nbdev_clean"


def test_modules_and_notebooks_match(root):
    "No module without its notebook (a renamed one leaves its old .py behind), and no two notebooks with one module"
    owner = {}
    for nb in sorted((root/'nbs').glob('[0-9][0-9]_*.ipynb')):
        source = ''.join(''.join(c['source']) + '\n' for c in json.loads(nb.read_text())['cells'])
        for m in re.findall(r'^#\|\s*default_exp\s+(\S+)', source, re.M):
            assert m not in owner, f"{nb.name} and {owner[m]} both write fer_nbdev/{m}.py"
            owner[m] = nb.name
            assert nb.stem[3:] == m, f"{nb.name} writes fer_nbdev/{m}.py, expected {nb.stem[3:]}.py"
    modules = {f.stem for f in (root/'fer_nbdev').glob('*.py')} - {'__init__', '_modidx'}
    assert modules == set(owner)
