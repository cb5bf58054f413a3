"""Make .venv from requirements.lock, or leave it alone if it is that already. Standard library only: it runs before anything is installed.

    python3 tools/install.py           what every `make` target calls first
"""
import hashlib, shutil, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT/'.venv'
PYTHON = VENV/'bin'/'python'
STAMP = VENV/'installed.txt'
OLDEST = (3, 11)
DOWNLOAD_GB, INSTALLED_GB = 3.7, 7.3  # measured on Linux x86-64 with nothing cached, November 2026


def wanted():
    "What the environment should be made of: a hash of each file that decides it"
    files = ('requirements.lock', 'settings.ini', 'setup.py', 'pyproject.toml')
    return ''.join(f"{hashlib.sha256((ROOT/f).read_bytes()).hexdigest()} {f}\n" for f in files) + f"{ROOT} checkout\n"


def works():
    "Is there a Python in .venv that starts, and was it made here? (a copied folder brings scripts that point to the old place)"
    if not PYTHON.exists() or subprocess.run([str(PYTHON), '-c', 'import pip'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode: return False
    return f'{ROOT} checkout' in made().splitlines() or not made()


def made(): return STAMP.read_text() if STAMP.exists() else ''


def stop(message): sys.exit("\nerror: " + message)


def check_python():
    "Stop with what to install if this Python cannot make the environment"
    v = '.'.join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        stop(f"{sys.executable} is Python {v}; fer_nbdev needs 3.11 or newer. With another one installed: make PYTHON=python3.12 ...")
    try: import venv, ensurepip
    except ImportError: stop(f"Python {v} at {sys.executable} has no venv. On Debian and Ubuntu: sudo apt-get install python3-venv")


def check_room():
    "Stop before a download that cannot end well"
    free,there = shutil.disk_usage(ROOT).free/1e9,size(VENV) if VENV.exists() else 0
    if free + there < INSTALLED_GB + 1: stop(f"{free:.1f} GB free at {ROOT}; .venv takes about {INSTALLED_GB} GB" + (f", {there:.1f} of them are there" if there else ''))


def run(*command):
    if subprocess.run([str(c) for c in command], cwd=ROOT).returncode:
        stop(f"this command failed (its own message is above):\n  {' '.join(map(str, command))}\nWhat was fetched is kept; the same `make` command goes on from there.")


def size(path): return sum(f.lstat().st_size for f in path.rglob('*') if not f.is_symlink())/1e9


def main():
    want = wanted()
    ready = works()
    if ready and made() == want: return
    check_python()
    if not ready or want.split()[0] not in made():
        start = time.time()
        check_room()
        n = sum('==' in l and not l.startswith((' ', '#')) for l in (ROOT/'requirements.lock').read_text().splitlines())
        print(f"Installing the packages of requirements.lock ({n} for all systems together) into {VENV}, each checked by its hash.\n"
              f"On Linux about {DOWNLOAD_GB} GB to fetch, most of it torch with NVIDIA's libraries; {INSTALLED_GB} GB on disk. Nothing outside .venv changes.", flush=True)
        if not ready: run(getattr(sys, '_base_executable', sys.executable), '-m', 'venv', '--clear', VENV)
        run(PYTHON, '-m', 'pip', 'install', '-q', '--disable-pip-version-check', 'uv<1')
        run(PYTHON, '-m', 'uv', 'pip', 'install', '-q', '--python', PYTHON, '--require-hashes', '-r', 'requirements.lock')
        print(f"Installed in {time.time()-start:.0f} s: {size(VENV):.1f} GB.", flush=True)
    run(PYTHON, '-m', 'uv', 'pip', 'install', '-q', '--python', PYTHON, '--no-deps', '--no-build-isolation', '-e', '.')
    STAMP.write_text(want)


if __name__ == '__main__': main()
