"""The question of Emojify-Expressions: does its table of 315,722 parameters reach 80 % on CIFAR-10?

`CIFAR10_PATH=<folder> python studies/train_cifar.py bare augmented`, where the folder holds
`cifar-10-batches-py`, as unpacked from https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz,
or a `cifar10.parquet`. Two runs of 50 epochs, bare and with dropout and augmentation; curves go to
`studies/results/cifar_<name>.csv`.
CIFAR-10's own test split is its only second split, so the curves are judged on it, as that project
judged its own.
"""
import json, os, sys, time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from fer_nbdev.models import create_model
from fer_nbdev.loaders import random_affine

HERE,EPOCHS,BS,LR = Path(__file__).parent,50,64,1e-3
URL = 'https://www.cs.toronto.edu/~kriz/cifar.html'

def from_parquet(path):
    "Images (N, 32, 32, 3) and labels of both splits; columns split, label, image"
    d = pd.read_parquet(path)
    def decode(im):
        return cv2.imdecode(np.frombuffer(im['bytes'], np.uint8), cv2.IMREAD_COLOR)[...,::-1]
    x = np.stack([decode(im) for im in d.image])
    y = d.label.astype('category').cat.codes.to_numpy(np.int64)
    first = (d.split=='train').to_numpy()
    return (x[first],y[first]),(x[~first],y[~first])

def as_published(folder):
    "The same from `cifar-10-batches-py`; torchvision checks md5 sums before it opens a pickle"
    from torchvision.datasets import CIFAR10
    try: parts = [CIFAR10(folder, train) for train in (True,False)]
    except RuntimeError:
        raise SystemExit(f"{folder.absolute()}: neither cifar10.parquet nor a whole "
                         "cifar-10-batches-py in it; unpack cifar-10-python.tar.gz there, "
                         f"from {URL}") from None
    return [(d.data, np.array(d.targets)) for d in parts]

def load(folder):
    "Images (N, 3, 32, 32) uint8 and labels of both splits: x, y, valid x, valid y"
    folder = Path(folder)
    parquet = folder/'cifar10.parquet'
    parts = from_parquet(parquet) if parquet.exists() else as_published(folder)
    arrays = [a for x,y in parts for a in (x.transpose(0,3,1,2),y)]
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]

def evaluate(model, x, y):
    "Loss and accuracy"
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(x[i:i+1000].float()/255) for i in range(0,len(x),1000)])
    model.train()
    return F.cross_entropy(logits,y).item(), (logits.argmax(1)==y).float().mean().item()

def augment(x): return random_affine(x, rotation=0, scale=.1, shift=.1, flip=.5)

def train_epoch(model, opt, x, y, tfm):
    for b in torch.randperm(len(x)).split(BS):
        xb = x[b].float()/255
        loss = F.cross_entropy(model(tfm(xb) if tfm else xb), y[b])
        loss.backward()
        opt.step()
        opt.zero_grad()

def run(name, drop=0., tfm=None, seed=0):
    torch.manual_seed(seed)
    x,y,vx,vy = load(os.environ['CIFAR10_PATH'])
    model = create_model('cifar_cnn', n_classes=10, in_channels=3)
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout): m.p = drop
    opt = torch.optim.Adam(model.parameters(), LR)
    rows,t,cpu = [],time.time(),time.process_time()
    for epoch in range(EPOCHS):
        train_epoch(model, opt, x, y, tfm)
        train_loss,train_accuracy = evaluate(model, x[::5], y[::5]) # the parquet is sorted by class
        valid_loss,valid_accuracy = evaluate(model, vx, vy)
        rows.append(dict(epoch=epoch, train_loss=train_loss, train_accuracy=train_accuracy,
                         valid_loss=valid_loss, valid_accuracy=valid_accuracy))
        print(name, rows[-1], f'{time.time()-t:.0f}s', flush=True)
    (HERE/'results').mkdir(exist_ok=True)
    pd.DataFrame(rows).round(5).to_csv(HERE/'results'/f'cifar_{name}.csv', index=False)
    out = dict(name=f'cifar_{name}', params=sum(p.numel() for p in model.parameters()), seed=seed,
               epochs=EPOCHS, lr=LR, bs=BS, dropout=drop, augmented=bool(tfm), final=rows[-1],
               best=max(rows, key=lambda r: r['valid_accuracy']),
               wall_minutes=round((time.time()-t)/60,1),
               cpu_minutes=round((time.process_time()-cpu)/60,1),
               command=f'python studies/train_cifar.py {name}')
    (HERE/'results'/f'cifar_{name}.json').write_text(json.dumps(out, indent=1)+'\n')

RUNS = dict(bare=dict(), augmented=dict(drop=.3, tfm=augment))
if __name__=='__main__':
    if not os.environ.get('CIFAR10_PATH'):
        raise SystemExit('CIFAR10_PATH is not set: the folder that holds cifar-10-batches-py')
    torch.set_num_threads(int(os.environ.get('FER_THREADS', torch.get_num_threads())))
    for name in sys.argv[1:] or RUNS: run(name, **RUNS[name])
