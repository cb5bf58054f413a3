"What all tests share: they run on drawn faces, and a missing program skips a test by name, but fails it where CI=true"
import os, shutil
from pathlib import Path
import pytest

os.environ.pop('FER2013_PATH', None)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def root(): return ROOT


@pytest.fixture(scope='session')
def need():
    "`need('chromium')` -> its path; without it the test is skipped, or fails where CI=true"
    def _need(program, why=''):
        path = shutil.which(program)
        if path: return path
        message = f"{program} is not installed" + (f": {why}" if why else '')
        (pytest.fail if os.environ.get('CI') == 'true' else pytest.skip)(message)
    return _need
