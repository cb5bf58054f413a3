"What the studies share: where results lie, all of FER-2013, and files written whole or not at all"
import json
from pathlib import Path

import numpy as np
from fer_nbdev.data import load_fer

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
