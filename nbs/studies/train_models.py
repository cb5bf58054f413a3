"""Train the networks of the studies on real FER-2013: `python nbs/studies/train_models.py small nano ...`

Each run goes to `nbs/studies/runs/<name>/` (git-ignored) and can be killed and started again.
Its log, record and figures on `valid` go to `nbs/studies/results/`, which is committed.
Nothing here sees `test`.
"""
import json, os, shutil, sys
from pathlib import Path

import numpy as np
import torch
from fer_nbdev.core import FIVE
from fer_nbdev.data import load_fer
from fer_nbdev.quality import clean_split, find_leaks
from fer_nbdev.evaluate import metrics_table
from fer_nbdev.models import create_model, load_weights
from fer_nbdev.train import RECIPES, Distill, predict_faces, fit_recipe

HERE = Path(__file__).parent
OURS = {k: RECIPES['small'][k] for k in ('lr','schedule','bs','augment','ema_decay','wd','loss_args')}
RUNS = dict(
    nano_plain=dict(recipe='nano'),
    small_plain=dict(recipe='small', epochs=60),
    small_rare=dict(recipe='small', seed=1, balance_power=.3),
    small=dict(recipe='small', teachers=['small_plain','nano_plain']),
    nano=dict(recipe='nano', teachers=['small_plain','small_rare','small']),
    small_second=dict(recipe='small', teachers=['small_plain','small_rare','small']),
    nano_published=dict(recipe='nano', published=True), # twins left in, so that others' figures can be read
    emojify_seven=dict(recipe='emojify'),
    emojify_five=dict(recipe='emojify', classes=FIVE),
    emojify_seven_ours=dict(recipe='emojify', **OURS),
    emojify_five_ours=dict(recipe='emojify', classes=FIVE, **OURS),
)

def trained(name):
    "The network that the run `name` ended with"
    model,path = create_model(RUNS[name]['recipe']),HERE/'runs'/name/'model.safetensors'
    if not path.exists(): raise SystemExit(f"{name} is a teacher of this run and has not been trained: python nbs/studies/train_models.py {name}")
    load_weights(model, path)
    return model

def scores(faces, y_prob):
    return {k: dict(value=float(r.value), low=float(r.low), high=float(r.high)) for k,r in metrics_table(faces.labels, y_prob).iterrows()}

def run(name, recipe, classes=None, published=False, seed=0, teachers=(), **changes):
    faces = load_fer(classes=classes)
    if faces.name!='FER-2013': raise SystemExit("FER2013_PATH does not lead to all of FER-2013: these runs are on real FER-2013")
    valid,leaks = faces.subset('valid'),find_leaks(faces)
    twins = np.isin(np.flatnonzero(faces.split=='valid'), leaks.b[leaks.split_a=='train']) # those with a twin in the published training split
    faces = faces if published else clean_split(faces)
    faces = faces[faces.split!='test']
    path = HERE/'runs'/name
    distill = [Distill([trained(t) for t in teachers])] if teachers else []
    learn = fit_recipe(faces, recipe, path, seed=seed, cbs=distill, **changes)
    wall,cpu = torch.load(path/'checkpoint.pt', weights_only=True)['seconds']
    y_prob = predict_faces(learn.model, valid.images)
    def part(keep): return dict(n=int(keep.sum()), metrics=scores(valid[keep], y_prob[keep]))
    out = dict(name=name, split='valid', n=len(valid), train_faces=len(learn.dls.train_ds), params=sum(p.numel() for p in learn.model.parameters()),
               seed=seed, teachers=list(teachers), wall_minutes=round(wall/60,1), cpu_minutes=round(cpu/60,1), command=f'python nbs/studies/train_models.py {name}',
               metrics=scores(valid, y_prob), twins=part(twins), no_twins=part(~twins),
               record=json.loads((path/'record.json').read_text()))
    for d in distill: out.update(teachers_weight=d.weight, teachers_together=scores(valid, np.mean([predict_faces(m, valid.images) for m in d.teachers], 0)))
    results = HERE/'results'
    results.mkdir(exist_ok=True)
    (results/f'{name}.json').write_text(json.dumps(out, indent=1)+'\n')
    shutil.copy(path/'history.csv', results/f'{name}.csv')
    print({k: round(out['metrics'][k]['value'], 4) for k in ('accuracy','balanced_accuracy','macro_f1')}, flush=True)

if __name__=='__main__':
    names = sys.argv[1:]
    unknown = [n for n in names if n not in RUNS]
    if unknown or not names: raise SystemExit(f"{'unknown '+str(unknown) if unknown else 'name one or more runs'}; there are {list(RUNS)}")
    if 'FER_THREADS' in os.environ: torch.set_num_threads(int(os.environ['FER_THREADS']))
    for n in names:
        print(n, flush=True)
        run(n, **RUNS[n])
