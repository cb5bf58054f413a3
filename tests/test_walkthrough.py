"The runner behind `make walkthrough` and `make outputs`, on small notebooks of its own"
import json, os, shutil, subprocess, sys
import nbformat, pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

RECORD = """import json, os
m = dict(value=.5, low=.4, high=.6)
row = dict(name='{}', role='{}', data='drawn faces', split='valid', n=70, metrics=dict(accuracy=m, balanced_accuracy=m, macro_f1=m))
with open(os.environ['FER_METRICS'], 'a') as f: print(json.dumps(row), file=f)"""


@pytest.fixture
def place(tmp_path, root):
    "A checkout with the runner, and a function that adds a notebook"
    (tmp_path/'tools').mkdir(); (tmp_path/'nbs').mkdir()
    shutil.copy(root/'tools/walkthrough.py', tmp_path/'tools')
    def add(name, *sources):
        nb = new_notebook(cells=[new_markdown_cell(f'# {name}\n> About {name}, $x^2$\n\nWhy? See [next](01_b.ipynb).')] + [new_code_cell(s) for s in sources])
        nbformat.write(nb, tmp_path/'nbs'/f'{name}.ipynb')
    def run(*args, **env):
        clean = {k: v for k,v in os.environ.items() if k not in ('FER2013_PATH', 'FER_METRICS')}
        return subprocess.run([sys.executable, tmp_path/'tools/walkthrough.py', *args], capture_output=True, text=True, timeout=120, env={**clean, **env})
    return tmp_path, add, run


def test_runs_all_in_order_and_keeps_everything(place):
    home,add,run = place
    add('01_b', RECORD.format('net', 'network'))
    add('00_a', 'import matplotlib.pyplot as plt; plt.plot([1,2]);', '#| eval: false\nraise SystemError', RECORD.format('guess', 'baseline'), 'import nbdev; nbdev.nbdev_export()')
    add('readme', 'raise ValueError("not numbered, not run")')
    r = run()
    assert r.returncode == 0, r.stdout + r.stderr
    out = home/'_walkthrough'
    assert {p.name for p in out.iterdir()} == {'00_a.ipynb', '00_a.html', '01_b.ipynb', '01_b.html', 'figures', 'metrics.json', 'index.html'}
    assert [p.name for p in (out/'figures').iterdir()] == ['00_a-01.png']
    assert r.stdout.index('00_a') < r.stdout.index('01_b')
    m = json.loads((out/'metrics.json').read_text())
    assert m['finished'] and [(x['name'], x['notebook']) for x in m['results']] == [('guess', '00_a'), ('net', '01_b')]
    assert 'guess (baseline)' in r.stdout and '0.500 [0.400, 0.600]' in r.stdout
    page = (out/'00_a.html').read_text()
    assert '<math' in page and 'href="01_b.html"' in page
    assert 'src="http' not in page


def test_a_failing_cell_is_named_and_the_rest_is_kept(place):
    home,add,run = place
    add('00_a', '1+1', 'print("so far"); raise ValueError("the pixel is missing")', '2+2')
    add('01_b', '1')
    r = run()
    assert r.returncode == 1
    for said in ('00_a.ipynb', 'code cell 2', 'ValueError: the pixel is missing'): assert said in r.stdout
    assert '01_b' not in r.stdout
    kept = nbformat.read(home/'_walkthrough/00_a.ipynb', 4)
    assert kept.cells[1].outputs and 'so far' in str(kept.cells[2].outputs) and not kept.cells[3].outputs
    assert not json.loads((home/'_walkthrough/metrics.json').read_text())['finished']


def test_a_dead_kernel_is_named(place):
    home,add,run = place
    add('00_a', '1+1', 'import os; os._exit(1)')
    r = run()
    assert r.returncode == 1 and 'code cell 2' in r.stdout and 'DeadKernel' in r.stdout


def test_data_path(place, tmp_path):
    "A relative path becomes absolute for kernels, which run in nbs/; a wrong one is an error at once"
    home,add,run = place
    add('00_a', "import os; assert os.path.isabs(os.environ['FER2013_PATH']); assert os.getcwd().endswith('nbs')")
    r = run(FER2013_PATH=os.path.relpath(tmp_path))
    assert r.returncode == 0 and 'about 10 minutes' in r.stdout, r.stdout + r.stderr
    r = run(FER2013_PATH='/no/such/place')
    assert r.returncode == 1 and '/no/such/place' in r.stderr
    r = run('--in-place')
    assert r.returncode == 1 and 'FER2013_PATH=' in r.stderr
    r = run('00', '07', '00_b')
    assert r.returncode == 1 and 'called 07 or 00_b; there are 00_a' in r.stderr and 'ok' not in r.stdout
