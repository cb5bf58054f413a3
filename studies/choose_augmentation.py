"""How strongly to degrade training faces? `python studies/choose_augmentation.py medium`

The packaged `nano` learns on for a few epochs; the runs differ in noise, blur, resolution and JPEG
only, and are judged on PublicTest as it is and under each of `robustness.py`'s faults. One run
each, of one seed: enough to choose a strength, not to tell two near ones apart.
Each run is a folder in FER_RUNS (default `studies/runs`) and can be killed and started again;
figures go to `results/augmentation.json`. Nothing here sees `test`.
"""
import json, os, sys
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, real_faces, write_json
from fer_nbdev.quality import clean_split
from fer_nbdev.loaders import AUGMENT
from fer_nbdev.runs import fit_recipe
from fer_nbdev.train import predict_faces
from robustness import robustness

RUNS = Path(os.environ.get('FER_RUNS', Path(__file__).parent/'runs'))
OUT = RESULTS/'augmentation.json'
FOUR = ('noise','blur','lowres','jpeg')
CLEAN = {k:v for k,v in AUGMENT.items() if k not in (*FOUR,'degrade')}
STRENGTHS = dict(
    none=dict(),
    light=dict(noise=.08, blur=1.2, lowres=.5, jpeg=20, degrade=.2),
    medium=dict(noise=.1, blur=1.5, lowres=.6, jpeg=15, degrade=.3),
    jpeg=dict(noise=.1, blur=1.5, lowres=.6, jpeg=10, degrade=.3), # medium, JPEG down to 10
    strong=dict(noise=.12, blur=1.5, lowres=.6, jpeg=10, degrade=.5),
)

def run(name, faces, epochs):
    path = RUNS/f'augmentation_{name}_{epochs}'
    changes = dict(weights='fer', epochs=epochs, lr=2e-3, augment={**CLEAN, **STRENGTHS[name]})
    learn = fit_recipe(faces, 'nano', path, **changes)
    valid = faces.subset('valid')
    seconds = torch.load(path/'checkpoint.pt', weights_only=True)['seconds']
    return dict(name=name, strengths=STRENGTHS[name], model='nano', epochs=epochs, seed=0,
                split='PublicTest', n=len(valid), cpu_minutes=round(seconds[1]/60, 1),
                command=f'python studies/choose_augmentation.py {name}',
                **robustness(lambda x: predict_faces(learn.model, x), valid))

def keep(row):
    "Write `row` to OUT, in the place of an older one of the same strengths and length"
    rows = json.loads(OUT.read_text()) if OUT.exists() else []
    rows = [r for r in rows if (r['name'],r['epochs'])!=(row['name'],row['epochs'])]+[row]
    write_json(OUT, rows)

if __name__=='__main__':
    names = sys.argv[1:] or list(STRENGTHS)
    unknown = [n for n in names if n not in STRENGTHS]
    if unknown: raise SystemExit(f"unknown {unknown}; there are {list(STRENGTHS)}")
    faces = clean_split(real_faces())
    faces = faces[faces.split!='test']
    torch.set_num_threads(int(os.environ.get('FER_THREADS', torch.get_num_threads())))
    for name in names:
        row = run(name, faces, int(os.environ.get('FER_EPOCHS', 2)))
        keep(row)
        accuracies = {k: m['accuracy'] for k,m in row['faults'].items()}
        print(name, accuracies, row['mirror_disagreement'], flush=True)
