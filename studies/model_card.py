"""Write MODEL_CARD.md from `results/`: `python studies/model_card.py`; `--check` only compares."""
import json, sys

from common import HERE, RESULTS
from ledger import LEDGER, _digest, check_results, looks, lost_runs, read_ledger

ROOT = next(p for p in HERE.parents if (p/'settings.ini').exists())
CARD = ROOT/'MODEL_CARD.md'
LINK = RESULTS.relative_to(ROOT).as_posix()
QUALITY = next(ROOT.glob('nbs/[0-9][0-9]_quality.ipynb')).relative_to(ROOT).as_posix()
METRICS = dict(accuracy='accuracy, %', balanced_accuracy='balanced accuracy, %',
               macro_f1='macro-F1, %', top2='top-2, %')


def read(name): return json.loads((RESULTS/f'{name}.json').read_text())


def read_release(name):
    "`<name>_release.json`; a ValueError if it is of another split or was edited"
    r = read(f'{name}_release')
    if r['split']!='valid':
        raise ValueError(f"{name}_release.json is of the split '{r['split']}', expected 'valid'")
    content = {k:v for k,v in r.items() if k!='digest'}
    if 'digest' in r and r['digest']!=_digest(content, ''):
        raise ValueError(f"{name}_release.json was edited by hand; restore it from git")
    return r


def span(m): return f"{100*m['value']:.1f} [{100*m['low']:.1f}, {100*m['high']:.1f}]"


def calibration(m):
    if 'chance' not in m: return f"{m['value']:.3f}"
    return f"{m['value']:.3f} (by chance {m['chance']:.3f}, 95 % below {m['chance_95']:.3f})"


def table(rows):
    "Rows of `(network, split, n, metrics)` as a Markdown table"
    head = ['network','faces',*METRICS.values(),'calibration error']
    lines = [head, ['---']*len(head)]
    for name,split,n,m in rows:
        spans = [span(m[k]) for k in METRICS]
        lines.append([f'`{name}`', f'{split}, {n:,}', *spans, calibration(m['ece'])])
    return '\n'.join('| '+' | '.join(map(str,l))+' |' for l in lines)


def rare_classes(recipe):
    power = recipe.get('balance_power')
    return f'drawn more often (weights to the power {power})' if power else 'drawn as they come'


def taught_by(r):
    if not r['teachers']: return 'none'
    names = ', '.join(f'`{t}`' for t in r['teachers'])
    return f"mean answer of {names}, as {r['teachers_weight']} of the loss"


def spent(r, minutes):
    own = f"{r['cpu_minutes']:.0f}"
    return f"{own}; with its teachers and theirs {minutes:.0f}" if r['teachers'] else own


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
        'label smoothing': c['loss_args']['eps'],
        'averaged weights': f"decay {c['ema_decay']}",
        'FER+ votes': f"a second task of weight {c['vote_weight']}; its layer is dropped later",
        'rare classes': rare_classes(c),
        'teachers': taught_by(r),
        'augmentation': augment,
        'versions': f"torch {v['torch']}, fastai {v['fastai']}",
        'minutes of one core': spent(r, minutes),
        'command, as typed then': f"`{r['command']}`",
        'files': f"[record]({LINK}/{name}.json), [log]({LINK}/{name}.csv)"}


def where_chosen(r):
    if 'chosen_on' not in r: return 'PublicTest'
    return (f"{r['n_chosen_on']:,} training faces, by networks that had not seen them; "
            "no shift unless it is better by more than a standard error")


def settings(r):
    "What was set after training, as `{setting: value}`"
    return {'`tau`': f"{r['tau']}, of {len(r['tried'])} tried",
            'temperature': r['temperature'],
            'both chosen on': where_chosen(r),
            'packaged by, as typed then': f"`{r['command']}`"}


def side_by_side(columns):
    "`{network: {setting: value}}` as a Markdown table, one row for each setting"
    rows = [['',*(f'`{name}`' for name in columns)], ['---']*(len(columns)+1)]
    rows += [[k,*(c[k] for c in columns.values())] for k in next(iter(columns.values()))]
    return '\n'.join('| '+' | '.join(map(str,r))+' |' for r in rows)


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


def chosen_text(released):
    if all('chosen_on' in r for r in released): return 'Recipe and epochs were chosen there'
    return 'Recipe, epochs, `tau` and temperature were chosen there'


def card():
    lines = read_ledger()
    final = check_results(RESULTS/'final.json', lines)
    names = [r['name'] for r in final if 'leak-free' not in r['name']]
    released = {n:read_release(n) for n in names}
    runs = {n:read(released[n].get('run', n)) for n in names}
    minutes = {r['name']:r['minutes'] for r in final}
    text = (HERE/'model_card.template').read_text(encoding='utf-8')
    return text.format(
        names=', '.join(f'`{n}`' for n in names), results=LINK, quality=QUALITY,
        folder=HERE.relative_to(ROOT).as_posix(), train_faces=runs[names[0]]['train_faces'],
        networks=side_by_side({n: training(runs[n], minutes[n]) for n in names}),
        settings=side_by_side({n: settings(released[n]) for n in names}),
        scored=table([(r['name'], r['split'], r['n'], r['metrics']) for r in final]),
        valid=table([(n, 'PublicTest', r['n'], r['metrics']) for n,r in released.items()]),
        looks=seen_text(lines), chosen=chosen_text(released.values()))


if __name__=='__main__':
    try: text = card()
    except ValueError as e: raise SystemExit(f'error: {e}') from None
    if '--check' not in sys.argv: CARD.write_text(text, encoding='utf-8')
    elif not CARD.exists() or CARD.read_text(encoding='utf-8')!=text:
        sys.exit('MODEL_CARD.md is not what model_card.py makes of results/: run it')
