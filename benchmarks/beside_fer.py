"""Our released files beside the package `fer`: milliseconds per face, and scores on PrivateTest

    python benchmarks/beside_fer.py            a table on the screen
    python benchmarks/beside_fer.py --json F   and the same figures in file F

`fer` needs an environment of its own (6 GB, with TensorFlow and PyTorch). FER_PYTHON names it:

    python3 -m venv /some/where
    /some/where/bin/pip install fer==25.10.3 'setuptools<81' 'opencv-contrib-python<5'
    export FER_PYTHON=/some/where/bin/python

Both sides are timed in one run, in turns, each on one thread of the same core: a face as uint8
pixels in, probabilities out. The face of `fer` is enlarged to its 64x64 before the clock starts;
its network answers one face at a time, also when it gets 64.
The scores of `fer` on PrivateTest (with FER2013_PATH) are computed here, ours are read from
`studies/results/final.json`: this script looks at PrivateTest with no network of ours.
`leak_free` holds the scores on the faces of which no other split has a copy.
"""
import argparse, json, os, platform, subprocess, sys, tempfile, time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FINAL = ROOT/'studies/results/final.json'
PACKAGE,BATCHES,ROUNDS = 'fer==25.10.3',(1, 64),7
SHOWN = 'accuracy','macro_f1'


def median_ms(f, seconds=.5):
    "Median milliseconds of one call"
    times,stop = [],time.perf_counter()+seconds
    while len(times) < 5 or time.perf_counter() < stop:
        start = time.perf_counter()
        f()
        times.append(time.perf_counter()-start)
    return 1e3*float(np.median(times))


# ---- in the environment of `fer`: one line of json in, one out

def fer_network():
    "The network of `fer` in its tflite file, on one thread: uint8 faces to probabilities"
    import tensorflow as tf
    path = Path(find_spec('fer').origin).parent/'data'/'emotion_model_quantized.tflite'
    net = tf.lite.Interpreter(model_path=str(path), num_threads=1)
    net.allocate_tensors()
    into,out = net.get_input_details()[0]['index'],net.get_output_details()[0]['index']

    def answer(faces):
        x = ((faces.astype('float32')/255-.5)*2)[...,None] # as its detect_emotions does
        answers = []
        for i in range(len(x)):
            net.set_tensor(into, x[i:i+1])
            net.invoke()
            answers.append(net.get_tensor(out)[0])
        return np.array(answers)
    return answer


def serve_fer():
    "Answer orders on standard input: the time for `n` faces, or the probabilities for a file"
    import cv2
    cv2.setNumThreads(1)
    from fer.fer import FER
    answer = fer_network()
    def enlarged(faces): return np.stack([cv2.resize(f, (64, 64)) for f in faces])
    for line in sys.stdin:
        order = json.loads(line)
        if order.get('labels'): said = list(FER._get_labels().values())
        elif 'faces' in order: said = answer(enlarged(np.load(order['faces']))).tolist()
        else:
            x = enlarged(random_faces(order['n']))
            said = median_ms(lambda: answer(x))/order['n']
        print(json.dumps(said), flush=True)


# ---- in ours

def random_faces(n): return np.random.default_rng(0).integers(0, 256, (n, 48, 48), dtype=np.uint8)


class Fer:
    "The other environment's process"
    def __init__(self, python):
        command = [python, '-W', 'ignore', __file__, '--serve']
        quiet = dict(os.environ, TF_CPP_MIN_LOG_LEVEL='3', CUDA_VISIBLE_DEVICES='')
        quiet.pop('PYTHONPATH', None)
        try:
            self.process = subprocess.Popen(command, env=quiet, text=True, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except OSError as e: raise SystemExit(f"FER_PYTHON: {python}: {e.strerror}") from None

    def ask(self, **order):
        with suppress(BrokenPipeError): # it has ended: then it says nothing
            self.process.stdin.write(json.dumps(order)+'\n')
            self.process.stdin.flush()
        said = self.process.stdout.readline()
        if not said: raise SystemExit(f"FER_PYTHON has no working {PACKAGE}: {__file__} says how")
        return json.loads(said)


def timed(fer, networks):
    "`{name: {faces in a call: [ms a face in each round]}}`"
    times = {name: {n: [] for n in BATCHES} for name in ('fer', *networks)}
    for _ in range(ROUNDS):
        for n in BATCHES:
            times['fer'][n].append(fer.ask(n=n))
            x = random_faces(n)
            for name,net in networks.items():
                times[name][n].append(median_ms(lambda: net.predict_proba(x))/n)
    return times


def scored(fer, folder):
    "Scores of `fer` on PrivateTest and on its leak-free part; none without the data"
    from fer_nbdev.core import EMOTIONS
    from fer_nbdev.data import load_fer
    from fer_nbdev.evaluate import _metrics_record
    from fer_nbdev.quality import _known_leaks
    faces = load_fer()
    if faces.name != 'FER-2013': return {}
    order = fer.ask(labels=True)
    if order != list(EMOTIONS): raise SystemExit(f"fer answers in another order: {order}")
    test,leaks = faces.split == 'test',_known_leaks(faces)
    np.save(folder/'faces.npy', faces.images[test])
    y_true,y_prob = faces.labels[test],np.array(fer.ask(faces=str(folder/'faces.npy')))
    alone = ~np.isin(np.flatnonzero(test), leaks.b[leaks.split_b == 'test'])
    def on(y_true, y_prob): return dict(n=len(y_true), metrics=_metrics_record(y_true, y_prob))
    return on(y_true, y_prob) | dict(leak_free=on(y_true[alone], y_prob[alone]))


def scored_before(name, rows):
    "The same scores of a file of ours, from the rows of `final.json`"
    whole,alone = ({k: r[k] for k in ('n', 'metrics')} for r in rows
                   if r['name'] in (name, f'{name}, leak-free'))
    return whole | dict(leak_free=alone)


def machine():
    "The processor's name, as Linux tells it"
    with suppress(OSError):
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        for line in lines:
            if line.startswith('model name'): return line.partition(': ')[2]
    return platform.machine()


def rows_of(times, scores):
    "One row a network: milliseconds, their ratio to `fer` in the same round, and scores"
    rows = []
    for name,by_n in times.items():
        row = dict(name=name, ms={str(n): round(float(np.median(t)), 4) for n,t in by_n.items()})
        ratios = {str(n): np.divide(t, times['fer'][n]) for n,t in by_n.items()}
        row['ratio_to_fer'] = {n: round(float(np.median(r)), 3) for n,r in ratios.items()}
        rows.append(row | scores.get(name, {}))
    return rows


def show(rows):
    "The table"
    print(f"{platform.machine()}, Python {platform.python_version()}, one core\n")
    print(f"{'':12}{'ms, 1 face':>12}{'of 64':>9}{'times fer':>11}{'of 64':>9}", *SHOWN, sep='  ')
    for r in rows:
        numbers,metrics = (*r['ms'].values(),*r['ratio_to_fer'].values()),r.get('metrics')
        said = [f"{100*metrics[k]['value']:8.1f}" if metrics else ' '*8 for k in SHOWN]
        print('{:12}{:12.3f}{:9.3f}{:11.2f}{:9.2f}'.format(r['name'], *numbers), *said, sep='  ')


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument('--json', type=Path)
    args.add_argument('--serve', action='store_true', help=argparse.SUPPRESS)
    args = args.parse_args()
    if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if args.serve: return serve_fer()
    python = os.environ.get('FER_PYTHON')
    if not python: return print(f"left out: FER_PYTHON is not set; {__file__} says what to install")
    from fer_nbdev.predict import list_predictors, load_predictor
    fer = Fer(python)
    times = timed(fer, {name: load_predictor(name) for name in list_predictors()})
    final = json.loads(FINAL.read_text())
    scores = {name: scored_before(name, final) for name in list_predictors()}
    with tempfile.TemporaryDirectory() as tmp: scores['fer'] = scored(fer, Path(tmp))
    rows = rows_of(times, scores)
    show(rows)
    if not args.json: return
    about = dict(package=PACKAGE, machine=machine(), split='PrivateTest',
                 command='python benchmarks/beside_fer.py')
    part = args.json.with_name(args.json.name+'.part')
    part.write_text(json.dumps(dict(about, rows=rows), indent=1)+'\n')
    part.replace(args.json)


if __name__ == '__main__': main()
