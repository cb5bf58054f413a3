"The wheel, installed without extras into an empty environment and used outside the checkout"
import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
import matplotlib.cbook as cbook
import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(f.stem for f in (ROOT/'fer_nbdev').glob('[a-z]*.py'))
TORCH = [m for m in MODULES if "require('train'" in (ROOT/f'fer_nbdev/{m}.py').read_text('utf-8')]
TORCH = [m for m in TORCH if m != 'core'] # it defines `require`
BASE = [m for m in MODULES if m not in TORCH]
LIGHT = ['core', 'detect', 'predict', 'cli']
HEAVY = ('torch', 'fastai', 'pandas', 'sklearn', 'scipy', 'matplotlib.pyplot', 'plotly', 'imblearn',
         'pyarrow')
HOPPER = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
UV = [sys.executable, '-m', 'uv', 'pip']


def sh(*command, **kw):
    command = [str(c) for c in command]
    r = subprocess.run(command, capture_output=True, text=True, timeout=600, **kw)
    assert r.returncode == 0, f"{' '.join(command)}\n{r.stdout}\n{r.stderr}"
    return r.stdout + r.stderr


def install(*args):
    "`uv pip install`, from what `make install` left in uv's cache, else from the network"
    try: return sh(*UV, 'install', '--offline', *args)
    except AssertionError: return sh(*UV, 'install', *args)


@pytest.fixture(scope='module')
def wheel(copy_tree, tmp_path_factory, measured):
    "Built in a copy, so that an old build/ folder cannot leak into it"
    out = tmp_path_factory.mktemp('dist')
    sh(sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', out, copy_tree())
    path, = out.glob('*.whl')
    measured('wheel', f'{path.stat().st_size/1e6:.1f} MB')
    return path


@pytest.fixture(scope='module')
def pins(tmp_path_factory):
    "The lock without its hashes: as constraints those would have to cover the wheel too"
    path = tmp_path_factory.mktemp('pins')/'pins.txt'
    lock = (ROOT/'requirements.lock').read_text(encoding='utf-8').splitlines()
    path.write_text('\n'.join(l.rstrip(' \\') for l in lock if re.match(r'[\w.-]+==', l)))
    return path


@pytest.fixture(scope='module')
def env(wheel, pins, tmp_path_factory, measured):
    "Its Python: the wheel and what it requires, in the versions of the lock, and nothing else"
    home = tmp_path_factory.mktemp('env')
    sh(sys.executable, '-m', 'venv', '--without-pip', home)
    python = home/'bin/python'
    install('-q', '--python', python, '-c', pins, wheel)
    size = sum(f.lstat().st_size for f in home.rglob('*') if not f.is_symlink())
    measured('base install, with all it requires', f'{size/1e6:.0f} MB')
    return python


@pytest.fixture
def outside(env, tmp_path):
    "Run code with that Python, far from the checkout"
    ours = ('PYTHONPATH', 'FER2013_PATH', 'VIRTUAL_ENV')
    clean = {k: v for k,v in os.environ.items() if k not in ours}
    return lambda code: sh(env, '-c', code, cwd=tmp_path, env=clean)


def test_wheel(wheel):
    "Small enough, with its modules and weights, and without anything that is not the package"
    assert wheel.stat().st_size <= 40e6
    names = zipfile.ZipFile(wheel).namelist()
    top = {n.split('/')[0] for n in names}
    assert {t for t in top if not t.endswith('.dist-info')} == {'fer_nbdev'}
    for f in (ROOT/'fer_nbdev').glob('*.py'): assert f'fer_nbdev/{f.name}' in names
    for f in (ROOT/'fer_nbdev').glob('weights/*'): assert f'fer_nbdev/weights/{f.name}' in names
    assert any(n.endswith('LICENSE') for n in names)


def test_metadata(outside):
    "Name, licence and extras come from settings.ini"
    settings = (ROOT/'settings.ini').read_text(encoding='utf-8')
    m = json.loads(outside('''
import json, fer_nbdev, importlib.metadata as md
m = md.metadata('fer_nbdev')
print(json.dumps(dict(file=fer_nbdev.__file__, version=m['Version'],
    license=m['License-Expression'] or m['License'], extras=m.get_all('Provides-Extra'))))'''))
    assert str(ROOT) not in m['file']
    assert m['license'] == 'Apache-2.0'
    assert sorted(m['extras']) == sorted(re.findall(r'^(\w+)_requirements', settings, re.M))
    assert f"version = {m['version']}" in settings


def test_pip_check(env): sh(*UV, 'check', '--python', env)


@pytest.mark.parametrize('module', LIGHT)
def test_light_modules_import_little(module, outside):
    code = f"import sys, json, fer_nbdev.{module}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(outside(code))
    assert not [h for h in HEAVY if h in loaded]


@pytest.mark.parametrize('module', BASE)
def test_base_install_has_no_torch_and_does_without(module, outside):
    outside(f"import importlib.util as u, fer_nbdev.{module}; assert u.find_spec('torch') is None")


@pytest.mark.parametrize('module', TORCH)
def test_missing_extra_is_named(module, outside):
    said = outside(f"""
try: import fer_nbdev.{module}
except ImportError as e: print(e)""")
    assert "pip install 'fer_nbdev[train]'" in said


def test_the_modules_with_torch_are_those_that_import_it():
    "None is without the check that names the missing extra"
    for m in BASE:
        tree = ast.parse((ROOT/f'fer_nbdev/{m}.py').read_text(encoding='utf-8'))
        imports = [ast.unparse(t) for t in tree.body if isinstance(t, (ast.Import, ast.ImportFrom))]
        assert not [i for i in imports if re.search(r'\b(torch|fastai)\b', i)], m
    assert 'train' in TORCH and 'models' in TORCH


@pytest.fixture
def program(env, tmp_path):
    "Run a command of the installed wheel, far from the checkout: exit code, output, errors"
    ours = ('PYTHONPATH', 'FER2013_PATH', 'VIRTUAL_ENV')
    clean = {k: v for k,v in os.environ.items() if k not in ours}

    def _run(name, *args):
        r = subprocess.run([env.parent/name, *args], capture_output=True, text=True, cwd=tmp_path,
                           env=clean, timeout=300)
        return r.returncode, r.stdout, r.stderr
    return _run


def test_commands_of_the_wheel(program):
    "Each says what it does; a photo gets its answer, an error its line, a missing extra its name"
    names = re.findall(r'^ +(fer_\w+)=', (ROOT/'settings.ini').read_text(encoding='utf-8'), re.M)
    assert 'fer_predict' in names
    for name in names:
        code, out, err = program(name, '--help')
        assert code == 0 and out.startswith(f'Usage: {name}') and not err, name
    code, out, err = program('fer_predict', HOPPER)
    assert code == 0 and re.search(r'\w+ \d+% at x=\d+', out) and not err
    code, out, err = program('fer_predict', 'missing.jpg')
    assert (code, out) == (2, '') and err.startswith('error: missing.jpg: no such file')
    for command, extra in (('fer_train', 'train'), ('fer_export run x.onnx', 'train'),
                           ('fer_batch . out', 'batch'), ('fer_serve --port 0', 'app')):
        code, out, err = program(*command.split())
        assert code == 2 and f"pip install 'fer_nbdev[{extra}]'" in err and 'Traceback' not in err


def test_the_commands_that_the_base_install_runs(program, tmp_path):
    "Data, a score, an explanation and a video, without an extra"
    code, out, err = program('fer_data', 'inspect', '--json')
    assert code == 0 and json.loads(out)['faces'] > 1000
    code, out, err = program('fer_data', 'convert', 'missing.csv', 'faces.parquet')
    assert code == 2 and err.startswith('error: ') and 'Traceback' not in err
    code, out, err = program('fer_evaluate', '--model', 'nano', '--json')
    assert code == 0 and 0 < json.loads(out)['metrics']['accuracy']['value'] < 1, err
    code, out, err = program('fer_explain', HOPPER, 'heat.png')
    assert code == 0 and (tmp_path/'heat.png').stat().st_size > 1000, err
    code, out, err = program('fer_video', HOPPER, '--out', 'out.mkv', '--table', 't.csv', '--json')
    assert code == 0 and json.loads(out)['frames'] == 1, err
    assert (tmp_path/'t.csv').read_text().startswith('frame,time')


def imported(nb):
    "The packages that a page imports, but for those that it can do without and looks for"
    cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
    code = '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'code'
                     and 'nbdev_export(' not in ''.join(c['source']))
    optional = set(re.findall(r"find_spec\('(\w+)'\)", code))
    return set(re.findall(r'^ *(?:from|import) (\w+)', code, re.M)) - optional


def test_what_colab_installs_is_enough_for_each_page(wheel, env, pins):
    "The line that the site shows, resolved with our wheel in place of the repository"
    sys.path.insert(0, str(ROOT/'docs'))
    from render import CFG, INSTALL
    wanted = re.fullmatch(r'%pip install -q "(.+) @ git\+(https://\S+)"', INSTALL)
    assert wanted[2] == CFG.git_url
    said = install('--dry-run', '--python', env, '-c', pins, f'{wanted[1]} @ {wheel.as_uri()}')
    there = json.loads(sh(*UV, 'list', '--python', env, '--format', 'json').splitlines()[0])
    names = {p['name'] for p in there} | set(re.findall(r'^ \+ ([\w.-]+)==', said, re.M))
    names = {n.lower().replace('_', '-') for n in names}
    assert {'torch', 'fastai', 'fer-nbdev'} <= names
    owners = packages_distributions()
    in_colab = {*sys.stdlib_module_names, 'IPython', 'fer_nbdev'}
    for nb in (ROOT/'nbs').rglob('*.ipynb'):
        for package in imported(nb) - in_colab:
            known = {n.lower().replace('_', '-') for n in owners.get(package, [package])}
            assert known & names, f"{nb.name} imports {package}, which {INSTALL} does not bring"


def readme_code():
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', readme, re.S)
    return next((b for b in blocks if 'load_predictor' in b), None)


def test_readme_lines_run(env, pins, outside):
    "The README's five lines, from the wheel and what its own line installs, without torch"
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    beside = re.search(r'pip install git\+\S+ (.*)', readme)[1].split()
    install('-q', '--python', env, '-c', pins, *beside)
    code = readme_code()
    assert code and len([l for l in code.splitlines() if l.strip()]) <= 5
    said = outside(code + "\nimport sys; assert 'torch' not in sys.modules")
    told = readme.split(code)[1] # what it shows below
    answer = r'(\w+) +(\d+) ?%'
    said, told = (re.search(answer, s) for s in (said, told))
    assert said[1] == told[1] and abs(int(said[2])-int(told[2])) <= 1
