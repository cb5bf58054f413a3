"What all tests share: they run on drawn faces, and what a missing program or package skips by name is a failure where CI=true"
import os, shutil, subprocess, sys
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
        report.outcome,report.longrepr = 'failed',f"CI=true, where nothing may be skipped: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
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


@pytest.fixture(scope='session')
def copy_tree(tmp_path_factory):
    "A function that copies what git has or would have to a new folder, where a test may do as it likes"
    def _copy():
        to = tmp_path_factory.mktemp('checkout')
        files = subprocess.run(['git', 'ls-files', '-z', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for f in filter(None, files.split('\0')):
            if not (ROOT/f).is_file(): continue # deleted, not yet committed
            (to/f).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT/f, to/f)
        return to
    return _copy


@pytest.fixture(scope='session')
def chromium(need):
    "Debian's Chromium under playwright, in which nothing phones home; a context manager a test: `with chromium() as browser`"
    path = need('chromium', 'apt-get install chromium')
    from contextlib import contextmanager
    from playwright.sync_api import sync_playwright
    flags = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'

    @contextmanager
    def _open():
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=path, args=flags.split())
            try: yield browser
            finally: browser.close()
    return _open


@pytest.fixture(scope='session')
def site(tmp_path_factory):
    "The folder of the built site: FER_SITE if that names one, else built now"
    if os.environ.get('FER_SITE'): return Path(os.environ['FER_SITE'])
    to = tmp_path_factory.mktemp('site')/'docs'
    r = subprocess.run([sys.executable, ROOT/'docs/build.py', '--to', to], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert r.returncode == 0, r.stdout[-2000:] + r.stderr[-4000:]
    return to
