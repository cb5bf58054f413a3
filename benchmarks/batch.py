"""Many images: a plain loop, and `predict_many` with 1 and 2 workers, on drawn faces

    python benchmarks/batch.py            20,000 pictures of 48x48, each one face
    python benchmarks/batch.py 500        fewer
    python benchmarks/batch.py 500 --photos   photos in which faces are looked for

One thread a process. Each way begins with the names of the files and ends with its parquet. The
time of this program's own imports is left out; the start and the end of the workers, with the
imports in them, are part of the time, and have a row of their own: one worker for one image.

`of linear` is what 2 workers reach of twice the speed of 1; `over the loop` is what 1 worker takes
longer than the loop, and less than 0 where it is faster: it answers for 32 faces in one call, the
loop for one. Two plain loops at once, without Dask, say what two cores of this machine allow. CPU
seconds are those of all processes together; they say more than the clock where other programs run.
"""
import argparse
import os
import tempfile
import time
from pathlib import Path
# A worker reads this file again, so what only this process needs is imported where it is used


def draw(folder, n, photos):
    "`n` pictures as files: drawn faces, or a portrait with a drawn face pasted in a corner"
    import cv2
    import matplotlib.cbook as cbook
    import numpy as np
    from PIL import Image
    from fer_nbdev.detect import read_photo
    from fer_nbdev.synthetic import synthetic_faces
    faces = synthetic_faces(max(10, min(n, 1000)), random_state=0).images
    path = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
    portrait = cv2.resize(read_photo(path), (512, 600))
    folder.mkdir()
    for i in range(n):
        im = faces[i % len(faces)]
        if photos:
            portrait[:48, :48] = np.stack([im]*3, -1)
            im = portrait
        Image.fromarray(im).save(folder/f'{i:06d}.{"jpg" if photos else "png"}')


def plain_loop(paths, out, photos):
    "What one would write without this library's `predict_many`"
    import cv2
    import pandas as pd
    from fer_nbdev.detect import read_photo
    from fer_nbdev.predict import load_predictor
    predictor, rows = load_predictor(), []
    cv2.setNumThreads(1)
    for path in paths:
        if photos:
            found = predictor.predict(path)
            rows += [dict(source=str(path), **p.probabilities) for p in found]
        else:
            grey = cv2.cvtColor(read_photo(path), cv2.COLOR_RGB2GRAY)
            shares = predictor.predict_proba(grey[None])[0]
            rows.append(dict(source=str(path), **dict(zip(predictor.classes, shares))))
    pd.DataFrame(rows).to_parquet(out)


def two_loops(paths, out, photos):
    "Two plain loops side by side, each for half of the pictures: what two cores can do here"
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    outs = [out.with_suffix(f'.{k}') for k in (0, 1)]
    with ProcessPoolExecutor(2, get_context('spawn')) as pool:
        list(pool.map(plain_loop, (paths[::2], paths[1::2]), outs, (photos, photos)))


def timed(f, *args, **kwargs):
    "Seconds by the clock, and of processor time in this process and those that it started"
    before, start = os.times(), time.perf_counter()
    f(*args, **kwargs)
    wall, after = time.perf_counter()-start, os.times()
    return wall, sum(after[:4])-sum(before[:4])


def measure(tmp, n, photos):
    "{way: (seconds, CPU seconds)}"
    import distributed, pandas, pyarrow.parquet # noqa: so that no way pays for it alone
    from fer_nbdev.batch import predict_many
    draw(tmp/'pictures', n, photos)
    draw(tmp/'one', 1, photos)
    paths = sorted((tmp/'pictures').iterdir())

    def batch(name, source, workers):
        return timed(predict_many, source, tmp/name, workers=workers, cropped=not photos)
    return {'plain loop': timed(plain_loop, paths, tmp/'loop.parquet', photos),
            'two loops at once': timed(two_loops, paths, tmp/'loops.parquet', photos),
            '1 worker, 1 image': batch('start', tmp/'one', 1),
            '1 worker': batch('w1', tmp/'pictures', 1),
            '2 workers': batch('w2', tmp/'pictures', 2)}


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument('n', type=int, nargs='?', default=20_000)
    args.add_argument('--photos', action='store_true')
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        took = measure(Path(tmp), args.n, args.photos)
    print(f"{args.n:,} {'photos' if args.photos else 'faces'}\n")
    print(f"{'':<18} {'seconds':>9} {'CPU s':>9} {'images/s':>9}")
    for way, (wall, cpu) in took.items():
        n = 1 if way.endswith('1 image') else args.n
        print(f"{way:<18} {wall:>9.1f} {cpu:>9.1f} {n/wall:>9.1f}")
    loop, loops, one, two = (took[way][0] for way in (
        'plain loop', 'two loops at once', '1 worker', '2 workers'))
    print(f"\n1 worker takes {one/loop-1:+.0%} over the loop (at most +20 %)")
    print(f"2 workers reach {one/(2*two):.2f} of linear (at least .90); "
          f"two loops at once reach {loop/(2*loops):.2f}")


if __name__ == '__main__': main()
