"""Many images: a plain loop, and `predict_many` with 1 and 2 workers, on drawn faces

    python benchmarks/batch.py            20,000 pictures of 48x48, each one face
    python benchmarks/batch.py 500        fewer
    python benchmarks/batch.py 500 --photos   photos in which faces are looked for

One thread a process. The start of the workers is part of the time. `of linear` is what 2 workers
reach of twice the speed of 1; `over the loop` is what 1 worker takes longer than the loop.
"""
import argparse
import resource
import tempfile
import time
from pathlib import Path
import cv2
import matplotlib.cbook as cbook
import numpy as np
import pandas as pd
from PIL import Image
from fer_nbdev.batch import predict_many
from fer_nbdev.detect import read_photo
from fer_nbdev.predict import load_predictor
from fer_nbdev.synthetic import synthetic_faces


def draw(folder, n, photos):
    "`n` pictures as files: drawn faces, or a portrait with a drawn face pasted in a corner"
    faces = synthetic_faces(min(n, 1000), random_state=0).images
    path = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
    portrait = cv2.resize(read_photo(path), (512, 600))
    for i in range(n):
        im = faces[i % len(faces)]
        if photos:
            im = np.stack([im]*3, -1)
            portrait[:48, :48] = im
            im = portrait
        Image.fromarray(im).save(folder/f'{i:06d}.{"jpg" if photos else "png"}')


def plain_loop(folder, out, photos):
    "What one would write without this library's `predict_many`"
    predictor, rows = load_predictor(), []
    for path in sorted(folder.iterdir()):
        if photos:
            found = predictor.predict(path)
            rows += [dict(source=str(path), **p.probabilities) for p in found]
        else:
            grey = cv2.cvtColor(read_photo(path), cv2.COLOR_RGB2GRAY)
            shares = predictor.predict_proba(grey[None])[0]
            rows.append(dict(source=str(path), **dict(zip(predictor.classes, shares))))
    pd.DataFrame(rows).to_parquet(out)


def timed(f, *args, **kwargs):
    start = time.perf_counter()
    f(*args, **kwargs)
    return time.perf_counter()-start


def workers_peak(): return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument('n', type=int, nargs='?', default=20_000)
    args.add_argument('--photos', action='store_true')
    args = args.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        folder = tmp/'pictures'
        folder.mkdir()
        draw(folder, args.n, args.photos)
        seconds = {'plain loop': timed(plain_loop, folder, tmp/'loop.parquet', args.photos)}
        for w in (1, 2):
            name = f'{w} worker{"s"*(w > 1)}'
            seconds[name] = timed(predict_many, folder, tmp/name, workers=w,
                                  cropped=not args.photos)
    print(f"{args.n:,} {'photos' if args.photos else 'faces'}\n")
    print(f"{'':<12} {'seconds':>9} {'images/s':>9}")
    for k,s in seconds.items(): print(f"{k:<12} {s:>9.1f} {args.n/s:>9.0f}")
    loop, one, two = seconds.values()
    print(f"\n1 worker takes {one/loop-1:+.0%} over the loop (at most +20 %)")
    print(f"2 workers reach {one/(2*two):.2f} of linear (at least .90)")
    print(f"largest process: {workers_peak():.0f} MB")


if __name__ == '__main__': main()
