"What the studies claim: one source for every figure, and released files that are the ones scored"
import hashlib, json, subprocess, sys

import numpy as np
import pytest

@pytest.fixture(scope='module')
def results(root): return root/'nbs/studies/results'

def test_model_card_is_made_of_the_json(root):
    r = subprocess.run([sys.executable, 'nbs/studies/model_card.py', '--check'], cwd=root, capture_output=True, text=True)
    assert r.returncode==0, r.stderr

def test_released_files_are_the_ones_scored(root, results):
    scored = {r['file']: r['sha256'] for r in json.loads((results/'final.json').read_text())}
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (root/'fer_nbdev/weights').glob('*.onnx')}
    assert scored==files

def test_every_run_has_its_log_and_record(results):
    import pandas as pd
    runs = [p for p in results.glob('*.json') if 'record' in json.loads(p.read_text())] if results.exists() else []
    assert {'small','nano'}<={p.stem for p in runs}
    for p in runs:
        r = json.loads(p.read_text())
        log = pd.read_csv(p.with_suffix('.csv'))
        assert log.epoch.tolist()==list(range(r['record']['recipe']['epochs']))
        assert abs(log.accuracy.iloc[-1]-r['metrics']['accuracy']['value'])<.005 # the log judged in bf16
        assert r['record']['data']=='FER-2013' and r['split']=='valid'

@pytest.mark.parametrize('name', ['small','nano'])
def test_weights_and_onnx_are_one_network(name):
    torch = pytest.importorskip('torch')
    from fer_nbdev.models import create_model
    from fer_nbdev.predict import load_predictor
    from fer_nbdev.train import predict_faces
    x = np.random.default_rng(0).integers(0, 256, (20,48,48), dtype=np.uint8)
    assert np.abs(predict_faces(create_model(name, weights='fer'), x)-load_predictor(name).predict_proba(x)).max()<1e-5

def test_nothing_trains_on_test(root, tmp_path):
    "The one script that reads `test` is final_evaluation"
    readers = [p.name for p in (root/'nbs/studies').glob('*.py') if "split=='test'" in p.read_text()]
    assert readers==['final_evaluation.py']
