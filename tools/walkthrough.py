"""Run the numbered notebooks, two at a time, each in a Jupyter kernel with one thread.
For more than two, on Linux, the kernels are copies of one process that has imported much already.

    python tools/walkthrough.py               all; pages, figures, metrics.json in _walkthrough/
    python tools/walkthrough.py 00 05         only these
    python tools/walkthrough.py --in-place    outputs go back into nbs/ (`make outputs`)

A notebook hands over its figures of merit with `fer_nbdev.evaluate.record_metrics`, which adds a
line to the file that the environment variable FER_METRICS names. Whatever is called nbs/NN_*.ipynb
is run, the lowest number first: nothing is listed here.
"""
import argparse
import base64
import html
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, OUT = ROOT/'nbs', ROOT/'_walkthrough'
LONGEST = 3600 # seconds that one cell may take
ONE_THREAD = {f'{k}_NUM_THREADS': '1' for k in ('OMP', 'MKL', 'OPENBLAS')}
# Outputs that are committed: twice the pixels, for good screens
SHARP = ['--InlineBackend.figure_formats={"retina"}']


def write(path, text):
    "All of `text` or nothing: a reader never meets half a file"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    part.write_bytes(text) if isinstance(text, bytes) else part.write_text(text, encoding='utf-8')
    os.replace(part, path)


def clock(seconds): return f"{int(seconds)//60}:{int(seconds)%60:02d}"


class Progress:
    """One line a notebook, printed at its end. What runs now stands on a last line: always on a
    terminal; elsewhere once a minute, so that a log shows life"""
    def __init__(self): self.running, self.lock, self.said = [], threading.Lock(), time.time()

    def show(self, line=''):
        "Print `line`, if there is one, and what runs now"
        with self.lock:
            now = ' | '.join(f"{r.path.stem} cell {r.k} of {len(r.todo)}, {clock(r.seconds)}"
                             for r in self.running)
            if sys.stdout.isatty():
                print('\r\033[K' + (line + '\n' if line else '') + now, end='', flush=True)
            elif line: print(line, flush=True)
            elif time.time() - self.said > 60:
                self.said = time.time()
                print('  ' + now, flush=True)

    def begin(self, r): self.running.append(r)

    def end(self, r, note):
        self.running.remove(r)
        cells = f"cell {r.k:>2} of {len(r.todo):<2}"
        self.show(f"{r.path.stem:<18} {cells}  {clock(r.seconds):>5}  {note}")


def skipped(cell):
    "What nbdev_test leaves out too: no code, `eval: false`, and the last cell, which exports"
    if cell.cell_type != 'code' or 'nbdev_export(' in cell.source: return True
    return bool(re.search(r'^#\|\s*eval:\s*false', cell.source, re.M|re.I))


FORK = multiprocessing.get_context('forkserver') if sys.platform == 'linux' else None


def import_much():
    "What most pages import, in the process that kernels are copies of"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import fastcore.imports as known # fastprogress asks it at import which bars to draw
        known.IN_IPYTHON = known.IN_JUPYTER = known.IN_NOTEBOOK = True
        import fer_nbdev.synthetic, fer_nbdev.teachers, ipykernel.kernelapp


def end_with_parent():
    "End this process with the one that asked for it, also when that one is killed"
    multiprocessing.parent_process().join()
    os._exit(1)


def become_kernel(args, env, folder):
    "Turn this copy of the warm process into the kernel that `args` describe"
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path[:] = ['', *(p for p in sys.path if p not in ('', str(ROOT/'tools')))]
    multiprocessing.set_start_method(None, force=True) # the usual one again
    threading.Thread(target=end_with_parent, daemon=True).start()
    from ipykernel.kernelapp import IPKernelApp
    IPKernelApp.launch_instance([*args, f'--IPKernelApp.parent_handle={os.getppid()}'])


class Copied:
    "A started process with what jupyter_client asks of a `Popen`"
    stdin = stdout = stderr = None
    def __init__(self, process): self.process, self.pid = process, process.pid
    def poll(self): return self.process.exitcode
    def wait(self): return self.process.join()
    def kill(self): self.process.kill()
    def terminate(self): self.process.terminate()
    def send_signal(self, number): os.kill(self.pid, number)


def warm_manager():
    "A kernel manager whose kernel begins with the imports done"
    from jupyter_client import AsyncKernelManager
    from jupyter_client.provisioning import LocalProvisioner

    class Copies(LocalProvisioner):
        async def launch_kernel(self, cmd, env, cwd, **kwargs):
            args = cmd[cmd.index('-f'):], env, cwd
            process = FORK.Process(target=become_kernel, args=args)
            process.start()
            self.process = Copied(process)
            self.pid = self.pgid = process.pid
            return self.connection_info

    km = AsyncKernelManager(kernel_name='python3')
    km.provisioner = Copies(parent=km, kernel_spec=km.kernel_spec)
    return km


class Run:
    "One notebook, executed: `nb` with its outputs, `records`, and `error` where it stopped"
    def __init__(self, path, progress, options=(), copied=False):
        import nbformat
        self.path, self.progress, self.options = path, progress, list(options)
        self.copied = copied
        self.before = path.read_bytes()
        self.nb = nbformat.reads(self.before.decode(), 4)
        self.todo = [c for c in self.nb.cells if not skipped(c)]
        for c in self.todo: c.outputs, c.execution_count = [], None
        self.k, self.start, self.error, self.client = 0, time.time(), None, None

    @property
    def seconds(self): return time.time() - self.start

    @property
    def name(self): return self.path.stem

    def __call__(self):
        from nbclient.exceptions import CellExecutionError
        self.start = time.time()
        self.progress.begin(self)
        with tempfile.TemporaryDirectory() as folder:
            metrics = Path(folder)/'metrics.jsonl'
            try: self.execute(metrics)
            except CellExecutionError as e: self.error = f"{e.ename}: {e.evalue}"
            except Exception as e: # the kernel died, or took too long
                self.error = f"{type(e).__name__}: {str(e) or 'no message'}"
            lines = metrics.read_text(encoding='utf-8').splitlines() if metrics.exists() else []
        self.records = [dict(json.loads(l), notebook=self.name) for l in lines if l.strip()]
        self.progress.end(self, 'FAILED' if self.error else 'ok')
        return self

    def execute(self, metrics):
        from nbclient import NotebookClient
        km = warm_manager() if self.copied else None
        self.client = NotebookClient(
            self.nb, km, kernel_name='python3', timeout=LONGEST, startup_timeout=LONGEST,
            extra_arguments=['--log-level=40', *self.options],
            resources={'metadata': {'path': str(self.path.parent)}})
        env = {**os.environ, 'FER_METRICS': str(metrics)}
        with self.client.setup_kernel(env=env, cleanup_kc=True):
            for i,c in enumerate(self.nb.cells):
                if skipped(c): continue
                self.k += 1
                self.progress.show()
                self.client.execute_cell(c, i, execution_count=self.k)

    def stop(self):
        "End its kernel: the cell that waits for it gets an error"
        pid = getattr(getattr(self.client and self.client.km, 'provisioner', None), 'pid', None)
        if pid: os.kill(pid, 9)

    def report(self):
        "Where it stopped, and why"
        where = f"code cell {self.k}:" if self.k else "before its first cell:"
        code = self.todo[self.k-1].source.splitlines()[:6] if self.k else []
        lines = [f"\n{self.path.name}, {where}", *('    ' + l for l in code), f"  {self.error}"]
        return '\n'.join(lines)


def run_all(paths, options, each, kernels=2):
    """Run notebooks side by side, in order; call `each` with those that ended well or not.
    After the first failure none is started; those under way end"""
    progress, ran, todo = Progress(), [], list(paths)
    # For fewer it would not pay; and what is committed comes from a kernel like a reader's
    copied = FORK is not None and len(todo) > kernels and not options
    if copied: FORK.set_forkserver_preload(['__main__']) # this file, which calls `import_much`
    with ThreadPoolExecutor(kernels) as pool:
        under_way = {}
        try:
            while under_way or todo:
                while todo and len(under_way) < kernels:
                    run = Run(todo.pop(0), progress, options, copied)
                    under_way[pool.submit(run)] = run
                done,_ = wait(under_way, timeout=5, return_when=FIRST_COMPLETED)
                if not done: progress.show()
                for future in done:
                    ran.append(future.result())
                    each(under_way.pop(future))
                    if ran[-1].error: todo = []
        except KeyboardInterrupt:
            for run in under_way.values(): run.stop()
            for future,run in under_way.items():
                ran.append(future.result())
                run.error = 'stopped by Ctrl-C'
                each(run)
    return sorted(ran, key=lambda r: r.name)


def figures(run):
    "The PNG outputs of a notebook as files, named by notebook and cell"
    for k,c in enumerate(run.todo, 1):
        for j,o in enumerate(c.get('outputs', [])):
            png = o.get('data', {}).get('image/png')
            name = f"{run.name}-{k:02d}{f'-{j}' if j else ''}.png"
            if png: write(OUT/'figures'/name, base64.b64decode(png))


def split_opening(nb):
    "Title and subtitle of a notebook, and its cells without them"
    first, *rest = nb.cells
    m = re.match(r'# (.+?)\n+(?:> (.+)\n*)?', first.source + '\n')
    if not m: return '', '', nb.cells
    return m[1], m[2] or '', [{**first, 'source': first.source[m.end():]}, *rest]


def write_pages(ran, summary, data):
    "Each notebook as a page in the site's look, and over them index.html: what was run"
    sys.path.insert(0, str(ROOT/'docs'))
    import render
    pages, rows = {}, []
    for run in ran:
        title, subtitle, cells = split_opening(run.nb)
        cells = render.fold_solutions(cells, lambda s: dict(cell_type='markdown', source=s))
        page = render.Page(dict(cells=cells), run.path.name, title or run.name, subtitle,
                           f'{run.name}.html', 'Notebooks')
        pages[page.file] = page
        rows.append(f'- [{run.name[:2]} {page.title}]({page.file}): {subtitle}')
    md = '\n'.join(rows) + f'\n\n## Results\n\n```\n{summary}\n```'
    start = render.Page(dict(cells=[dict(cell_type='markdown', source=md)]), 'what-was-run',
                        'What was run', f'The numbered notebooks on {data}', 'index.html')
    pages = {start.file: start, **pages}
    shutil.copyfile(ROOT/'docs/site.css', OUT/'site.css')
    with ThreadPoolExecutor(2) as pool: # Pandoc is a process of its own
        def draw(page): render.render(page, pages, OUT, 'fer_nbdev', search=False)
        list(pool.map(draw, pages.values()))


def table(records):
    "All that was measured, baselines first, each figure with its interval"
    def cell(m): return f"{m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}]" if m else ''
    keys = ('accuracy', 'balanced_accuracy', 'macro_f1')
    rows = [('', 'data', 'faces', 'accuracy', 'balanced accuracy', 'macro-F1', 'page')]
    for r in sorted(records, key=lambda r: r['role'] != 'baseline'):
        name = r['name'] + (' (baseline)' if r['role'] == 'baseline' else '')
        measured = (cell(r['metrics'].get(k)) for k in keys)
        rows.append((name, r['data'], f"{r['n']:,}", *measured, f"{r['notebook']}.html"))
    widths = [max(map(len, c)) for c in zip(*rows)]
    def line(r): return '  '.join(v.ljust(n) for v,n in zip(r, widths)).rstrip()
    return '\n'.join(map(line, rows))


def put_back(run):
    "Outputs into the notebook itself, unless someone edited it meanwhile"
    import nbformat
    for c in run.nb.cells: # JupyterLab opens the page with its solutions folded
        if re.search('^#\\| ?code-summary:.*Solution', c.source, re.M):
            c.metadata.jupyter = dict(source_hidden=True, outputs_hidden=True)
    if run.path.read_bytes() != run.before:
        sys.exit(f"{run.path.name} changed on disk while it ran: its outputs were not written")
    write(run.path, nbformat.writes(run.nb) + '\n')
    clean = f"from nbdev.clean import nbdev_clean; nbdev_clean({str(run.path)!r})"
    subprocess.run([sys.executable, '-c', clean], cwd=ROOT, check=True)


def keep(run):
    "The executed notebook and its figures, as soon as they are there"
    import nbformat
    write(OUT/run.path.name, nbformat.writes(run.nb) + '\n')
    figures(run)


def data_path(in_place):
    "FER2013_PATH made absolute, or None for drawn faces; an error if nothing is there"
    data = os.environ.pop('FER2013_PATH', None)
    if data:
        data = os.environ['FER2013_PATH'] = os.path.abspath(os.path.expanduser(data))
        if not Path(data).exists(): sys.exit(f"error: FER2013_PATH is {data}; nothing is there")
    elif in_place:
        sys.exit("error: the committed outputs come from real FER-2013. Say where it is: "
                 "FER2013_PATH=/path/to/fer2013 make outputs")
    return data


def choose(only, in_place):
    "The notebooks to run, by number or name"
    found = sorted(NBS.glob('[0-9][0-9]_*.ipynb'))
    if in_place: found += [*sorted(NBS.glob('studies/*.ipynb')), NBS/'index.ipynb']
    def named(f, o): return o in (f.stem, f.stem.split('_')[0])
    unknown = [o for o in only if not any(named(f, o) for f in found)]
    if unknown or not found:
        sys.exit(f"error: no notebook in {NBS} is called {' or '.join(unknown)}; "
                 f"there are {', '.join(f.stem for f in found)}")
    return [f for f in found if any(named(f, o) for o in only)] if only else found


def say_start(notebooks, data, only):
    takes = '' if only else f": about {20 if data else 6} minutes on 2 cores"
    where = f"FER-2013 at {data}{takes}" if data else (
        f"drawn faces{takes} (FER2013_PATH=... for the real ones)")
    print(f"{len(notebooks)} notebook{'s'*(len(notebooks) > 1)} on {where}", flush=True)


def main():
    formatter = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    p.add_argument('only', nargs='*', help='notebooks to run, by number or name (default: all)')
    p.add_argument('--in-place', action='store_true',
                   help='write outputs back into nbs/, on real data')
    a = p.parse_args()
    data, start = data_path(a.in_place), time.time()
    os.environ.update(ONE_THREAD, MPLBACKEND='module://matplotlib_inline.backend_inline')
    notebooks = choose(a.only, a.in_place)
    if not a.in_place: shutil.rmtree(OUT, ignore_errors=True)
    say_start(notebooks, data, a.only)
    if a.in_place: ran = run_all(notebooks, SHARP, lambda run: run.error or put_back(run))
    else: ran = run_all(notebooks, (), keep)
    failed = [r for r in ran if r.error]
    if not a.in_place: summarize(ran, data or 'drawn faces', time.time()-start, not failed)
    for run in failed: print(run.report())
    if failed:
        print("nothing was written to this notebook" if a.in_place else f"What ran is in {OUT}")
        sys.exit(1)
    print(f"In {clock(time.time()-start)}." + (
        " Look at the difference, then make readme." if a.in_place else
        f" Next: open {OUT/'index.html'}, or type make lab and change something."))


def summarize(ran, data, seconds, finished):
    "metrics.json, the pages, and the table of all that was measured"
    records = [r for run in ran for r in run.records]
    summary = table(records) if records else 'no metrics were recorded'
    said = dict(data=data, seconds=round(seconds), finished=finished, results=records)
    write(OUT/'metrics.json', json.dumps(said, indent=1) + '\n')
    write_pages(ran, summary, data)
    print(f"\n{summary}\n")


if __name__ == '__mp_main__': import_much()
if __name__ == '__main__': main()
