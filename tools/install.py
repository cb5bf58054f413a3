"""Make .venv from requirements.lock, or leave it alone if it is up to date.

    python3 tools/install.py           what every `make` target calls first

The environment variable VENV names another place than .venv. Only an environment that was made
here is ever changed: `installed.txt` in it says so. The standard library is enough for this file:
it runs before anything is installed.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT/(os.environ.get('VENV') or '.venv')
OLDEST = (3, 11)
INPUTS = ('requirements.lock', 'settings.ini', 'setup.py', 'pyproject.toml')
# Measured on Linux x86-64 with nothing cached, November 2026
DOWNLOAD_GB, INSTALLED_GB = 3.7, 7.9


def python(): return VENV/'bin'/'python'
def marker(): return VENV/'installed.txt'
def stop(message): sys.exit("\nerror: " + message)


def wanted():
    "What the environment should be made of: a hash of each file that decides it"
    hashes = [f"{hashlib.sha256((ROOT/f).read_bytes()).hexdigest()} {f}" for f in INPUTS]
    return '\n'.join([*hashes, place()]) + '\n'


def place(): return f"{ROOT} checkout"


def made():
    "What our marker says about the environment; '' where there is none"
    return marker().read_text(encoding='utf-8') if marker().is_file() else ''


def check_ours():
    "Stop unless the place is free or holds an environment that this file made"
    mend = "Remove or rename it, or give another place: make VENV=/another/place ..."
    if VENV.is_symlink():
        stop(f"{VENV} is a link to {os.readlink(VENV)}; "
             f"only an environment that make install made itself is changed.\n{mend}")
    there = VENV.exists() and not (VENV.is_dir() and not any(VENV.iterdir()))
    if there and not made().rstrip().endswith(' checkout'):
        stop(f"{VENV} was not made by make install, and is left as it is.\n{mend}")


def check_python():
    "Stop with what to install if this Python cannot make the environment"
    v = '.'.join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        stop(f"{sys.executable} is Python {v}; fer_nbdev needs 3.11 or newer.\n"
             "With another one installed: make PYTHON=python3.12 ...")
    try: import ensurepip, venv
    except ImportError:
        stop(f"Python {v} at {sys.executable} has no venv. "
             "On Debian and Ubuntu: sudo apt-get install python3-venv")


def check_room():
    "Stop before a download that does not fit on the disk"
    free = shutil.disk_usage(ROOT).free/1e9
    there = size(VENV) if VENV.exists() else 0
    if free + there < INSTALLED_GB + 1:
        used = f", {there:.1f} of them are there" if there else ''
        stop(f"{free:.1f} GB free at {ROOT}; {VENV.name} takes about {INSTALLED_GB} GB{used}")


def size(path): return sum(f.lstat().st_size for f in path.rglob('*') if not f.is_symlink())/1e9


def run(*command):
    if subprocess.run([str(c) for c in command], cwd=ROOT).returncode:
        stop("this command failed (its own message is above):\n"
             f"  {' '.join(map(str, command))}\n"
             "What was fetched is kept; the same `make` command goes on from there.")


def works():
    "Was it made for this place, and does its Python start and have pip?"
    if place() not in made().splitlines() or not python().exists(): return False
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return not subprocess.run([str(python()), '-c', 'import pip'], **quiet).returncode


def make_empty():
    "An environment with nothing but pip. The marker comes first, so that a second try finds it"
    for f in VENV.iterdir() if VENV.exists() else ():
        if f == marker(): continue
        shutil.rmtree(f) if f.is_dir() and not f.is_symlink() else f.unlink()
    VENV.mkdir(parents=True, exist_ok=True)
    marker().write_text(place() + '\n', encoding='utf-8')
    run(getattr(sys, '_base_executable', sys.executable), '-m', 'venv', VENV)


def fill():
    "The packages of requirements.lock"
    start = time.time()
    lock = (ROOT/'requirements.lock').read_text(encoding='utf-8').splitlines()
    n = sum('==' in l and not l.startswith((' ', '#')) for l in lock)
    print(f"Installing the packages of requirements.lock ({n} for all systems together)\n"
          f"into {VENV}, each checked by its hash. On Linux about {DOWNLOAD_GB} GB to fetch,\n"
          f"most of it torch with NVIDIA's libraries; {INSTALLED_GB} GB on disk. "
          f"Nothing else changes.", flush=True)
    run(python(), '-m', 'pip', 'install', '-q', '--disable-pip-version-check', 'uv<1')
    # Compiled now, or every process compiles anew where PYTHONDONTWRITEBYTECODE is set
    run(python(), '-m', 'uv', 'pip', 'install', '-q', '--python', python(),
        '--compile-bytecode', '--require-hashes', '-r', 'requirements.lock')
    print(f"Installed in {time.time()-start:.0f} s: {size(VENV):.1f} GB.", flush=True)


def main():
    check_ours()
    want, ready = wanted(), works()
    if ready and made() == want: return
    check_python()
    if not ready or want.split()[0] not in made():
        check_room()
        if not ready: make_empty()
        fill()
    run(python(), '-m', 'uv', 'pip', 'install', '-q', '--python', python(),
        '--no-deps', '--no-build-isolation', '-e', '.')
    marker().write_text(want, encoding='utf-8')


if __name__ == '__main__': main()
