"The wheel, installed without extras into an empty environment and used outside the checkout"
import json, os, re, shutil, subprocess, sys, zipfile
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
LIGHT = [m for m in ('core', 'detect', 'predict', 'cli') if (ROOT/f'fer_nbdev/{m}.py').exists()]
BASE = [m for m in ('core', 'synthetic', 'data', 'eda', 'quality', 'evaluate', 'resample', 'detect', 'predict', 'cli') if (ROOT/f'fer_nbdev/{m}.py').exists()]
TORCH = [m for m in ('losses', 'models', 'train', 'gradcam', 'faithfulness', 'export') if (ROOT/f'fer_nbdev/{m}.py').exists()]
HEAVY = ('torch', 'fastai', 'pandas', 'sklearn', 'scipy', 'matplotlib.pyplot', 'plotly', 'imblearn', 'pyarrow')
UV = [sys.executable, '-m', 'uv', 'pip']


def sh(*command, **kw):
    r = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600, **kw)
    assert r.returncode == 0, f"{' '.join(map(str, command))}\n{r.stdout}\n{r.stderr}"
    return r.stdout


@pytest.fixture(scope='module')
def wheel(copy_tree, tmp_path_factory, measured):
    "Built in a copy, so that an old build/ folder cannot leak into it"
    out = tmp_path_factory.mktemp('dist')
    sh(sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', out, copy_tree())
    path, = out.glob('*.whl')
    measured('wheel', f'{path.stat().st_size/1e6:.1f} MB')
    return path


@pytest.fixture(scope='module')
def env(wheel, tmp_path_factory, measured):
    "Its Python: the wheel and what it requires, in the versions of requirements.lock, and nothing else"
    home = tmp_path_factory.mktemp('env')
    sh(sys.executable, '-m', 'venv', '--without-pip', home)
    pins = home/'pins.txt' # the lock without its hashes: as constraints those would have to cover the wheel too
    pins.write_text('\n'.join(l.rstrip(' \\') for l in (ROOT/'requirements.lock').read_text().splitlines() if re.match(r'[\w.-]+==', l)))
    python = home/'bin/python'
    sh(*UV, 'install', '-q', '--python', python, '-c', pins, wheel)
    size = sum(f.lstat().st_size for f in home.rglob('*') if not f.is_symlink())
    measured('base install, with all it requires', f'{size/1e6:.0f} MB')
    return python


@pytest.fixture
def outside(env, tmp_path):
    "Run code with that Python, far from the checkout"
    clean = {k: v for k,v in os.environ.items() if k not in ('PYTHONPATH', 'FER2013_PATH', 'VIRTUAL_ENV')}
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
    m = json.loads(outside('''
import json, importlib.metadata as md
m = md.metadata('fer_nbdev')
print(json.dumps(dict(file=__import__('fer_nbdev').__file__, version=m['Version'], license=m['License-Expression'] or m['License'], extras=m.get_all('Provides-Extra'), url=m.get_all('Home-page') or m.get_all('Project-URL'))))'''))
    assert str(ROOT) not in m['file']
    assert m['license'] == 'Apache-2.0'
    assert set(m['extras']) == {'train', 'track', 'app', 'batch', 'dev'}
    assert f"version = {m['version']}" in (ROOT/'settings.ini').read_text()


def test_pip_check(env): sh(*UV, 'check', '--python', env)


@pytest.mark.parametrize('module', LIGHT)
def test_light_modules_import_little(module, outside):
    loaded = json.loads(outside(f"import sys, json, fer_nbdev.{module}; print(json.dumps(sorted(sys.modules)))"))
    assert not [h for h in HEAVY if h in loaded]


@pytest.mark.parametrize('module', BASE)
def test_base_install_has_no_torch_and_does_without(module, outside):
    outside(f"import importlib.util as u; assert u.find_spec('torch') is None; import fer_nbdev.{module}")


@pytest.mark.parametrize('module', TORCH)
def test_missing_extra_is_named(module, outside):
    said = outside(f"""
try: import fer_nbdev.{module}
except ImportError as e: print(e)""")
    assert "pip install 'fer_nbdev[train]'" in said


def test_import_time(env, tmp_path, measured):
    "`import fer_nbdev.predict` in under .6 s of CPU, in the best of five (the first one writes bytecode)"
    code = "import time; t=time.process_time(); import fer_nbdev.predict; print(time.process_time()-t)"
    best = min(float(sh(env, '-c', code, cwd=tmp_path)) for _ in range(5))
    measured('import fer_nbdev.predict', f'{best:.2f} s of CPU')
    assert best < .6


def readme_code():
    blocks = re.findall(r'```python\n(.*?)```', (ROOT/'README.md').read_text(encoding='utf-8'), re.S)
    return next((b for b in blocks if 'load_predictor' in b), None)


def test_readme_lines_run(outside):
    "The README's five lines, from the wheel, without torch"
    code = readme_code()
    assert code and len([l for l in code.splitlines() if l.strip()]) <= 5
    said = outside(code + "\nimport sys; assert 'torch' not in sys.modules")
    told = (ROOT/'README.md').read_text(encoding='utf-8').split(code)[1] # what README shows under the lines
    answer = r'(\w+) +(\d+) ?%'
    (emotion,percent),(emotion_told,percent_told) = (re.search(answer, s).groups() for s in (said,told))
    assert emotion == emotion_told and abs(int(percent)-int(percent_told)) <= 1
