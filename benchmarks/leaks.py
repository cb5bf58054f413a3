"""Copies of faces: recall by sort, before (a hash within 80 bits) and now, and what a search costs.

    FER2013_PATH=... python benchmarks/leaks.py     (without it: 35,887 drawn faces)

Plants a copy of each sort of drawn people and of validation faces, in memory. Then searches all
faces in a fresh process.
"""
import argparse, json, os, subprocess, sys
import pandas as pd
from fer_nbdev.data import load_fer
from fer_nbdev.files import phash
from fer_nbdev.quality import _plant_copies, _scores, find_leaks
from fer_nbdev.synthetic import synthetic_faces

SEARCH = """
import contextlib, io, json, os, psutil, sys, threading, time
from fer_nbdev.data import load_fer
from fer_nbdev.quality import find_duplicates, find_leaks
from fer_nbdev.synthetic import synthetic_faces
with contextlib.redirect_stdout(io.StringIO()):
    faces = load_fer() if os.environ.get('FER2013_PATH') else synthetic_faces(35_887)
search = dict(leaks=find_leaks, duplicates=find_duplicates)[sys.argv[1]]
me, peak, done = psutil.Process(), [0], threading.Event()

def memory(p): # what processes share counts once, where the system says so
    with contextlib.suppress(psutil.Error):
        m = p.memory_full_info()
        return getattr(m, 'pss', m.rss)
    return 0

def watch():
    while not done.wait(.5):
        peak[0] = max(peak[0], sum(map(memory, [me, *me.children(recursive=True)])))

def cpu():
    return sum(sum(p.cpu_times()[:2]) for p in [me, *me.children()])

watcher = threading.Thread(target=watch)
watcher.start()
wall, used = time.perf_counter(), cpu()
pairs = search(faces)
wall, used = time.perf_counter()-wall, cpu()-used
done.set()
watcher.join()
kinds = pairs.kind.value_counts().to_dict()
print(json.dumps(dict(wall=wall, cpu=used, peak=peak[0]/2**20, **kinds)))
"""


def people(n):
    "`n` drawn faces of different people"
    f = synthetic_faces(10*n, random_state=1, duplicates=0)
    return f.images[f.info.identity.drop_duplicates().index[:n]]


def held_out(n):
    "`n` validation faces that show something"
    f = load_fer().subset('valid')
    f = f[f.images.std((1, 2)) > 5]
    return f.images[::max(1, len(f)//n)][:n]


def table(originals):
    "Recall of each sort, by the old proposals and by `find_leaks`, and the precision"
    f = _plant_copies(originals)
    h = phash(f.images)
    near = pd.Series((h != h[f.info.copy_of]).sum((1, 2)) <= 80)
    before = near.groupby(f.info['sort']).mean()
    now, precision = _scores(f, find_leaks(f))
    return pd.DataFrame(dict(before=before[now.index], now=now)), precision


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--faces', type=int, default=200, help='originals of which copies are planted')
    p.add_argument('--search', nargs='*', default=['leaks'], choices=['leaks', 'duplicates'],
                   help='what to search among all faces')
    args = p.parse_args()
    sets = {'drawn people': people(args.faces)}
    if os.environ.get('FER2013_PATH'): sets['FER-2013'] = held_out(args.faces)
    tables = {name: table(images) for name, images in sets.items()}
    print(f"{args.faces} originals of each kind, {os.cpu_count()} cores")
    both = pd.concat({name: t for name, (t, _) in tables.items()}, axis=1)
    print((100*both).round(1).to_string())
    for name, (_, precision) in tables.items(): print(f"precision, {name}: {precision:.2%}")
    for what in args.search:
        out = subprocess.run([sys.executable, '-c', SEARCH, what], capture_output=True, text=True)
        if out.returncode: sys.exit(out.stderr)
        r = json.loads(out.stdout.splitlines()[-1])
        kinds = ', '.join(f"{k} {r.get(k, 0):,}" for k in ('exact', 'near', 'mirrored'))
        cost = f"{r['wall']:.0f} s, {r['cpu']:.0f} s of CPU, {r['peak']:.0f} MB"
        print(f"find_{what}: {cost}; {kinds}")


if __name__ == '__main__': main()
