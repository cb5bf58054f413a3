"""The one way to numbers on `test` (PrivateTest): `python nbs/studies/final_evaluation.py`

Scores each released ONNX file once, one view, on the whole split and on its leak-free part (faces without a twin in the
published training or validation split), and writes `results/final.json`, which README, pages and model card quote.
A file that has been scored keeps its figures; a new file under an old name is a new release, and is scored as one.
"""
import hashlib, json
from pathlib import Path

import numpy as np
from fer_nbdev.data import load_fer
from fer_nbdev.evaluate import metrics_table
from fer_nbdev.predict import load_predictor
from fer_nbdev.quality import find_leaks

HERE = Path(__file__).parent
WEIGHTS = Path(load_predictor.__code__.co_filename).parent/'weights'
COMMAND = 'python nbs/studies/final_evaluation.py'

def scores(faces, y_prob):
    return {k: dict(value=float(r.value), low=float(r.low), high=float(r.high)) for k,r in metrics_table(faces.labels, y_prob).iterrows()}

def lineage(name):
    "The run `name` and all that it learnt from, teachers' teachers too, by name"
    run = json.loads((HERE/'results'/f'{name}.json').read_text())
    return {name: run} | {k: r for t in run['teachers'] for k,r in lineage(t).items()}

def final_evaluation(name, faces, leaky):
    "The figures of the released file `name`, in two rows: all of `test`, and its part without twins elsewhere"
    path = WEIGHTS/f'{name}.onnx'
    runs = lineage(name)
    y_prob = load_predictor(name).predict_proba(faces.images)
    about = dict(file=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), megabytes=round(path.stat().st_size/1e6,2), params=runs[name]['params'],
                 data=faces.name, seed=runs[name]['seed'], minutes=round(sum(r['cpu_minutes'] for r in runs.values()), 1), command=COMMAND)
    parts = [(name, 'PrivateTest', np.ones(len(faces), bool)), (f'{name}, leak-free', 'PrivateTest without twins', ~leaky)]
    return [dict(name=n, split=s, n=int(m.sum()), **about, metrics=scores(faces[m], y_prob[m])) for n,s,m in parts]

if __name__=='__main__':
    everything = load_fer()
    if everything.name!='FER-2013': raise SystemExit("FER2013_PATH does not lead to all of FER-2013: there is nothing to score")
    leaks = find_leaks(everything)
    leaks = leaks[leaks.split_b=='test']
    leaky = np.zeros(len(everything), bool)
    leaky[leaks.b] = True
    is_test = everything.split=='test'
    out = HERE/'results'/'final.json'
    old = json.loads(out.read_text()) if out.exists() else []
    rows = []
    for path in sorted(WEIGHTS.glob('*.onnx'), reverse=True): # small before nano
        done = [r for r in old if r['sha256']==hashlib.sha256(path.read_bytes()).hexdigest()]
        print(path.stem, 'was scored before; its figures stay' if done else 'scored now', flush=True)
        rows += done or final_evaluation(path.stem, everything[is_test], leaky[is_test])
    part = out.with_suffix('.part')
    part.write_text(json.dumps(rows, indent=1)+'\n')
    part.replace(out)
    for r in rows: print(f"{r['name']:<20}", {k: f"{m['value']:.4f} [{m['low']:.4f}, {m['high']:.4f}]" for k,m in r['metrics'].items() if k in ('accuracy','balanced_accuracy','macro_f1')})
