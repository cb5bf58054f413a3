"Two processes under torchrun train the network that one trains, and only one of them writes"
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
import pandas as pd
import pytest

torch = pytest.importorskip('torch')
from fer_nbdev.cli import _write_faces
from fer_nbdev.synthetic import synthetic_faces

ROOT = Path(__file__).resolve().parent.parent
# without batch normalisation and in single precision the sums are the same
EXACT = ('--recipe emojify --set model=cifar_cnn --set bf16=False --set lr=.01 --set bs=32 '
         '--set epochs=3').split()


@pytest.fixture
def train(tmp_path):
    "`fer_train` on drawn faces, by one process or by `n` under torchrun"
    _write_faces(synthetic_faces(300, random_state=0), tmp_path/'faces.parquet')
    program = tmp_path/'fer_train'
    program.write_text(f'#!{sys.executable}\nfrom fer_nbdev.cli import _train\n_train()\n')
    program.chmod(0o755)
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}

    def _run(*args, n=1):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        several = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', str(n),
                   '--master_addr', '127.0.0.1', '--master_port', str(port), '--no-python']
        return subprocess.run([*several*(n > 1), program, 'faces.parquet', '--json', *args],
                              cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280)
    return _run


def test_two_processes_reach_the_same_metrics(train, tmp_path):
    one, two = (train(*EXACT, '--out', f'run{n}', n=n) for n in (1, 2))
    assert one.returncode == two.returncode == 0, two.stderr[-2000:]
    told, = two.stdout.splitlines() # from one process only
    assert json.loads(told)['epochs'] == 3
    a, b = (pd.read_csv(tmp_path/f'run{n}'/'history.csv').drop(columns='time') for n in (1, 2))
    pd.testing.assert_frame_equal(a, b, atol=1e-4, rtol=1e-4)
    record = json.loads((tmp_path/'run2/record.json').read_text())
    assert record['callbacks'] == {'_Together': {'processes': 2}}


def test_with_batch_normalisation_they_reach_nearly_the_same(train, tmp_path):
    settings = '--set epochs=3 --set bs=32 --set lr=.002 --set augment=None'.split()
    for n in (1, 2): train(*settings, '--out', f'run{n}', n=n)
    a, b = (pd.read_csv(tmp_path/f'run{n}'/'history.csv') for n in (1, 2))
    assert abs(a.valid_loss-b.valid_loss).max() < .1*a.valid_loss.max()
    assert abs(a.train_loss-b.train_loss).max() < .1*a.train_loss.max()


def test_they_go_on_only_as_two(train, tmp_path):
    "A finished run has nothing to do; one process cannot go on with a run of two"
    assert train(*EXACT, '--out', 'run', n=2).returncode == 0
    before = (tmp_path/'run/history.csv').read_bytes()
    again = train(*EXACT, '--out', 'run', n=2)
    assert again.returncode == 0 and (tmp_path/'run/history.csv').read_bytes() == before
    alone = train(*EXACT, '--out', 'run')
    assert alone.returncode == 2 and 'belongs to another run: its callbacks' in alone.stderr


def test_a_batch_that_cannot_be_shared(train):
    said = train('--set', 'bs=31', '--set', 'epochs=1', n=2)
    assert said.returncode != 0
    assert 'error: bs=31: 2 processes cannot share it equally' in said.stderr
