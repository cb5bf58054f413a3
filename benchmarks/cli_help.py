"Seconds until a command has printed its help, each in a process of its own: the best of five"
import resource
import subprocess
import sys
import time
from configparser import ConfigParser
from pathlib import Path

LIMIT = .3
ini = ConfigParser(delimiters=['='])
ini.read(Path(__file__).resolve().parent.parent/'settings.ini', encoding='utf-8')


def used():
    "CPU seconds of all the processes that have ended"
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime+r.ru_stime


def best(module, target, n=5):
    "Wall-clock and CPU seconds of the quickest of `n` runs"
    command = [sys.executable, '-c', f'from {module} import {target} as run; run()', '--help']
    runs = []
    for _ in range(n):
        start, before = time.perf_counter(), used()
        subprocess.run(command, capture_output=True, check=True)
        runs.append((time.perf_counter()-start, used()-before))
    return min(runs)


print(f"{'--help':<16} {'seconds':>8} {'of CPU':>8}   limit {LIMIT}")
for line in ini['DEFAULT']['console_scripts'].split():
    name, place = line.split('=', 1)
    wall, cpu = best(*place.split(':'))
    print(f"{name:<16} {wall:>8.2f} {cpu:>8.2f}{'   too slow' if wall > LIMIT else ''}")
