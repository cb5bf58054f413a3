"""Loading faces and averaging weights, and what they cost a training step.

`python benchmarks/training.py`

1. Augmented batches from memory, as `face_dls` makes them, beside fastai's from PNG files with
   `aug_transforms`.
2. A training step of `small` with loading and augmentation, beside the same step on one constant
   batch; and the share of such a step that files or memory would take.
3. The moving average of `EMA`, on PyTorch's `AveragedModel`, beside the step that it follows, and
   beside one bare `torch._foreach_lerp_` over the same weights.

Drawn faces, one thread each, alternately, medians of several rounds; ratios are what carries over
to another machine.
"""
import statistics, tempfile, time
from pathlib import Path

import torch
from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, PILImageBW
from fastai.vision.all import aug_transforms, parent_label
from PIL import Image
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.loaders import face_dls
from fer_nbdev.train import EMA, fer_learner

N,ROUNDS,BS = 1500,5,128
torch.set_num_threads(1)
faces = synthetic_faces(N, random_state=0)
faces = faces[faces.split!='test']
median = statistics.median

def row(name, *values): print(f"{name:<46}"+''.join(f'{v:>20}' for v in values))

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
    block = DataBlock((ImageBlock(PILImageBW), CategoryBlock), get_y=parent_label,
                      get_items=lambda f: sorted(Path(f).glob('*/*.png')),
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
        learn.opt.step()
        learn.opt.zero_grad()
        out.append(time.process_time()-t)

def seconds(f, n=50):
    "Processor seconds of each call of `f`"
    out = []
    for _ in range(n):
        t = time.process_time()
        f()
        out.append(time.process_time()-t)
    return median(out)

def loading():
    with tempfile.TemporaryDirectory() as d:
        ours,files = face_dls(faces, bs=BS, device='cpu'),from_files(d)
        epoch(ours.train)
        epoch(files.train)
        times = [(epoch(ours.train), epoch(files.train)) for _ in range(ROUNDS)]
    a,b = (median(o) for o in zip(*times))
    row('augmented batches', 'CPU s / 1,000 faces', 'faces / s')
    row('from memory, face_dls', f'{a:.3f}', f'{1000/a:,.0f}')
    row('from PNG files, fastai with aug_transforms', f'{b:.3f}', f'{1000/b:,.0f}')
    print(f"ratio, median of the rounds' own: {median(q/p for p,q in times):.1f}\n")
    return dict(memory=a, files=b)

def training_step(load):
    learn = fer_learner(faces, 'small', bs=BS, device='cpu', seed=0)
    learn.create_opt()
    learn.opt.set_hypers(lr=1e-3)
    x,y = learn.dls.one_batch()
    pairs = []
    steps(learn, [(x,y)]*3)
    for _ in range(ROUNDS):
        loaded = steps(learn, learn.dls.train)
        constant = steps(learn, [(x,y)]*len(loaded))
        pairs.append((median(loaded), median(constant)))
    a,b = (median(o) for o in zip(*pairs))
    row('training step of small, batch of 128', 'CPU ms / step')
    row('with loading and augmentation', f'{1000*a:.1f}')
    row('one constant batch', f'{1000*b:.1f}')
    print(f"ratio, median of the rounds' own: {median(p/q for p,q in pairs):.3f}")
    shares = {k: 100*v*BS/1000/b for k,v in load.items()}
    said = "from memory {memory:.1f} %, from files {files:.1f} %".format(**shares)
    print(f"loading as a share of such a step: {said}\n")
    return learn,b

def averaging(learn, step):
    ema = EMA()
    learn.add_cb(ema)
    ema.before_fit()
    weights = [v for v in learn.model.state_dict().values() if v.is_floating_point()]
    copies = [v.clone() for v in weights]
    with torch.no_grad():
        times = [(seconds(lambda: ema.avg.update_parameters(learn.model)),
                  seconds(lambda: torch._foreach_lerp_(copies, weights, .002)))
                 for _ in range(ROUNDS)]
    a,b = (median(o) for o in zip(*times))
    row('moving average of small', 'CPU ms / step', 'of a step, %')
    for name,t in (('EMA, on AveragedModel',a), ('torch._foreach_lerp_',b)):
        row(name, f'{1000*t:.2f}', f'{100*t/step:.2f}')

averaging(*training_step(loading()))
