"`nbdev_test` on every notebook, two at a time, without the cells marked slow"
import os
import re
import subprocess
import sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/'nbs'
FOUND = sorted(p.relative_to(NBS) for p in NBS.rglob('*.ipynb'))
NOTEBOOKS = [p.as_posix() for p in FOUND if '.ipynb_checkpoints' not in p.parts]


@pytest.fixture(scope='module')
def outcome():
    "What nbdev_test printed, and the notebooks that failed"
    env = dict(os.environ, OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
    command = [Path(sys.executable).with_name('nbdev_test'), '--n_workers', '2', '--timing']
    r = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=1800)
    named = r.stderr.partition('Tests Failed On The Following')[2]
    failed = re.findall(r'^\t(\S+\.ipynb)$', named, re.M)
    return r, (failed or NOTEBOOKS if r.returncode else [])


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_notebook(name, outcome, measured):
    r, failed = outcome
    seconds = re.search(rf'^{re.escape(Path(name).name)}: (\d+) secs', r.stdout, re.M)
    if seconds: measured(f'nbdev_test {name}', f'{seconds[1]} s')
    assert Path(name).name not in failed and name not in failed, r.stderr[-6000:]
