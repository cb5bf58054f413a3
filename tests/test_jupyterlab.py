"JupyterLab itself, in Chromium: opens a notebook, runs all of it through its menu, and shows what came out"
import os, socket, subprocess, sys, time
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def lab(tmp_path):
    "JupyterLab's address on a copy of 00_core.ipynb without outputs, with a last cell that says so"
    import nbformat
    nb = nbformat.read(ROOT/'nbs/00_core.ipynb', 4)
    nb.cells = [c for c in nb.cells if 'nbdev_export(' not in c.source]
    for c in nb.cells:
        if c.cell_type == 'code': c.outputs,c.execution_count = [],None
    nb.cells.append(nbformat.v4.new_code_cell("print('the', 'end of', len(EMOTIONS), 'expressions')"))
    root = tmp_path/'nbs'
    root.mkdir()
    nbformat.write(nb, root/'00_core.ipynb')
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    own = {k: str(tmp_path/k.lower()) for k in ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR', 'JUPYTERLAB_SETTINGS_DIR', 'JUPYTERLAB_WORKSPACES_DIR')}
    with open(tmp_path/'lab.log', 'w') as log:
        p = subprocess.Popen([sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0',
            '--IdentityProvider.token=t', f'--ServerApp.root_dir={root}', '--LabApp.news_url=None', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate'],
            cwd=root, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **own})
        try:
            for _ in range(240):
                if p.poll() is not None: break
                try: socket.create_connection(('127.0.0.1', port), 1).close(); break
                except OSError: time.sleep(.25)
            assert p.poll() is None, (tmp_path/'lab.log').read_text()[-3000:]
            yield f'http://127.0.0.1:{port}'
        finally:
            p.terminate()
            try: p.wait(20)
            except subprocess.TimeoutExpired: p.kill()


def test_jupyterlab_runs_a_notebook(chromium, lab):
    with chromium() as browser:
        page,outside = browser.new_page(viewport=dict(width=1300, height=900)),[]
        page.on('request', lambda r: None if r.url.startswith((lab, 'data:', 'blob:')) else outside.append(r.url))
        page.goto(f'{lab}/lab/tree/00_core.ipynb?token=t&reset', wait_until='domcontentloaded')
        page.wait_for_selector('.jp-Notebook .jp-CodeCell', timeout=90_000)
        page.wait_for_selector('#jp-main-statusbar :text("| Idle")', timeout=90_000) # before that, a dialog would ask for a kernel
        page.click('.lm-MenuBar-itemLabel:text-is("Run")')
        page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
        last = page.locator('.jp-OutputArea-output', has_text='the end of 7 expressions')
        last.wait_for(timeout=120_000)
        last.scroll_into_view_if_needed()
        assert last.is_visible()
        assert page.locator('.jp-OutputArea-output img').count() >= 1
        assert not page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"], .jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]').count()
        assert not outside
