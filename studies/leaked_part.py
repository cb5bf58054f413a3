"""Did a file see copies of the faces it is judged on? `python studies/leaked_part.py small nano`

Scores packaged networks (by name) or ONNX files (by path) on two parts of PublicTest: the faces of
which `find_leaks` finds a copy in the published training split, and the others. A network that
learned from those copies does better on the first part. One that did not shows how much easier
those faces are anyway. Older files come from git, for example
`git show b3ccbdd:fer_nbdev/weights/small.onnx > small.onnx`.
Each file is one row of `results/leaked_part.json`, known by its sha256. Nothing here sees `test`.
"""
import hashlib, json, sys
from pathlib import Path

from common import RESULTS, have_copies, keep_row, real_faces
from fer_nbdev.evaluate import _metrics_record
from fer_nbdev.predict import load_predictor
from fer_nbdev.quality import _known_leaks
from robustness import WEIGHTS

OUT = RESULTS/'leaked_part.json'

def row(name, valid, leaked):
    path = WEIGHTS/f'{name}.onnx' if not name.endswith('.onnx') else Path(name)
    y_prob = load_predictor(str(path)).predict_proba(valid.images)
    def part(keep):
        return dict(n=int(keep.sum()), metrics=_metrics_record(valid.labels[keep], y_prob[keep]))
    return dict(name=path.stem, sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                split='PublicTest', leaked=part(leaked), leak_free=part(~leaked),
                command=f'python studies/leaked_part.py {name}')

if __name__=='__main__':
    if len(sys.argv)<2: raise SystemExit("name networks: small, nano, or the path of an ONNX file")
    faces = real_faces()
    leaked,valid = have_copies(faces, _known_leaks(faces)),faces.subset('valid')
    for name in sys.argv[1:]:
        r = row(name, valid, leaked)
        keep_row(OUT, r)
        said = {k: round(r[k]['metrics']['accuracy']['value'], 4) for k in ('leaked','leak_free')}
        print(name, said)
