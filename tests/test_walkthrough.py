"The runner behind `make walkthrough` and `make outputs`, on small notebooks of its own"
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

RECORD = """import json, os
m = dict(value=.5, low=.4, high=.6)
row = dict(name='{}', role='{}', data='drawn faces', split='valid', n=70,
           metrics=dict(accuracy=m, balanced_accuracy=m, macro_f1=m))
with open(os.environ['FER_METRICS'], 'a') as f: print(json.dumps(row), file=f)"""
OPENING = """# Page {}
> About {}, which is short

Why $x^2$? See [next](01_b.ipynb), [a study](studies/s.ipynb), [the index](index.ipynb#run-it)."""


@pytest.fixture
def home(tmp_path, root):
    "A checkout with the runner, in a path with a blank"
    to = tmp_path/'a b'
    (to/'nbs/studies').mkdir(parents=True)
    for f in ('tools', 'docs'): shutil.copytree(root/f, to/f)
    shutil.copy(root/'settings.ini', to)
    for f in ('studies/s', 'index'): nbformat.write(new_notebook(), to/f'nbs/{f}.ipynb')
    return to


@pytest.fixture
def add(home):
    "Adds a notebook"
    def _add(name, *sources):
        cells = [new_markdown_cell(OPENING.format(name, name)), *map(new_code_cell, sources)]
        nbformat.write(new_notebook(cells=cells), home/'nbs'/f'{name}.ipynb')
    return _add


@pytest.fixture
def start(home):
    "Starts the runner"
    def _start(*args, **env):
        ours = ('FER2013_PATH', 'FER_METRICS')
        clean = {k: v for k,v in os.environ.items() if k not in ours}
        return subprocess.Popen(
            [sys.executable, home/'tools/walkthrough.py', *args], env={**clean, **env}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    return _start


@pytest.fixture
def run(start):
    "Runs it to the end: its exit status and what it printed"
    def _run(*args, **env):
        p = start(*args, **env)
        out, err = p.communicate(timeout=240)
        return p.returncode, out + err
    return _run


def test_runs_all_and_keeps_everything(home, add, run):
    add('01_b', RECORD.format('net', 'network'))
    add('00_a', 'import matplotlib.pyplot as plt; plt.plot([1,2]);',
        '#| eval: false\nraise SystemError', RECORD.format('guess', 'baseline'),
        'import nbdev; nbdev.nbdev_export()')
    add('readme', 'raise ValueError("not numbered, not run")')
    rc, said = run()
    assert rc == 0, said
    out = home/'_walkthrough'
    assert {p.name for p in out.iterdir()} == {
        '00_a.ipynb', '00_a.html', '01_b.ipynb', '01_b.html', 'figures', 'media', 'metrics.json',
        'index.html', 'site.css'}
    assert [p.name for p in (out/'figures').iterdir()] == ['00_a-01.png']
    m = json.loads((out/'metrics.json').read_text())
    assert m['finished']
    named = [(x['name'], x['notebook']) for x in m['results']]
    assert named == [('guess', '00_a'), ('net', '01_b')]
    assert 'guess (baseline)' in said and '0.500 [0.400, 0.600]' in said


def test_pages_look_like_the_site_and_lead_somewhere(home, add, run):
    from bs4 import BeautifulSoup
    figure = 'import plotly.graph_objects as go; go.Figure(go.Bar(y=[1,2]))'
    add('00_a', figure, '#| code-summary: "Solution"\nprint("forty-two")')
    add('01_b', '1+1')
    rc, said = run()
    assert rc == 0, said
    out = home/'_walkthrough'
    for name in ('00_a.html', '01_b.html', 'index.html'):
        soup = BeautifulSoup((out/name).read_text(), 'html.parser')
        assert soup.select_one('link[href="site.css"]')
        assert soup.select_one('a.brand[href="index.html"]')
        links = [t.get('href') or t.get('src') for t in soup.select('[href], [src]')]
        local = [l.partition('#')[0] for l in links if not re.match('[a-z]+:', l)]
        assert [l for l in local if l and not (out/l).exists()] == [], name
        assert not [l for l in links if l.endswith('.ipynb') and '://' not in l], name
        assert not soup.select('[src^=http], link[href^=http]')
    page = (out/'00_a.html').read_text()
    assert '<math' in page and 'href="01_b.html"' in page and 'plotly.min.js' in page
    soup = BeautifulSoup(page, 'html.parser')
    assert 'forty-two' in soup.select_one('details.callout').get_text()
    assert soup.h1.get_text() == 'Page 00_a' and 'About 00_a' in soup.select_one('.lead').get_text()


def test_two_run_at_once_the_first_one_first_each_with_one_thread(home, add, run):
    "Both wait for each other, and say how many threads they may use"
    wait = """import os, pathlib, time
me, other = pathlib.Path('{}'), pathlib.Path('{}')
me.touch()
for _ in range(600):
    if other.exists(): break
    time.sleep(.1)
assert other.exists(), 'the other notebook did not run beside this one'
assert os.environ['OMP_NUM_THREADS'] == os.environ['MKL_NUM_THREADS'] == '1'"""
    add('00_whole', wait.format('a', 'b'))
    add('01_b', wait.format('b', 'a'))
    add('02_c', 'import os; assert os.path.exists("a") and os.path.exists("b")')
    rc, said = run()
    assert rc == 0, said
    assert re.findall(r'^(\d\d)_\S+ +cell +1 of 1 .* ok$', said, re.M)[-1] == '02'


def test_progress_bars_are_those_of_a_notebook(add, run):
    "Also in kernels that are copies of a process without a notebook"
    bars = 'from fastprogress.fastprogress import NBProgressBar, progress_bar'
    for name in ('00_a', '01_b', '02_c'): add(name, bars, 'assert progress_bar is NBProgressBar')
    rc, said = run()
    assert rc == 0, said


def test_a_failing_cell_is_named_and_the_rest_is_kept(home, add, run):
    add('00_a', '1+1', 'print("so far"); raise ValueError("the pixel is missing")', '2+2')
    add('01_b', 'import time; time.sleep(8)')
    add('02_c', '1')
    rc, said = run()
    assert rc == 1
    for words in ('00_a.ipynb', 'code cell 2', 'ValueError: the pixel is missing'):
        assert words in said
    assert '02_c' not in said
    kept = nbformat.read(home/'_walkthrough/00_a.ipynb', 4)
    assert kept.cells[1].outputs and not kept.cells[3].outputs
    assert 'so far' in str(kept.cells[2].outputs)
    assert not json.loads((home/'_walkthrough/metrics.json').read_text())['finished']


def test_a_dead_kernel_is_named(add, run):
    add('00_a', '1+1', 'import os; os._exit(1)')
    rc, said = run()
    assert rc == 1 and 'code cell 2' in said and 'DeadKernel' in said


@pytest.fixture
def waiting(home, add, start):
    "The runner with two kernels that wait, and their process numbers"
    wait = '''import os, pathlib, time
pathlib.Path("{}").write_text(str(os.getpid()))
time.sleep(300)'''
    for name in ('00_a', '01_b', '02_c'): add(name, wait.format(name))
    p, pids = start(), [home/'nbs/00_a', home/'nbs/01_b']
    for _ in range(1200):
        if all(f.exists() and f.read_text() for f in pids): break
        time.sleep(.1)
    return p, [int(f.read_text()) for f in pids]


def is_there(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return False
    return True


def gone(pids):
    "Whether these processes end within a minute"
    for _ in range(600):
        if not any(map(is_there, pids)): return True
        time.sleep(.1)


def test_ctrl_c_ends_the_kernels(waiting):
    p, pids = waiting
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 1 and out.count('stopped by Ctrl-C') == 2 and not err, out + err
    assert gone(pids)


@pytest.mark.skipif(sys.platform != 'linux', reason='kernels are copied on Linux only')
def test_no_kernel_outlives_a_killed_runner(waiting):
    p, pids = waiting
    p.kill()
    p.communicate(timeout=60)
    assert gone(pids)


def test_data_path(home, add, run):
    "A relative path becomes absolute for kernels, which run in nbs/; a wrong one is an error"
    add('00_a', "import os; assert os.path.isabs(os.environ['FER2013_PATH'])",
        "assert os.getcwd().endswith('nbs')")
    rc, said = run(FER2013_PATH=os.path.relpath(home))
    assert rc == 0 and f'FER-2013 at {home}' in said, said
    rc, said = run(FER2013_PATH='/no/such/place')
    assert rc == 1 and '/no/such/place' in said
    rc, said = run('--in-place')
    assert rc == 1 and 'FER2013_PATH=' in said
    rc, said = run('00', '07', '00_b')
    assert rc == 1 and 'called 07 or 00_b; there are 00_a' in said and ' ok' not in said


def test_committed_pictures_have_twice_the_pixels_and_solutions_are_folded(home, add, run):
    add('00_a', 'import matplotlib.pyplot as plt; plt.figure(figsize=(3,2)); plt.plot([1,2]);',
        '#| code-fold: true\n#| code-summary: "Solution"\n1+1')
    rc, said = run('--in-place', '00', FER2013_PATH=str(home))
    assert rc == 0, said
    cells = nbformat.read(home/'nbs/00_a.ipynb', 4).cells
    assert [c.metadata.get('jupyter', {}).get('source_hidden') for c in cells] == [None, None, True]
    output = cells[1].outputs[0]
    import base64
    import struct
    pixels = struct.unpack('>I', base64.b64decode(output.data['image/png'])[16:20])[0]
    assert abs(pixels/output.metadata['image/png']['width'] - 2) < .02
