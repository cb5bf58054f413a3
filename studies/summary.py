"""Mean and standard deviation over the seeds of each recipe: `python studies/summary.py`

Reads the runs in `results/` that have a seed in their name, all judged on PublicTest, and writes
`results/summary.json`. The standard deviation is the one between seeds (n-1); one seed has none.
"""
import json, re

import numpy as np
from common import RESULTS, write_json
from ledger import read_run

METRICS = ('accuracy','balanced_accuracy','macro_f1','log_loss')

def same(run):
    "What all seeds of a recipe have in common, as text"
    record = run['record']
    callbacks = {k:v for k,v in record['callbacks'].items() if k!='GoOn'} # each from its own start
    return json.dumps([run['params'], run['teachers'], record['recipe'], callbacks,
                       record['fingerprint']], sort_keys=True)

def summary(runs):
    "One row for each recipe: `runs` are the contents of the json of runs"
    lines = {}
    for r in sorted(runs, key=lambda r: r['seed']):
        lines.setdefault(re.sub(r'_s\d+$', '', r['name']), []).append(r)
    rows = []
    for name,group in sorted(lines.items()):
        if len({same(r) for r in group})>1:
            raise ValueError(f"the seeds of {name} were trained in different ways: train them anew")
        values = {m: np.array([r['metrics'][m]['value'] for r in group]) for m in METRICS}
        mean = {m: round(float(v.mean()), 4) for m,v in values.items()}
        std = {m: round(float(v.std(ddof=1)), 4) if len(v)>1 else None for m,v in values.items()}
        rows.append(dict(name=name, split='PublicTest', seeds=[r['seed'] for r in group],
                         mean=mean, std=std, best_seed=group[values['accuracy'].argmax()]['seed'],
                         cpu_minutes=round(sum(r['cpu_minutes'] for r in group), 1)))
    return rows

def seeded(folder):
    "The runs in `folder` with a seed in their name"
    paths = [p for p in sorted(folder.glob('*.json')) if re.search(r'_s\d+$', p.stem)]
    return [read_run(p.stem, folder) for p in paths]

if __name__=='__main__':
    try: rows = summary(seeded(RESULTS))
    except ValueError as e: raise SystemExit(f'error: {e}') from None
    write_json(RESULTS/'summary.json', rows)
    for r in rows:
        mean,std = ({m: v[m] for m in METRICS} for v in (r['mean'],r['std']))
        print(f"{r['name']:<20}{len(r['seeds'])} seeds, mean {mean}, standard deviation {std}")
