"""Loading faces, and what it costs a training step. `python benchmarks/training.py`

1. Augmented batches from memory, as `face_dls` makes them, beside fastai's from PNG files with `aug_transforms`.
2. A training step of `small` with loading and augmentation, beside the same step on one constant batch.
Drawn faces, one thread each, alternately, medians of several rounds; ratios are what carries over to another machine.
"""
import statistics, tempfile, time
from pathlib import Path

import torch
from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, PILImageBW, aug_transforms, parent_label
from PIL import Image
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.train import face_dls, fer_learner

N,ROUNDS,BS = 1500,5,128
torch.set_num_threads(1)
faces = synthetic_faces(N, random_state=0)
faces = faces[faces.split!='test']

def epoch(dl):
    "Processor seconds for each 1,000 faces of one pass over `dl`"
    t,n = time.process_time(),0
    for b in dl: n += len(b[0])
    return 1000*(time.process_time()-t)/n

def from_files(folder):
    for i,(im,e) in enumerate(zip(faces.images, faces.emotions)):
        p = Path(folder)/e/f'{i}.png'
        p.parent.mkdir(exist_ok=True)
        Image.fromarray(im).save(p)
    block = DataBlock((ImageBlock(PILImageBW), CategoryBlock), get_items=lambda f: sorted(Path(f).glob('*/*.png')), get_y=parent_label,
                      batch_tfms=aug_transforms(max_rotate=15, max_warp=0, max_lighting=.25))
    return block.dataloaders(folder, bs=BS, num_workers=0, device='cpu')

def steps(learn, batches):
    "Processor seconds of each training step on `batches`, loading included"
    model,out = learn.model.train(),[]
    it = iter(batches)
    while True:
        t = time.process_time()
        b = next(it, None)
        if b is None: return out
        learn.xb,learn.yb = (b[0],),(b[1],)
        learn('before_batch')
        learn.pred = model(*learn.xb)
        learn('after_pred')
        learn.loss_func(learn.pred, *learn.yb).backward()
        learn.opt.step(); learn.opt.zero_grad()
        out.append(time.process_time()-t)

with tempfile.TemporaryDirectory() as d:
    ours,files = face_dls(faces, bs=BS, device='cpu'),from_files(d)
    epoch(ours.train); epoch(files.train)
    times = [(epoch(ours.train), epoch(files.train)) for _ in range(ROUNDS)]
a,b = (statistics.median(o) for o in zip(*times))
print(f"{'augmented batches':<46}{'CPU s / 1,000 faces':>20}{'faces / s':>12}\n{'from memory, face_dls':<46}{a:>20.3f}{1000/a:>12,.0f}\n{'from PNG files, fastai with aug_transforms':<46}{b:>20.3f}{1000/b:>12,.0f}")
print(f"ratio, median of the rounds' own: {statistics.median(q/p for p,q in times):.1f}\n")

learn = fer_learner(faces, 'small', bs=BS, device='cpu', seed=0)
learn.create_opt()
learn.opt.set_hypers(lr=1e-3)
x,y = learn.dls.one_batch()
pairs = []
steps(learn, [(x,y)]*3)
for _ in range(ROUNDS):
    loaded = steps(learn, learn.dls.train)
    constant = steps(learn, [(x,y)]*len(loaded))
    pairs.append((statistics.median(loaded), statistics.median(constant)))
a,b = (statistics.median(o) for o in zip(*pairs))
print(f"{'training step of small, batch of 128':<46}{'CPU ms / step':>20}\n{'with loading and augmentation':<46}{1000*a:>20.1f}\n{'one constant batch':<46}{1000*b:>20.1f}")
print(f"ratio, median of the rounds' own: {statistics.median(p/q for p,q in pairs):.3f}")
