"What the studies share: where results lie, all of FER-2013, and files written whole or not at all"
import json
from pathlib import Path

import numpy as np
from fer_nbdev.data import load_fer
from fer_nbdev.models import FaceNet, _conv_block, _ResBlock
from torch import nn

HERE = Path(__file__).parent
RESULTS = HERE/'results'

def real_faces(classes=None):
    "FER-2013 in all its splits; a SystemExit if FER2013_PATH leads to anything else"
    faces = load_fer(classes=classes)
    if faces.name=='FER-2013': return faces
    raise SystemExit("FER2013_PATH does not lead to all of FER-2013, which this script needs; "
                     "README.md says how to get it")

def have_copies(faces, leaks):
    "Of the faces of `valid` (N,): which ones have a copy in `train`, says `find_leaks`?"
    return np.isin(np.flatnonzero(faces.split=='valid'), leaks.b[leaks.split_a=='train'])

def write_json(path, content):
    "Under another name first: a killed script leaves no half file"
    part = path.with_name(path.name+'.part')
    part.write_text(json.dumps(content, indent=1)+'\n')
    part.replace(path)

def keep_row(path, row):
    "Write `row`, known by its sha256, to the list in `path`: in the place of an older one, or last"
    rows = json.loads(path.read_text()) if path.exists() else []
    places = [i for i,r in enumerate(rows) if r['sha256']==row['sha256']] or [len(rows)]
    rows[places[0]:places[0]+1] = [row]
    write_json(path, rows)

def strided_conv(ni, nf):
    "A 5x5 convolution of stride 2 with normalisation and ReLU"
    conv = nn.Conv2d(ni, nf, 5, stride=2, padding=2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(nf), nn.ReLU(inplace=True))

def strided(n_classes=7, in_channels=1):
    "An older form of `small`, without maps at full resolution: kept as a teacher"
    pool = nn.MaxPool2d(2)
    return FaceNet(nn.Sequential(
        strided_conv(in_channels,32), _conv_block(32,64), pool,
        _conv_block(64,128), _ResBlock(128), pool,
        _conv_block(128,192), _ResBlock(192)), 192, n_classes)
