"JupyterLab in Chromium: opens a notebook, runs it through its menu, shows what came out"
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
OWN = ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR',
       'JUPYTERLAB_SETTINGS_DIR', 'JUPYTERLAB_WORKSPACES_DIR')
FAULTS = ', '.join(f'.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.{kind}"]'
                   for kind in ('stderr', 'error'))


def write_copy(folder):
    "The core notebook without outputs, and with a last cell that says so; its name"
    import nbformat
    path, = (ROOT/'nbs').glob('??_core.ipynb')
    nb = nbformat.read(path, 4)
    nb.cells = [c for c in nb.cells if 'nbdev_export(' not in c.source]
    for c in nb.cells:
        if c.cell_type == 'code': c.outputs, c.execution_count = [], None
    last = "print('the', 'end of', len(EMOTIONS), 'expressions')"
    nb.cells.append(nbformat.v4.new_code_cell(last))
    folder.mkdir()
    nbformat.write(nb, folder/path.name)
    return path.name


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def answers(port):
    try: socket.create_connection(('127.0.0.1', port), 1).close()
    except OSError: return False
    return True


@pytest.fixture
def lab(tmp_path):
    "JupyterLab's address, and that of the notebook in it"
    name, port, log = write_copy(tmp_path/'nbs'), free_port(), tmp_path/'lab.log'
    command = [
        sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1',
        f'--port={port}', '--ServerApp.port_retries=0', '--IdentityProvider.token=t',
        f"--ServerApp.root_dir={tmp_path/'nbs'}", '--LabApp.news_url=None',
        '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate']
    env = {**os.environ, **{k: str(tmp_path/k.lower()) for k in OWN}}
    with log.open('w') as f:
        p = subprocess.Popen(command, cwd=tmp_path, stdout=f, stderr=subprocess.STDOUT, env=env)
    try:
        for _ in range(400):
            if p.poll() is not None or answers(port): break
            time.sleep(.25)
        assert p.poll() is None, log.read_text()[-3000:]
        address = f'http://127.0.0.1:{port}'
        yield address, f'{address}/lab/tree/{name}?token=t&reset'
    finally:
        p.terminate()
        try: p.wait(20)
        except subprocess.TimeoutExpired: p.kill()


def test_jupyterlab_runs_a_notebook(chromium, lab):
    address, notebook = lab
    with chromium() as browser:
        page, outside = browser.new_page(viewport=dict(width=1300, height=900)), []
        ours = (address, 'data:', 'blob:')
        page.on('request', lambda r: r.url.startswith(ours) or outside.append(r.url))
        page.goto(notebook, wait_until='domcontentloaded')
        page.wait_for_selector('.jp-Notebook .jp-CodeCell', timeout=90_000)
        # Before that, a dialog would ask for a kernel
        page.wait_for_selector('#jp-main-statusbar :text("| Idle")', timeout=90_000)
        page.click('.lm-MenuBar-itemLabel:text-is("Run")')
        page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
        last = page.locator('.jp-OutputArea-output', has_text='the end of 7 expressions')
        last.wait_for(timeout=120_000)
        last.scroll_into_view_if_needed()
        assert last.is_visible()
        assert page.locator('.jp-OutputArea-output img').count() >= 1
        assert not page.locator(FAULTS).count()
        assert not outside
