"""Train the networks of the studies on real FER-2013.

    python studies/train_models.py                    the plan, and how far each run is
    python studies/train_models.py nano_plain small   all seeds of these, one after the other
    python studies/train_models.py nano_plain_s1      one run

Each run is a folder `<name>_s<seed>` in FER_RUNS (default `studies/runs`, which git ignores).
It can be killed and started again; a finished one is not trained again. Its log, record and figures
on `valid` go to `studies/results/`, which is committed. FER_THREADS sets the number of threads.
Nothing here sees `test`.

Results without a seed in their name (`nano_plain.json` and its like) are older runs: one seed each,
trained on an older clean split and without noise, blur, low resolution and JPEG.
"""
import functools, json, os, shutil, sys
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, have_copies, real_faces, write_json
from fer_nbdev.core import FIVE
from fer_nbdev.evaluate import _metrics_record
from fer_nbdev.models import create_model, load_weights
from fer_nbdev.quality import _known_leaks, clean_split
from fer_nbdev.loaders import AUGMENT
from fer_nbdev.runs import fit_recipe
from fer_nbdev.teachers import Distill
from fer_nbdev.train import RECIPES, get_recipe, predict_faces

FOLDER = Path(os.environ.get('FER_RUNS', Path(__file__).parent/'runs'))
COMMAND = 'python studies/train_models.py'

OURS = ('lr','schedule','bs','augment','ema_decay','wd','loss_args')
OURS = {k: RECIPES['small'][k] for k in OURS} # our recipe for their network
CLEAR = {**AUGMENT, 'noise':0., 'blur':0., 'lowres':0., 'jpeg':0, 'erase':.25}
STUDENT = {**AUGMENT, 'degrade':.2, 'erase':.25} # a camera's faults, not on most faces
LITE = dict(model='timm:tf_efficientnet_lite0@96', weights='imagenet', epochs=10, lr=1e-3,
            schedule='one_cycle', bs=64, augment=AUGMENT, ema_decay=.998, loss_args=dict(eps=.1),
            bf16=False) # a processor's bf16 is half as fast for its depthwise convolutions
VIEWS = 16 # augmented copies of each face that teachers answer for
TEACHERS = ['small_plain_s0','small_plain_s1']
PLAN = dict( # in the order in which they decide something; hours of one thread, all seeds
    small_plain=dict(recipe='small', augment=CLEAR, seeds=3, hours=2.4), # no faults: a teacher
    nano_plain=dict(recipe='nano', augment=CLEAR, seeds=3, hours=1),
    nano=dict(recipe='nano', augment=STUDENT, teachers=TEACHERS, seeds=3, hours=1.2), # released
    small=dict(recipe='small', augment=STUDENT, teachers=TEACHERS, seeds=3, hours=2.6),
    base=dict(recipe='base', epochs=40, augment=STUDENT, teachers=TEACHERS, seeds=1, hours=2.3),
    nano_faults=dict(recipe='nano', augment=STUDENT, seeds=3, hours=1), # what do faults cost?
    lite0=dict(recipe=LITE, seeds=1, hours=1.2), # what does ImageNet bring?
    nano_published=dict(recipe='nano', augment=CLEAR, published=True, seeds=3,
                        hours=1), # what leaks are worth, beside nano_plain
    emojify_seven=dict(recipe='emojify', seeds=3, hours=3), # the older projects' questions
    emojify_seven_ours=dict(recipe='emojify', **OURS, seeds=3, hours=3),
    emojify_five=dict(recipe='emojify', classes=FIVE, seeds=3, hours=2.5),
    emojify_five_ours=dict(recipe='emojify', classes=FIVE, **OURS, seeds=3, hours=2.5),
)

def run_names(line): return [f'{line}_s{seed}' for seed in range(PLAN[line]['seeds'])]

def expanded(line, seed):
    "The settings of one run"
    return {k:v for k,v in PLAN[line].items() if k not in ('seeds','hours')}|dict(seed=seed)

RUNS = {run: expanded(line, seed) for line in PLAN for seed,run in enumerate(run_names(line))}

@functools.cache
def data(classes):
    "FER-2013 in all its splits, and the leaks between them, searched for once"
    faces = real_faces(classes)
    return faces,_known_leaks(faces)

def trained(name):
    "The network that the run `name` ended with"
    path = FOLDER/name/'model.safetensors'
    if not path.exists():
        raise SystemExit(f"{name} is a teacher of this run, not trained yet: {COMMAND} {name}")
    model = create_model(get_recipe(RUNS[name]['recipe'])['model'])
    load_weights(model, path)
    return model

def scores(faces, y_prob): return _metrics_record(faces.labels, y_prob)

def results(name, learn, valid, leaked, teachers, distill):
    "What a run is committed as"
    path = FOLDER/name
    wall,cpu = torch.load(path/'checkpoint.pt', weights_only=True)['seconds']
    y_prob = predict_faces(learn.model, valid.images)
    def part(keep): return dict(n=int(keep.sum()), metrics=scores(valid[keep], y_prob[keep]))
    out = dict(name=name, split='valid', n=len(valid), train_faces=len(learn.dls.train_ds),
               params=sum(p.numel() for p in learn.model.parameters()), seed=RUNS[name]['seed'],
               teachers=teachers, wall_minutes=round(wall/60,1), cpu_minutes=round(cpu/60,1),
               command=f'{COMMAND} {name}', metrics=scores(valid, y_prob),
               leaked=part(leaked), leak_free=part(~leaked),
               record=json.loads((path/'record.json').read_text()))
    for d in distill:
        together = np.mean([predict_faces(m, valid.images) for m in d.teachers], 0)
        out.update(teachers_weight=d.weight, teachers_together=scores(valid, together))
    return out

def train(name, recipe, seed, classes=None, published=False, teachers=(), **changes):
    "Train the run `name`, or go on with it; write what it is worth to its folder"
    faces,leaks = data(classes)
    valid = faces.subset('valid')
    leaked = have_copies(faces, leaks)
    faces = faces if published else clean_split(faces, leaks=leaks)
    faces = faces[faces.split!='test']
    networks = [trained(t) for t in teachers]
    distill = [Distill(networks, views=VIEWS, folder=FOLDER/'views')] if teachers else []
    learn = fit_recipe(faces, recipe, FOLDER/name, seed=seed, cbs=distill, **changes)
    result = results(name, learn, valid, leaked, list(teachers), distill)
    write_json(FOLDER/name/'result.json', result)

def finished(name):
    "Is there a result of this very recipe? A SystemExit if there is one of another"
    path = FOLDER/name/'result.json'
    if not path.exists(): return False
    s = RUNS[name]
    other = ('recipe','seed','classes','published','teachers')
    recipe = get_recipe(s['recipe'], **{k:v for k,v in s.items() if k not in other})
    if json.loads(path.read_text())['record']['recipe']==recipe: return True
    raise SystemExit(f"{path.parent} holds a run of another recipe: "
                     "set FER_RUNS to another folder, or move it away")

def publish(name):
    "Copy what a finished run is committed as to `results/`"
    result = json.loads((FOLDER/name/'result.json').read_text())
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS/f'{name}.json', result)
    shutil.copy(FOLDER/name/'history.csv', RESULTS/f'{name}.csv')
    metrics = {k: round(result['metrics'][k]['value'], 4) for k in ('accuracy','macro_f1')}
    print(name, metrics, flush=True)

def progress(name):
    "'finished', 'epoch 12' or 'not begun'"
    if (FOLDER/name/'result.json').exists(): return 'finished'
    log = FOLDER/name/'history.csv'
    return f'epoch {len(log.read_text().splitlines())-1}' if log.exists() else 'not begun'

def show_plan():
    for line,about in PLAN.items():
        states = ', '.join(f'{run}: {progress(run)}' for run in run_names(line))
        print(f"{line:<20}{about['hours']:>5} h  {states}")

def main(names):
    "Each of `names` is a line of PLAN, which means all its seeds, or one run"
    for name in names:
        if name not in PLAN and name not in RUNS:
            raise SystemExit(f"unknown run '{name}'; there are {list(PLAN)}, "
                             "one seed is 'nano_plain_s0'")
    for name in [run for n in names for run in (run_names(n) if n in PLAN else [n])]:
        if not finished(name):
            print(f'{name}: {progress(name)}', flush=True)
            train(name, **RUNS[name])
        publish(name)

if __name__=='__main__':
    if 'FER_THREADS' in os.environ: torch.set_num_threads(int(os.environ['FER_THREADS']))
    if sys.argv[1:]: main(sys.argv[1:])
    else: show_plan()
