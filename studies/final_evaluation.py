"""The one way to numbers on `test` (PrivateTest): `python studies/final_evaluation.py`

Scores each released ONNX file once, one view, on the whole split and on its leak-free part: the
faces that `find_leaks` connects with no face of the other splits. Each look is added to the ledger
`results/looks.jsonl` before anything is shown; without the ledger nothing is scored. Then
`results/final.json` is written, which README, pages and model card quote. A file that has been
scored keeps its figures; only its leak-free part is scored anew when `find_leaks` finds others.
"""
import hashlib, json
from pathlib import Path

import numpy as np
from common import HERE, RESULTS, real_faces, write_json
from fer_nbdev.evaluate import _metrics_record
from fer_nbdev.predict import load_predictor
from fer_nbdev.quality import _known_leaks
from ledger import add_line, check_results, looks, open_ledger, read_release, read_run

WEIGHTS = Path(load_predictor.__code__.co_filename).parent/'weights'
COMMAND = f'python {HERE.name}/final_evaluation.py'
SHOWN = 'accuracy','balanced_accuracy','macro_f1'


def lineage(run, results=RESULTS):
    "The run `run` and all that it learned from by name: its start, its teachers and theirs"
    record = read_run(run, results)
    found = {run:record}
    before = [record['start']] if record.get('start') else []
    for t in (*record['teachers'], *before): found |= lineage(t, results)
    return found


def released_from(name, results=RESULTS):
    "The run that the released file `name` was made of"
    return read_release(name, results)['run']


def sha256(path): return hashlib.sha256(path.read_bytes()).hexdigest()


def describe(path, data, results):
    "What is known of a released file before it is scored"
    run = released_from(path.stem, results)
    runs = lineage(run, results)
    minutes = round(sum(r['cpu_minutes'] for r in runs.values()), 1)
    return dict(file=path.name, sha256=sha256(path), megabytes=round(path.stat().st_size/1e6,2),
                params=runs[run]['params'], data=data, run=run, seed=runs[run]['seed'],
                minutes=minutes, command=COMMAND)


def score(path, about, faces, part):
    "One row: the figures of the file `path` on `faces`, which are all of `test` or leak-free"
    name,split = path.stem,'PrivateTest'
    if part=='leak-free': name,split = f'{name}, leak-free','PrivateTest, leak-free'
    y_prob = load_predictor(path).predict_proba(faces.images)
    return dict(name=name, split=split, n=len(faces), faces=faces.fingerprint,
                **about, metrics=_metrics_record(faces.labels, y_prob, faces.classes))


def known_row(lines, sha, name, fingerprint=None):
    "The latest row of that file in the ledger, on those faces if a fingerprint is given"
    for l in reversed(looks(lines)):
        for r in l['rows']:
            same_faces = fingerprint is None or r.get('faces')==fingerprint
            if r['sha256']==sha and r['name']==name and same_faces: return r


def look(path, about, parts, lines, results):
    "The two rows of a file: those that the ledger has, and new ones for what was never scored"
    sha,all_faces,leak_free = about['sha256'],parts['all'],parts['leak-free']
    rows = [known_row(lines, sha, path.stem),
            known_row(lines, sha, f'{path.stem}, leak-free', leak_free.fingerprint)]
    new = []
    if not rows[0]: new.append(score(path, about, all_faces, 'all'))
    if not rows[1]: new.append(score(path, about, leak_free, 'leak-free'))
    if new: add_line(dict(kind='look', name=path.stem, sha256=sha, rows=new), results/'looks.jsonl')
    return [rows[0] or new[0], rows[1] or new[-1]], len(new)


def final_evaluation(faces, leaks, weights=WEIGHTS, results=RESULTS):
    "Score what was never scored, write `final.json`, and return its rows"
    weights,results = Path(weights),Path(results)
    lines,out = open_ledger(results/'looks.jsonl'),results/'final.json'
    if out.exists(): check_results(out, lines)
    leaky = np.zeros(len(faces), bool)
    leaky[leaks.b[leaks.split_b=='test']] = True
    is_test = faces.split=='test'
    parts = {'all': faces[is_test], 'leak-free': faces[is_test&~leaky]}
    files = sorted(weights.glob('*.onnx'), reverse=True) # small before nano
    abouts = [describe(path, faces.name, results) for path in files] # all records, before a look
    rows = []
    for path,about in zip(files, abouts):
        found,new = look(path, about, parts, lines, results)
        print(f"{path.stem}: {new} of 2 parts scored now, others keep their figures", flush=True)
        rows += found
    write_json(out, rows)
    return rows


if __name__=='__main__':
    try: open_ledger()
    except ValueError as e: raise SystemExit(f'error: {e}') from None
    everything = real_faces()
    try: rows = final_evaluation(everything, _known_leaks(everything))
    except ValueError as e: raise SystemExit(f'error: {e}') from None
    for r in rows:
        m = {k:r['metrics'][k] for k in SHOWN}
        print(f"{r['name']:<20}", *(f"{k} {v['value']:.4f} [{v['low']:.4f}, {v['high']:.4f}]"
                                    for k,v in m.items()))
    print(f"{len(looks(open_ledger()))} looks at PrivateTest in all")
