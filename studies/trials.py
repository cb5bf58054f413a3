"""Short trials of `nano`, one change each: `python studies/trials.py warm_restarts mixup`

Without names: the list. Each trial is 9 epochs with one seed on the clean training split, judged
on PublicTest, about 4 minutes of one core, so only large differences mean something. Each is one
row of `results/trials.json`, known by its name: a trial that is run again takes its row's place.
FER_THREADS sets the number of threads. Nothing here sees `test`.
"""
import json, os, sys, time

import torch
import torch.nn.functional as F
from common import RESULTS, real_faces, strided_conv, write_json
from fer_nbdev.evaluate import classification_metrics
from fer_nbdev.models import FaceNet, _conv_block as conv, _ResBlock as Res, create_model
from fer_nbdev.quality import clean_split
from fer_nbdev.teachers import Distill, VoteHead
from fer_nbdev.train import RECIPES, fer_learner, predict_faces
from torch import nn
from train_models import CLEAR as ERASED, SmallFirst, trained

OUT = RESULTS/'trials.json'
EPOCHS,SHOWN = 9,('accuracy','macro_f1','log_loss')
KEPT = {k: RECIPES['nano'][k] for k in ('bs','ema_decay','wd','loss_args')}
CLEAR = {**ERASED, 'erase':0.}

class SE(nn.Module):
    "Squeeze and excite (Hu et al. 2018)"
    def __init__(self, nf):
        super().__init__()
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(nf, nf//8, 1), nn.ReLU(),
                                   nn.Conv2d(nf//8, nf, 1), nn.Sigmoid())
    def forward(self, x): return x*self.scale(x)

class Deep(Res):
    "A residual block whose convolutions are left out now and then (Huang et al. 2016)"
    def forward(self, x):
        kept = torch.rand(len(x),1,1,1)>.1 if self.training else torch.tensor(.9)
        return F.relu(x+self.convs(x)*kept)

def nano_with(begin, middle, end=None):
    "`nano` with another beginning, middle or end"
    pool,end = nn.MaxPool2d(2),end or [conv(48,112), Res(112)]
    return FaceNet(nn.Sequential(*begin, pool, *middle, pool, *end), 112, drop=.2)

def today(): return create_model('nano')
def no_full(): return nano_with([strided_conv(1,32)], [conv(32,48), Res(48)])
def excited():
    return nano_with([conv(1,16), conv(16,32,stride=2)], [conv(32,48), conv(48,48), SE(48)],
                     [conv(48,112), Res(112), SE(112)])
def deep():
    return nano_with([conv(1,16), conv(16,32,stride=2)], [conv(32,48), conv(48,48)],
                     [conv(48,112), Deep(112)])

def teacher(): return [Distill([trained('strided_s0')], .4)]

FORM,TRAIN,TEACH = 'the form','training','teachers'
TRIALS = dict(
    today=dict(about=FORM, change="today's `nano`, the start of all trials"),
    no_full=dict(about=FORM, change='first a 5x5 convolution of stride 2', form=no_full),
    excited=dict(about=FORM, change='squeeze and excite', form=excited),
    deep=dict(about=FORM, change='stochastic depth, .1', form=deep),
    warm_restarts=dict(about=TRAIN, change='cosine with a warm restart after 3 epochs', sgdr=True),
    resized=dict(about=TRAIN, change='progressive resizing: 32 pixels for the first 6 epochs',
                 cbs=lambda: [SmallFirst(32, 6)]),
    taught=dict(about=TEACH, change='one teacher as .4 of the loss, instead of votes', votes=False,
                cbs=teacher),
    taught_mixup=dict(about=TEACH, change='the same with mixup of .2', votes=False, cbs=teacher,
                      mixup=.2),
)

def trial(faces, form=today, sgdr=False, cbs=list, votes=True, **changes):
    "The network that a trial ends with"
    torch.manual_seed(0)
    cbs = [*cbs(),VoteHead(.5)] if votes else cbs() # a blend of two faces has no votes
    learn = fer_learner(faces, form(), augment=CLEAR, seed=0, cbs=cbs, **{**KEPT, **changes})
    with learn.no_bar(), learn.no_logging():
        if sgdr: learn.fit_sgdr(2, 3, 4e-3) # 3 epochs and 6
        else: learn.fit_one_cycle(EPOCHS, 4e-3)
    return learn.model

def row(name, faces):
    settings = {k:v for k,v in TRIALS[name].items() if k not in ('about','change')}
    start,valid = time.process_time(),faces.subset('valid')
    y_prob = predict_faces(trial(faces, **settings), valid.images)
    metrics = classification_metrics(valid.labels, y_prob)
    minutes = (time.process_time()-start)/60
    return dict(name=name, **{k: TRIALS[name][k] for k in ('about','change')}, network='nano',
                epochs=EPOCHS, seeds=1, split='PublicTest', cpu_minutes=round(minutes, 1),
                **{k: round(float(metrics[k]), 4) for k in SHOWN},
                command=f'python studies/trials.py {name}')

def keep(row):
    "Write `row` to OUT, in the plan's order"
    rows = {r['name']: r for r in json.loads(OUT.read_text())} if OUT.exists() else {}
    rows[row['name']] = row
    write_json(OUT, [rows[n] for n in TRIALS if n in rows])

if __name__=='__main__':
    unknown = [n for n in sys.argv[1:] if n not in TRIALS]
    if unknown: raise SystemExit(f"unknown {unknown}; there are {list(TRIALS)}")
    if not sys.argv[1:]:
        for name,t in TRIALS.items(): print(f"{name:<16}{t['about']}: {t['change']}")
        sys.exit()
    torch.set_num_threads(int(os.environ.get('FER_THREADS', torch.get_num_threads())))
    faces = clean_split(real_faces())
    faces = faces[faces.split!='test']
    for name in sys.argv[1:]:
        r = row(name, faces)
        keep(r)
        print(name, *(f'{k} {r[k]:.4f}' for k in SHOWN), flush=True)
