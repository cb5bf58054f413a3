"""Drawn faces a second on one core, with masks, duplicates and label errors

Run: python benchmarks/synthetic_speed.py
"""
import os
for k in ('OMP_NUM_THREADS','OPENBLAS_NUM_THREADS','MKL_NUM_THREADS'): os.environ[k] = '1'
import time
import cv2
from fer_nbdev.synthetic import synthetic_faces

cv2.setNumThreads(1)
synthetic_faces(100)
print('| faces | CPU seconds | faces a CPU second | faces a second by the clock |')
print('|---|---|---|---|')
for n in (2000,10000):
    runs = []
    for _ in range(3):
        cpu,clock = time.process_time(),time.perf_counter()
        synthetic_faces(n)
        runs.append((time.process_time()-cpu, time.perf_counter()-clock))
    cpu,clock = min(runs)
    print(f'| {n:,} | {cpu:.2f} | {n/cpu:,.0f} | {n/clock:,.0f} |')
