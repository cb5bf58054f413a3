"`nbdev_test` on every notebook, two at a time, without the cells marked slow"
import os, re, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(p.relative_to(ROOT/'nbs').as_posix() for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)


@pytest.fixture(scope='module')
def outcome():
    env = dict(os.environ, OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
    r = subprocess.run([Path(sys.executable).with_name('nbdev_test'), '--n_workers', '2', '--timing'], cwd=ROOT, env=env, capture_output=True, text=True, timeout=1200)
    failed = re.findall(r'^\t(\S+\.ipynb)$', r.stderr.partition('Tests Failed On The Following')[2], re.M)
    return r, (failed or NOTEBOOKS if r.returncode else [])


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_notebook(name, outcome, measured):
    r,failed = outcome
    seconds = re.search(rf'^{re.escape(Path(name).name)}: (\d+) secs', r.stdout, re.M)
    if seconds: measured(f'nbdev_test {name}', f'{seconds[1]} s')
    assert Path(name).name not in failed and name not in failed, r.stderr[-6000:]
