"""What an answer costs: a face in PyTorch and ONNX Runtime, a photo from file to answer, the import

    python benchmarks/predict_speed.py            a table on the screen
    python benchmarks/predict_speed.py --json F   and the same figures in file F
    python benchmarks/predict_speed.py --rows 1000000   only the memory that so many faces take

One thread and one core everywhere; medians. The networks are untrained where PyTorch is timed:
weights do not change the work.
"""
import argparse, json, os, platform, resource, subprocess, sys, tempfile, time
from pathlib import Path
import cv2
import matplotlib.cbook as cbook
import numpy as np
from fer_nbdev.detect import crop_face, find_faces, read_photo
from fer_nbdev.predict import load_predictor


COLD = 'new process, photo to answer'


def median_ms(f, seconds=1.):
    "Median milliseconds of one call: by the clock, and of this thread's CPU time alone"
    for _ in range(3): f()
    times, stop = [], time.perf_counter()+seconds
    while len(times) < 5 or time.perf_counter() < stop:
        wall, own = time.perf_counter(), time.thread_time()
        f()
        times.append((time.perf_counter()-wall, time.thread_time()-own))
    return tuple(1e3*np.median(times, axis=0))


def seconds_of(code, n=5):
    "Wall-clock and CPU seconds of a fresh Python that runs `code`; the best of `n`"
    best = (9e9, 9e9)
    for _ in range(n):
        a, t = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, '-c', code], check=True)
        t, b = time.perf_counter()-t, resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, (t, b.ru_utime+b.ru_stime-a.ru_utime-a.ru_stime))
    return best


def memory_of(rows):
    "Megabytes of this process before `rows` faces are answered, and how many more at the most"
    def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    pred, face = load_predictor('nano'), np.zeros((1, 48, 48), np.uint8)
    pred.predict_proba(np.broadcast_to(face, (1000, 48, 48)))
    before, start = peak(), time.perf_counter()
    answers = pred.predict_proba(np.broadcast_to(face, (rows, 48, 48)))
    seconds = time.perf_counter()-start
    print(f"{rows:,} faces in {seconds:.0f} s: {before:.0f} MB before, at the most "
          f"{peak()-before:.0f} MB more, of which {answers.nbytes/1e6:.0f} MB are answers")


def networks():
    from fer_nbdev.export import export_onnx, speed_table
    from fer_nbdev.models import create_model
    with tempfile.TemporaryDirectory() as tmp:
        made = {}
        for name in ('nano', 'small', 'base', 'emojify_cnn'):
            made[name] = create_model(name), Path(tmp)/f'{name}.onnx'
            export_onnx(*made[name])
        return speed_table(made, batches=(1, 32), seconds=1.)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument('--json', type=Path)
    args.add_argument('--rows', type=int)
    args = args.parse_args()
    if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    if args.rows: return memory_of(args.rows)
    path = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
    photo, pred, flip = read_photo(path), load_predictor(), load_predictor(flip=True)
    large = cv2.resize(photo, (3000, 3516), interpolation=cv2.INTER_CUBIC)
    empty = np.full((1080, 1920, 3), 128, np.uint8)
    face = find_faces(photo)[0]
    crop = crop_face(photo, face)[None]
    rows = {
        'one face, ONNX Runtime': median_ms(lambda: pred.predict_proba(crop)),
        'one face and its mirror image, flip=True': median_ms(lambda: flip.predict_proba(crop)),
        'one face with its heat map': median_ms(lambda: pred.heat_map(crop)),
        'read a 512x600 jpg': median_ms(lambda: read_photo(path)),
        'find faces in 512x600': median_ms(lambda: find_faces(photo)),
        'find faces in 512x600, max_side=320': median_ms(lambda: find_faces(photo, max_side=320)),
        'find faces in 3000x3516': median_ms(lambda: find_faces(large)),
        'find none in 1920x1080, four turns': median_ms(lambda: find_faces(empty)),
        'photo 512x600, file to answer': median_ms(lambda: pred.predict(path)),
        'load_predictor': median_ms(load_predictor),
    }
    rows['import fer_nbdev.predict'] = [1e3*v for v in seconds_of('import fer_nbdev.predict')]
    code = f'from fer_nbdev.predict import load_predictor as p; assert p().predict({path!r})'
    rows[COLD] = [1e3*v for v in seconds_of(code)]
    table = networks()
    print(f"{platform.machine()}, Python {platform.python_version()}, one core\n")
    print(f"{'milliseconds':42}{'wall':>9}{'CPU':>9}")
    for k, (wall, cpu) in rows.items():
        slow = '   too slow, limit 1500' if k == COLD and wall > 1500 else ''
        print(f"{k:42}{wall:9.2f}{cpu:9.2f}{slow}")
    print(f"\nmilliseconds of CPU a face\n{table.round(2).to_string()}")
    if not args.json: return
    figures = {k: dict(wall_ms=w, cpu_ms=c) for k, (w, c) in rows.items()}
    figures['networks'] = table.reset_index().to_dict('records')
    part = args.json.with_name(args.json.name+'.part')
    part.write_text(json.dumps(figures, indent=1))
    part.replace(args.json)


if __name__ == '__main__': main()
