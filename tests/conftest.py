"""What all tests share: they run on drawn faces, from a checkout or from a zip of the sources.
A missing program or package skips its tests by name; where CI=true that is a failure"""
import fnmatch
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
import pytest

os.environ.pop('FER2013_PATH', None)
ROOT = Path(__file__).resolve().parent.parent
_measured = []


@pytest.fixture(scope='session')
def root(): return ROOT


def not_skipped(report):
    "The report of a test or a file of tests; a failure instead of a skip where CI=true"
    if os.environ.get('CI') == 'true' and report.skipped and not hasattr(report, 'wasxfail'):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = 'failed'
        report.longrepr = f"CI=true, where nothing may be skipped: {why}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call): return not_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector): return not_skipped((yield))


@pytest.fixture(scope='session')
def need():
    "`need('chromium')` -> its path; without it the test is skipped"
    def _need(program, why=''):
        path = shutil.which(program)
        if not path: pytest.skip(f"{program} is not installed" + (f": {why}" if why else ''))
        return path
    return _need


@pytest.fixture(scope='session')
def measured():
    "`measured('size of the wheel', '3.1 MB')`: a figure to print at the end"
    return lambda what, value: _measured.append((what, value))


def pytest_terminal_summary(terminalreporter):
    if not _measured: return
    terminalreporter.section('measured')
    for what,value in _measured: terminalreporter.line(f'{what:<50} {value}')


def files_of(top):
    "The files under `top` that .gitignore does not name: what git has or would have, without git"
    lines = (top/'.gitignore').read_text(encoding='utf-8').splitlines()
    patterns = ['.git', *(l for l in lines if l and l[0] != '#')]

    def matches(path, pattern):
        if pattern.endswith('/') and not path.is_dir(): return False
        pattern = pattern.rstrip('/')
        if '/' in pattern: return path.relative_to(top).as_posix() == pattern.lstrip('/')
        return fnmatch.fnmatch(path.name, pattern)

    def below(folder):
        for path in sorted(folder.iterdir()):
            if any(matches(path, p) for p in patterns) or (path/'pyvenv.cfg').exists(): continue
            if path.is_dir(): yield from below(path)
            else: yield path
    return below(top)


@pytest.fixture(scope='session')
def source_files():
    "The files of the checkout"
    return list(files_of(ROOT))


@pytest.fixture(scope='session')
def copy_tree(tmp_path_factory, source_files):
    "A function that copies the checkout to a new folder, where a test may do as it likes"
    def _copy():
        to = tmp_path_factory.mktemp('checkout')
        for f in source_files:
            copy = to/f.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(f, copy)
        return to
    return _copy


@pytest.fixture(scope='session')
def chromium(need):
    "Debian's Chromium under playwright: `with chromium() as browser`. It calls nobody on its own"
    path = need('chromium', 'apt-get install chromium')
    from playwright.sync_api import sync_playwright
    flags = ('--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync '
             '--disable-background-networking --disable-component-update').split()

    @contextmanager
    def _open(*more):
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=path, args=[*flags, *more])
            try: yield browser
            finally: browser.close()
    return _open


@pytest.fixture(scope='session')
def static_server():
    "`static_server(folder)` -> the address of a server of its files, which says nothing"
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    servers = []
    def start(folder):
        handler = functools.partial(Quiet, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f'http://127.0.0.1:{servers[-1].server_port}/'
    yield start
    for s in servers: s.shutdown()


@pytest.fixture(scope='session')
def site(tmp_path_factory):
    "The folder of the built site: the one that FER_SITE names, else one built now"
    if os.environ.get('FER_SITE'): return Path(os.environ['FER_SITE'])
    to = tmp_path_factory.mktemp('site')/'docs'
    r = subprocess.run([sys.executable, ROOT/'docs/build.py', '--to', to], cwd=ROOT,
                       capture_output=True, text=True, timeout=600)
    assert r.returncode == 0, r.stdout[-2000:] + r.stderr[-4000:]
    return to
