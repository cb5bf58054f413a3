"""Frames a second of video on one core, at 640x480 with one face and with two, detection included

    python benchmarks/video.py

The process binds itself to one core. A frame costs: decoding, looking for faces at each `every`th
frame and following them in between, the network, drawing box and emoji, and encoding. `CPU` counts
this process; the last step, in which FFmpeg makes H.264 of the finished file, is timed apart.
"""
import os, platform, shutil, tempfile, time
from pathlib import Path
import cv2
import matplotlib.cbook as cbook
import numpy as np
from fer_nbdev.detect import read_photo
from fer_nbdev.predict import load_predictor
from fer_nbdev.video import predict_video

SECONDS, FPS = 6, 25


def frames(n_faces):
    "Portraits that swing and come closer on a grey ground"
    head = read_photo(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False))[60:400, 130:410]
    for i in range(SECONDS*FPS):
        im, t = np.full((480, 640, 3), 110, np.uint8), i/FPS
        for k in range(n_faces):
            h = round(230+40*np.sin(2*t+k))
            one = cv2.resize(head, (round(.82*h), h), interpolation=cv2.INTER_AREA)
            y, x = round(100+30*np.sin(3*t)), round(60+300*k+40*np.sin(2.5*t+k))
            im[y:y+h, x:x+one.shape[1]] = one
        yield im


def clip(path, n_faces):
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), FPS, (640, 480))
    for im in frames(n_faces): out.write(im[..., ::-1])
    out.release()
    return path


def timed(*args, **kwargs):
    "Wall-clock and CPU milliseconds a frame, from opening the file to the finished table"
    wall, cpu = time.perf_counter(), time.process_time()
    table = predict_video(*args, overwrite=True, **kwargs)
    n = table.attrs['frames']
    return (time.perf_counter()-wall)/n*1e3, (time.process_time()-cpu)/n*1e3


def main():
    if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        source = {n: clip(Path(tmp)/f'{n}.mkv', n) for n in (1, 2)}
        out = Path(tmp)/'out.mp4'
        for name in ('nano', 'small'):
            model = load_predictor(name)
            timed(source[1], model=model, seconds=1)
            for n in (1, 2):
                for every in (1, 3):
                    rows.append((name, n, every, 'no', *timed(source[n], model=model, every=every)))
            rows.append((name, 1, 3, '.mkv', *without_ffmpeg(source[1], out, model)))
            if not shutil.which('ffmpeg'): continue
            rows.append((name, 1, 3, 'H.264', *timed(source[1], out, model=model)))
    print(f"{platform.machine()}, Python {platform.python_version()}, one core, 640x480, "
          f"{SECONDS*FPS} frames\n")
    head = f"{'network':9}{'faces':>6}{'every':>7}{'video':>8}"
    print(f"{head}{'frames/s':>10}{'ms':>8}{'CPU ms':>8}")
    for name, n, every, kind, wall, cpu in rows:
        print(f"{name:9}{n:6}{every:7}{kind:>8}{1e3/wall:10.1f}{wall:8.1f}{cpu:8.1f}")


def without_ffmpeg(source, out, model):
    "As where FFmpeg is not installed: the annotated .mkv alone"
    which, shutil.which = shutil.which, lambda name: None
    try: return timed(source, out.with_suffix('.mkv'), model=model)
    finally: shutil.which = which


if __name__ == '__main__': main()
