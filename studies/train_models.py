"""Train the networks of the studies on real FER-2013.

    python studies/train_models.py                    the plan, and how far each run is
    python studies/train_models.py nano small         all seeds of these, one after the other
    python studies/train_models.py nano_s1            one run

Each run is a folder `<name>_s<seed>` in FER_RUNS (default `studies/runs`, which git ignores).
It can be killed and started again; a finished one is not trained again. Its log, record and figures
on `valid` go to `studies/results/`, which is committed. FER_THREADS sets the number of threads.
Nothing here sees `test`.

Results without a seed in their name (`emojify_seven.json` and its like) are older runs: one seed
each, trained on an older clean split and without noise, blur, low resolution and JPEG.
"""
import functools, json, os, shutil, sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from common import RESULTS, have_copies, real_faces, strided, write_json
from fer_nbdev.core import FIVE
from fer_nbdev.evaluate import _metrics_record
from fer_nbdev.models import _models, create_model, load_weights
from fer_nbdev.quality import _known_leaks, clean_split
from fer_nbdev.loaders import AUGMENT
from fer_nbdev.runs import fit_recipe
from fer_nbdev.teachers import Distill, VoteTeacher, _digest
from fer_nbdev.train import RECIPES, get_recipe, predict_faces
from ledger import signed

FOLDER = Path(os.environ.get('FER_RUNS', Path(__file__).parent/'runs'))
COMMAND = 'python studies/train_models.py'

OURS = ('lr','schedule','bs','augment','ema_decay','wd','loss_args')
OURS = {k: RECIPES['small'][k] for k in OURS} # our recipe for their network
CLEAR = {**AUGMENT, 'noise':0., 'blur':0., 'lowres':0., 'jpeg':0, 'erase':.25}
FAULTS = {**AUGMENT, 'degrade':.2, 'erase':.25} # a camera's faults, not on most faces
LITE = dict(model='timm:tf_efficientnet_lite0@96', weights='imagenet', epochs=10, lr=1e-3,
            schedule='one_cycle', bs=64, augment=AUGMENT, ema_decay=.998, loss_args=dict(eps=.1),
            bf16=False) # a processor's bf16 is half as fast for its depthwise convolutions
VIEWS = 16 # augmented copies of each face that teachers answer for
TEACHERS = ['strided_s0','strided_s1']
OTHER = ('recipe','seed','classes','teachers','votes','start','dropout','small') # not a recipe's
LESSON = .4 # share of the loss that teachers have; `votes` is the votes' share of the rest
STUDENT = dict(augment=FAULTS, teachers=TEACHERS, votes=.5)
LARGE = dict(**STUDENT, loss_args=dict(eps=0.), dropout=.1)
FIVE_TEACHERS = [*TEACHERS,'small_s0','small_s1','small_s2']
FINE = dict(lr=1e-3, augment={**CLEAR, 'erase':0.}, loss_args=dict(eps=0.), dropout=.1,
            teachers=TEACHERS, votes=.5)
GENTLE = {**AUGMENT, 'degrade':.1, 'erase':0.} # without faults, `nano` forgets them
FINE_NANO = {**FINE, 'augment': GENTLE, 'dropout': 0., 'balance_power': None}
_models['strided'] = strided
PLAN = dict( # in the order in which they decide something; hours of one thread, all seeds
    strided=dict(recipe='small', model='strided', augment=CLEAR, seeds=2, hours=1.8), # teachers
    nano_first=dict(recipe='nano', epochs=70, **STUDENT, seeds=3, hours=1.5),
    nano=dict(recipe='nano', start='nano_first', epochs=8, **FINE_NANO, seeds=3, hours=.2),
    small_first=dict(recipe='small', epochs=36, **STUDENT, seeds=3, hours=2.7),
    small=dict(recipe='small', start='small_first', epochs=6, **FINE, seeds=3, hours=.5),
    base_brief_first=dict(recipe='base', epochs=18, **LARGE, seeds=1, hours=.9),
    base_brief=dict(recipe='base', start='base_brief_first', epochs=6, **FINE, seeds=1, hours=.3),
    base_first=dict(recipe='base', epochs=60, **{**LARGE, 'teachers': FIVE_TEACHERS},
                    small=(32,40), seeds=1, hours=2),
    base=dict(recipe='base', start='base_first', epochs=6, **{**FINE, 'teachers': FIVE_TEACHERS},
              seeds=1, hours=.3),
    lite0=dict(recipe=LITE, seeds=1, hours=1.2), # what does ImageNet bring?
    emojify_seven=dict(recipe='emojify', seeds=3, hours=3), # the older projects' questions
    emojify_seven_ours=dict(recipe='emojify', **OURS, seeds=3, hours=3),
    emojify_five=dict(recipe='emojify', classes=FIVE, seeds=3, hours=2.5),
    emojify_five_ours=dict(recipe='emojify', classes=FIVE, **OURS, seeds=3, hours=2.5),
)

def run_names(line): return [f'{line}_s{seed}' for seed in range(PLAN[line]['seeds'])]

def expanded(line, seed):
    "The settings of one run"
    settings = {k:v for k,v in PLAN[line].items() if k not in ('seeds','hours')}|dict(seed=seed)
    if 'start' in settings: settings['start'] += f'_s{seed}'
    return settings

RUNS = {run: expanded(line, seed) for line in PLAN for seed,run in enumerate(run_names(line))}

@functools.cache
def data(classes):
    "FER-2013 in all its splits, and the leaks between them, searched for once"
    faces = real_faces(classes)
    return faces,_known_leaks(faces)

def trained(name):
    "The network that the run `name` ended with"
    path = FOLDER/name/'model.safetensors'
    if not finished(name) or not path.exists():
        raise SystemExit(f"this run learns from {name}, not trained yet: {COMMAND} {name}")
    model = create_model(planned(name)[0]['model'])
    load_weights(model, path)
    return model

def scores(faces, y_prob): return _metrics_record(faces.labels, y_prob)

def results(name, learn, valid, leaked, teachers, cbs):
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
    for d in (c for c in cbs if isinstance(c, Distill)):
        together = np.mean([predict_faces(m, valid.images) for m in d.teachers], 0)
        out.update(teachers_weight=d.weight, teachers_together=scores(valid, together))
    return out

class GoOn(Callback):
    "Begin with the weights that another run ended with"
    order = -50 # before `EMA` takes its first mean
    def __init__(self, model): self.weights,self.about = model.state_dict(),dict(of=_digest(model))
    def before_fit(self): self.model.load_state_dict(self.weights)

class Dropout(Callback):
    "Another dropout than the network's own"
    order = -50
    def __init__(self, p): self.p,self.about = p,dict(dropout=p)
    def before_fit(self): self.model.drop.p = self.p

class SmallFirst(Callback):
    "Progressive resizing: faces of `size` pixels for the first `epochs`, which take half the time"
    order = 5 # after `Distill` chose its views
    def __init__(self, size, epochs):
        self.size,self.epochs,self.about = size,epochs,dict(size=size, epochs=epochs)
    def before_batch(self):
        if self.epoch>=self.epochs: return
        x = F.interpolate(self.xb[0], size=self.size, mode='bilinear', antialias=True)
        self.learn.xb = (x.contiguous(memory_format=torch.channels_last),)

def lessons(networks, votes, folder, start=None, dropout=None, small=None):
    "A run's callbacks: its teachers are `networks`, `votes` their share, `start` its beginning"
    cbs = [GoOn(start)] if start else []
    if dropout is not None: cbs.append(Dropout(dropout))
    if small: cbs.append(SmallFirst(*small))
    if votes: cbs.append(VoteTeacher(votes))
    return cbs+([Distill(networks, LESSON, VIEWS, folder/'views')] if networks else [])

def train(name, recipe, seed, classes=None, teachers=(), votes=0., start=None, dropout=None,
          small=None, **changes):
    "Train the run `name`, or go on with it; write what it is worth to its folder"
    faces,leaks = data(classes)
    valid = faces.subset('valid')
    leaked = have_copies(faces, leaks)
    faces = clean_split(faces, leaks=leaks)
    faces = faces[faces.split!='test']
    networks = [trained(t) for t in teachers]
    cbs = lessons(networks, votes, FOLDER, start and trained(start), dropout, small)
    learn = fit_recipe(faces, recipe, FOLDER/name, seed=seed, cbs=cbs, **changes)
    result = results(name, learn, valid, leaked, list(teachers), cbs)|dict(start=start)
    write_json(FOLDER/name/'result.json', result)

def planned(name):
    "What makes the run `name` this very run, as `done` reads it from a result"
    s = RUNS[name]
    recipe = get_recipe(s['recipe'], **{k:v for k,v in s.items() if k not in OTHER})
    told = (LESSON,VIEWS) if 'teachers' in s else None
    small = s.get('small')
    other = [s.get('start'),s.get('dropout'),small and dict(zip(('size','epochs'), small))]
    return recipe,s['seed'],list(s.get('teachers', ())),told,s.get('votes', 0.),other

def done(result):
    "Recipe, seed, teachers, their share and views, votes' share, start, dropout and size of a run"
    r = result['record']
    told,votes = r['callbacks'].get('Distill'),r['callbacks'].get('VoteTeacher', dict(weight=0.))
    told = told and (told['weight'],told.get('views', 0))
    dropout = r['callbacks'].get('Dropout', {}).get('dropout')
    other = [result.get('start'),dropout,r['callbacks'].get('SmallFirst')]
    return r['recipe'],result['seed'],result['teachers'],told,votes['weight'],other

def finished(name):
    "Is there a result of this very run? A SystemExit if there is one of another"
    path = FOLDER/name/'result.json'
    if not path.exists(): return False
    if done(json.loads(path.read_text()))==planned(name): return True
    raise SystemExit(f"{path.parent} holds another run than the plan's: "
                     "set FER_RUNS to another folder, or move it away")

def publish(name):
    "Copy what a finished run is committed as to `results/`"
    result = json.loads((FOLDER/name/'result.json').read_text())
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS/f'{name}.json', signed(result))
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
                             "one seed is 'nano_s0'")
    for name in [run for n in names for run in (run_names(n) if n in PLAN else [n])]:
        if not finished(name):
            print(f'{name}: {progress(name)}', flush=True)
            train(name, **RUNS[name])
        publish(name)

if __name__=='__main__':
    if 'FER_THREADS' in os.environ: torch.set_num_threads(int(os.environ['FER_THREADS']))
    if sys.argv[1:]: main(sys.argv[1:])
    else: show_plan()
