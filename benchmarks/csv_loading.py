"""Reading FER-2013's csv: fer_nbdev, checks included, beside the usual loop, at its full size.

    FER2013_PATH=... python benchmarks/csv_loading.py

Without the variable it draws as many faces as FER-2013 has. It writes fer2013.csv to a temporary
folder, reads it by turns in fresh processes, and prints one table.
"""
import argparse, json, os, subprocess, sys, tempfile
from pathlib import Path

USUAL = """
import numpy as np, pandas as pd
data = pd.read_csv(path)
images = np.array([np.array(row.split()) for row in data.pixels])
images = images.astype('uint8').reshape(-1, 48, 48)
"""
USUAL_UINT8 = """
import numpy as np, pandas as pd
data = pd.read_csv(path)
images = np.array([np.array(row.split(), dtype='uint8') for row in data.pixels]).reshape(-1, 48, 48)
"""
OURS = """
from fer_nbdev.data import load_fer
images = load_fer(path).images
"""
ERROR = """
import numpy as np
from fer_nbdev.data import load_fer
try: load_fer(path.replace('fer2013.csv', 'wrong.csv'))
except ValueError as e: assert 'pixel 0 is' in str(e), e
images = np.empty(0)
"""
WAYS = {'np.array(row.split())': USUAL, "np.array(row.split(), dtype='uint8')": USUAL_UINT8,
        'load_fer': OURS, 'load_fer, error 10 rows from the end': ERROR}

RUN = """
import contextlib, hashlib, io, json, resource, sys, time
import numpy, pandas, pyarrow.csv, fer_nbdev.data
path, code = sys.argv[1], sys.stdin.read()
scope = dict(path=path)
with contextlib.redirect_stdout(io.StringIO()):
    wall, cpu = time.perf_counter(), time.process_time()
    exec(code, scope)
    wall, cpu = time.perf_counter()-wall, time.process_time()-cpu
try:  # getrusage would count the parent too
    peak = next(int(l.split()[1])/1024 for l in open('/proc/self/status') if l.startswith('VmHWM'))
except FileNotFoundError: peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6  # macOS
sha = hashlib.sha256(scope['images'].tobytes()).hexdigest()
print(json.dumps(dict(wall=wall, cpu=cpu, peak=peak, sha=sha)))
"""


def write_csv(path):
    from fer_nbdev.data import SPLITS, load_fer
    from fer_nbdev.synthetic import synthetic_faces
    usage, text = {v: k for k, v in SPLITS.items()}, [str(i) for i in range(256)]
    faces = load_fer() if os.environ.get('FER2013_PATH') else synthetic_faces(35_887)
    with open(path, 'w') as f, open(path.with_name('wrong.csv'), 'w') as wrong:
        for o in (f, wrong): o.write('emotion,pixels,Usage\n')
        for i, (im, label, split) in enumerate(zip(faces.images, faces.labels, faces.split)):
            pixels = ' '.join(map(text.__getitem__, im.ravel().tolist()))
            f.write(f"{label},{pixels},{usage[split]}\n")
            wrong.write(f"{label},{'x'*(i == len(faces)-10)}{pixels},{usage[split]}\n")
    return faces


def run(code, path):
    out = subprocess.run([sys.executable, '-c', RUN, str(path)], input=code,
                         capture_output=True, text=True)
    if out.returncode: sys.exit(out.stderr)
    return json.loads(out.stdout.splitlines()[-1])


def best(runs):
    "The fastest times, the largest memory"
    least = {k: min(r[k] for r in runs) for k in ('wall', 'cpu')}
    return least | dict(peak=max(r['peak'] for r in runs))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--repeats', type=int, default=3, help='runs of each way; the best counts')
    n = p.parse_args().repeats
    with tempfile.TemporaryDirectory() as d:
        path = Path(d)/'fer2013.csv'
        faces = write_csv(path)
        runs = {w: [] for w in WAYS}
        for _ in range(n):
            for w, code in WAYS.items(): runs[w].append(run(code, path))
        size = path.stat().st_size/1e6
    shas = {r['sha'] for w, rs in runs.items() if WAYS[w] != ERROR for r in rs}
    assert len(shas) == 1, 'not all ways read the same pixels'
    print(f"{faces.name}, {len(faces):,} rows, {size:.0f} MB; best of {n}; {os.cpu_count()} cores; "
          "equal pixels from all")
    print(f"{'way':<40}{'wall s':>9}{'cpu s':>9}{'peak MB':>9}{'wall ratio':>12}{'cpu ratio':>11}")
    ours = best(runs['load_fer'])
    for w, rs in runs.items():
        b = best(rs)
        ratios = f"{b['wall']/ours['wall']:12.1f}{b['cpu']/ours['cpu']:11.1f}"
        print(f"{w:<40}{b['wall']:9.2f}{b['cpu']:9.2f}{b['peak']:9.0f}{ratios}")


if __name__ == '__main__': main()
