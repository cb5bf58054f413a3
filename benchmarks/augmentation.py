"""What camera faults add to a training step. `python benchmarks/augmentation.py`

A step of `nano` and `small` on augmented batches of 128 drawn faces, without
noise, blur, lower resolution and JPEG and with them, alternately;
processor time of one thread, medians. The ratio is what carries over to another machine.
"""
import statistics, time

import torch
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.loaders import AUGMENT
from fer_nbdev.train import fer_learner

ROUNDS,BS = 15,128
FOUR = dict(noise=.1, blur=1.5, lowres=.6, jpeg=15, degrade=.3)
CLEAN = {k:v for k,v in AUGMENT.items() if k not in FOUR}
torch.set_num_threads(1)
faces = synthetic_faces(1500, random_state=0)
faces = faces[faces.split!='test']

def step(learn):
    "Processor seconds of one training step, its batch included"
    start = time.process_time()
    learn.xb,learn.yb = ([o] for o in learn.dls.train.one_batch())
    learn('before_batch')
    learn.pred = learn.model(*learn.xb)
    learn('after_pred')
    learn.loss_func(learn.pred, *learn.yb).backward()
    learn.opt.step()
    learn.opt.zero_grad()
    return time.process_time()-start

print(f"{'network':<10}{'without, ms':>14}{'with, ms':>12}{'more':>8}")
for name in ('nano','small'):
    pair = CLEAN,CLEAN|FOUR
    learners = [fer_learner(faces, name, bs=BS, augment=a, device="cpu", seed=0) for a in pair]
    for l in learners:
        l.create_opt()
        l.model.train()
        step(l)
    times = [[step(l) for l in learners] for _ in range(ROUNDS)]
    a,b = (1000*statistics.median(t) for t in zip(*times))
    print(f"{name:<10}{a:>14.1f}{b:>12.1f}{b/a-1:>8.1%}")
