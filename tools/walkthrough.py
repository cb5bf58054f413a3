"""Run the numbered notebooks in order, each in a Jupyter kernel of its own.

    python tools/walkthrough.py               all of them; pages, figures and metrics.json into _walkthrough/
    python tools/walkthrough.py 00 05         only these
    python tools/walkthrough.py --in-place    outputs go back into nbs/, cleaned (what `make outputs` does)

A notebook hands over its figures of merit with `fer_nbdev.evaluate.record_metrics`, which adds a line to the file
that the environment variable FER_METRICS names. Whatever is called nbs/NN_*.ipynb is run: nothing is listed here.
"""
import argparse, base64, copy, html, json, os, re, shutil, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, OUT = ROOT/'nbs', ROOT/'_walkthrough'
LONGEST = 3600  # seconds one cell may take


def write(path, text):
    "All of `text` or nothing: a reader never meets half a file"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    part.write_bytes(text) if isinstance(text, bytes) else part.write_text(text, encoding='utf-8')
    os.replace(part, path)


def clock(seconds): return f"{int(seconds)//60}:{int(seconds)%60:02d}"


class Progress:
    "One line a notebook: rewritten on a terminal; elsewhere printed at its end, and once a minute so that a log shows life"
    def __init__(self, name, n): self.name,self.n,self.start,self.said,self.tty = name,n,time.time(),time.time(),sys.stdout.isatty()
    def line(self, k, note=''): return f"{self.name:<18} cell {k:>2} of {self.n:<2}  {clock(time.time()-self.start):>5}  {note}"
    def at(self, k):
        if self.tty: print('\r' + self.line(k), end='\033[K', flush=True)
        elif time.time()-self.said > 60: self.said = time.time(); print(self.line(k), flush=True)
    def end(self, k, note): print(('\r' if self.tty else '') + self.line(k, note) + ('\033[K' if self.tty else ''), flush=True)


def skipped(cell):
    "What nbdev_test leaves out as well: no code, `eval: false`, and the last cell, which would export into the checkout"
    return cell.cell_type != 'code' or 'nbdev_export(' in cell.source or re.search(r'^#\|\s*eval:\s*false', cell.source, re.M|re.I)


def run(path):
    "Execute one notebook: itself, and None or (number of the cell, the error) where it stopped"
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    nb = nbformat.read(path, 4)
    todo = [c for c in nb.cells if not skipped(c)]
    for c in todo: c.outputs,c.execution_count = [],None
    bar,k = Progress(path.stem, len(todo)),0
    client = NotebookClient(nb, kernel_name='python3', timeout=LONGEST, extra_arguments=['--log-level=40'], resources={'metadata': {'path': str(path.parent)}})
    try:
        with client.setup_kernel():
            for i,c in enumerate(nb.cells):
                if skipped(c): continue
                k += 1
                bar.at(k)
                client.execute_cell(c, i, execution_count=k)
        bar.end(k, 'ok')
        return nb,None
    except KeyboardInterrupt: error = 'stopped by Ctrl-C'
    except CellExecutionError as e: error = f"{e.ename}: {e.evalue}"
    except Exception as e: error = f"{type(e).__name__}: {str(e) or 'no message'}" # the kernel died, or took too long
    bar.end(k, 'FAILED')
    return nb,(k, todo[k-1] if k else None, error)


def figures(nb, name):
    "The PNG outputs of a notebook as files, named by notebook and cell"
    k = 0
    for c in nb.cells:
        k += not skipped(c)
        for j,o in enumerate(c.get('outputs', [])):
            png = o.get('data', {}).get('image/png')
            if png: write(OUT/'figures'/f"{name}-{k:02d}{f'-{j}' if j else ''}.png", base64.b64decode(png))


def page(nb, name):
    "A notebook as one HTML file that opens without network: formulas as MathML, Plotly's script beside it"
    import pypandoc
    from nbconvert import HTMLExporter
    nb = copy.deepcopy(nb)
    for c in nb.cells:
        if c.cell_type == 'markdown' and re.search(r'\$[^$]+\$', c.source):
            c.source = pypandoc.convert_text(c.source, 'html', format='markdown', extra_args=['--mathml', '--wrap=none'])
        if c.cell_type == 'markdown': c.source = re.sub(r'(\(\d\d_\w+)\.ipynb([)#])', r'\1.html\2', re.sub(r'(href="\d\d_\w+)\.ipynb(["#])', r'\1.html\2', c.source))
        for o in c.get('outputs', []):
            figure = o.get('data', {}).get('application/vnd.plotly.v1+json')
            if figure: o['data'] = {'text/html': plotly_html(figure)}
    body,_ = HTMLExporter(mathjax_url='', require_js_url='', jquery_url='', mermaid_js_url='').from_notebook_node(nb, {'metadata': {'name': name}})
    write(OUT/f'{name}.html', body)


def plotly_html(figure):
    import plotly.io, plotly.offline
    script = OUT/'plotly.min.js'
    if not script.exists(): write(script, plotly.offline.get_plotlyjs())
    f = {k: figure[k] for k in ('data', 'layout') if k in figure}
    return plotly.io.to_html(f, include_plotlyjs='plotly.min.js', full_html=False, validate=False)


def title(nb):
    m = re.search(r'^# (.+?)\n+> (.+)', nb.cells[0].source, re.M)
    return m.groups() if m else ('', '')


def read_records(path):
    return [json.loads(l) for l in path.read_text().splitlines() if l.strip()] if path.exists() else []


def table(records):
    "Accuracy, balanced accuracy and macro-F1 of all that was measured, baselines first, each with its interval"
    def cell(m): return f"{m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}]" if m else ''
    keys = ('accuracy', 'balanced_accuracy', 'macro_f1')
    rows = [('', 'data', 'faces', 'accuracy', 'balanced accuracy', 'macro-F1', 'page')]
    for r in sorted(records, key=lambda r: r['role'] != 'baseline'):
        rows.append((f"{r['name']}{' (baseline)' if r['role'] == 'baseline' else ''}", r['data'], f"{r['n']:,}", *(cell(r['metrics'].get(k)) for k in keys), f"{r['notebook']}.html"))
    w = [max(map(len, c)) for c in zip(*rows)]
    return '\n'.join('  '.join(v.ljust(n) for v,n in zip(r, w)).rstrip() for r in rows)


def index(ran, summary):
    rows = ''.join(f'<li><a href="{n}.html">{n[:2]} {html.escape(t)}</a>: {html.escape(s)}</li>\n' for n,t,s in ran)
    write(OUT/'index.html', f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>fer_nbdev: what was run</title><body style="font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem"><h1>What was run</h1>
<ul style="list-style:none;padding:0">{rows}</ul><pre style="overflow:auto">{html.escape(summary)}</pre></body></html>\n""")


def put_back(path, nb, before):
    "Outputs into the notebook itself, unless someone edited it meanwhile"
    import nbformat
    if path.read_bytes() != before: sys.exit(f"{path.name} changed on disk while it ran: its outputs were not written")
    write(path, nbformat.writes(nb) + '\n')
    subprocess.run([sys.executable, '-c', f"from nbdev.clean import nbdev_clean; nbdev_clean({str(path)!r})"], cwd=ROOT, check=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('only', nargs='*', help='notebooks to run, by number or name (all if none is given)')
    p.add_argument('--in-place', action='store_true', help='write outputs back into nbs/, on real data')
    a = p.parse_args()
    data = os.environ.get('FER2013_PATH') or None
    if data: data = os.environ['FER2013_PATH'] = os.path.abspath(os.path.expanduser(data))
    else: os.environ.pop('FER2013_PATH', None)
    if data and not Path(data).exists(): sys.exit(f"error: FER2013_PATH is {data}, and nothing is there")
    if a.in_place and not data: sys.exit("error: the committed outputs come from real FER-2013. Its place: FER2013_PATH=/path/to/fer2013 make outputs")
    notebooks = sorted(NBS.glob('[0-9][0-9]_*.ipynb')) + ([*sorted(NBS.glob('studies/*.ipynb')), NBS/'index.ipynb'] if a.in_place else [])
    def named(f, o): return o in (f.stem, f.stem.split('_')[0])
    unknown = [o for o in a.only if not any(named(f, o) for f in notebooks)]
    if unknown or not notebooks: sys.exit(f"error: no notebook in {NBS} is called {' or '.join(unknown)}; there are {', '.join(f.stem for f in notebooks)}")
    if a.only: notebooks = [f for f in notebooks if any(named(f, o) for o in a.only)]
    if not a.in_place: shutil.rmtree(OUT, ignore_errors=True)
    lines = Path(tempfile.mkdtemp())/'metrics.jsonl'
    os.environ['FER_METRICS'] = str(lines)
    takes = '' if a.only else ': about 10 minutes on 2 cores' if data else ': under 5 minutes on 2 cores'
    where = f"FER-2013 at {data}{takes}" if data else f"drawn faces{takes} (FER2013_PATH=... for the real ones)"
    print(f"{len(notebooks)} notebook{'s'*(len(notebooks)>1)} on {where}", flush=True)
    start,ran,records,failed = time.time(),[],[],None
    for f in notebooks:
        before = f.read_bytes()
        nb,failed = run(f)
        records += [dict(r, notebook=f.stem) for r in read_records(lines)[len(records):]]
        if a.in_place:
            if not failed: put_back(f, nb, before)
        else:
            import nbformat
            write(OUT/f.name, nbformat.writes(nb) + '\n')
            page(nb, f.stem); figures(nb, f.stem)
            ran.append((f.stem, *title(nb)))
        if failed: break
    shutil.rmtree(lines.parent)
    summary = table(records) if records else 'no metrics were recorded'
    if not a.in_place:
        write(OUT/'metrics.json', json.dumps(dict(data=data or 'drawn faces', seconds=round(time.time()-start), finished=not failed, results=records), indent=1) + '\n')
        index(ran, summary)
    if failed:
        k,cell,error = failed
        print(f"\n{f.name}, " + (f"code cell {k}:" if k else "before its first cell:"))
        if cell is not None: print('\n'.join('    ' + l for l in cell.source.splitlines()[:6]))
        print(f"  {error}\n" + ("nothing was written to this notebook" if a.in_place else f"What ran is kept in {OUT}"))
        sys.exit(1)
    print('' if a.in_place else f"\n{summary}\n")
    print(f"In {clock(time.time()-start)}." + (" Look at the difference, then make readme." if a.in_place else f" Next: open {OUT/'index.html'}, or type make lab and change something."))


if __name__ == '__main__': main()
