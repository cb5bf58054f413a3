"What only answers must not drag in what only trains: each light module is imported in a process of its own"
import json, subprocess, sys
import pytest

LIGHT = ['core', 'drawing', 'detect', 'predict']
HEAVY = ['torch', 'torchvision', 'fastai', 'pandas', 'sklearn', 'scipy', 'imblearn', 'plotly', 'matplotlib', 'autocrop', 'onnx']


def run(code): return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize('name', LIGHT)
def test_light_import(name):
    mods = json.loads(run(f"import sys, json, fer_nbdev.{name}; print(json.dumps(sorted(sys.modules)))"))
    assert f'fer_nbdev.{name}' in mods
    assert [h for h in HEAVY if h in mods] == []


def test_predict_stays_light_in_use():
    "An answer for a photo needs no more than the import did"
    code = ("import sys, numpy as np; from fer_nbdev.predict import load_predictor; p = load_predictor(); "
            "p.predict(np.zeros((120,160,3), np.uint8)); p.heat_map(np.zeros((2,48,48), np.uint8)); print(*sorted(sys.modules))")
    assert [h for h in HEAVY if h in run(code).split()] == []
