"""The documentation site, offline: nbdev's processed notebooks through Pandoc, as Quarto does it.

    python docs/build.py                  the site, into _docs/
    python docs/build.py --to DIR 00 13   into DIR, and only these notebooks (or `demo`)
    python docs/build.py --proc           only what Quarto then renders: _proc/
    python docs/build.py --readme         README.md and its pictures, from nbs/index.ipynb
    python docs/build.py --check          exit 1 if README.md is not what --readme would write
"""
import argparse
import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

# Exported cells run for their signatures: no page is built from data
os.environ.pop('FER2013_PATH', None)
import yaml
from demo_page import URL, write_demo
from readme import write_readme
from render import CFG, HERE, NBS, ROOT, SITE, Page, copy_plotly, render, text

QUARTO = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))


def files_of(part):
    "The notebooks that `_quarto.yml` lists in one part of the sidebar"
    for f in part['contents']:
        if not isinstance(f, dict): yield f
        else: yield from sorted(p.relative_to(NBS).as_posix() for p in NBS.glob(f['auto']))


def sidebar():
    """{notebook or the demo: its part}, in the order of `_quarto.yml`; stops at a notebook without
    a place"""
    placed = {}
    for part in QUARTO['website']['sidebar']['contents']:
        if isinstance(part, str): part = dict(section='', contents=[part])
        if 'href' in part: part = dict(section='', contents=[part['href']])
        for f in files_of(part):
            if (NBS/f).exists() or f == URL: placed[f] = part['section']
            else: print(f"note: _quarto.yml lists {f}, which is not in nbs/", file=sys.stderr)
    for f in sorted(p.relative_to(NBS) for p in NBS.rglob('*.ipynb')):
        if f.as_posix() not in placed and not any(p[0] in '._' for p in f.parts):
            sys.exit(f"error: nbs/{f} has no place in the sidebar: "
                     "add it to website.sidebar.contents in _quarto.yml")
    return placed


def process(only=()):
    "nbdev's processed notebooks, and beside them what Quarto needs: links and Plotly's script"
    import pages
    proc = Path(pages.process(only))
    links = {'site-url': SITE, 'description': CFG.description, 'repo-url': CFG.git_url,
             'repo-branch': CFG.branch, 'repo-actions': ['issue']}
    QUARTO['website'].update(links)
    settings = yaml.safe_dump(QUARTO, sort_keys=False)
    (proc/'_quarto.yml').write_text(settings, encoding='utf-8')
    copy_plotly(proc)
    return proc


def name_of(f): return 'demo' if f == URL else Path(f).name


def front_matter(nb):
    first = nb['cells'][0]
    if first['cell_type'] != 'raw': return {}
    return yaml.safe_load(text(first['source']).strip().strip('-'))


def read_page(proc, f, part, out):
    if f == URL: return write_demo(out)
    nb = json.loads((proc/f).read_text(encoding='utf-8'))
    matter = front_matter(nb)
    name = matter.get('output-file', PurePosixPath(f).stem + '.html')
    return Page(nb, f, str(matter.get('title', PurePosixPath(f).stem)),
                str(matter.get('description', '')), str(PurePosixPath(f).parent/name), part)


def read_pages(placed, proc, out):
    shutil.copyfile(HERE/'site.css', out/'site.css') # first: it marks the folder as ours
    return {f: read_page(proc, f, part, out) for f,part in placed.items()}


def write_names(out, pages):
    "names.json, so that a search for an exported name leads to its own box"
    names = {}
    for page in pages.values():
        body = (out/page.url).read_text(encoding='utf-8')
        found = re.findall(r'<section id="([^"]+)" class="api">\s*<h\d[^>]*>([^<]+)', body)
        names.update({html.unescape(name).strip(): f'{page.url}#{id}' for id,name in found})
    (out/'names.json').write_text(json.dumps(names, indent=0), encoding='utf-8')


def index_for_search(out):
    "Pagefind's index, without its ready-made search boxes: page.html has our own"
    command = [sys.executable, '-m', 'pagefind', '--site', str(out), '--silent']
    subprocess.run([*command, '--keep-index-url'], check=True)
    for f in (out/'pagefind').glob('pagefind-*'):
        if f.suffix in ('.js', '.css') and 'worker' not in f.name: f.unlink()


def build(out, only=()):
    start, placed = time.time(), sidebar()
    if out.exists() and any(out.iterdir()) and not (out/'site.css').exists():
        sys.exit(f"error: {out} holds something else than this site; "
                 "choose an empty or a new folder")
    if only: placed = {f: p for f,p in placed.items() if name_of(f).startswith(tuple(only))}
    proc = process(only)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    pages = read_pages(placed, proc, out)
    for page in pages.values(): render(page, pages, out, QUARTO['website']['title'])
    write_names(out, pages)
    index_for_search(out)
    print(f"{len(pages)} pages in {out} ({time.time()-start:.0f} s). Open {out/'index.html'}; "
          f"with search: python -m http.server -d {out}")


def build_for_quarto():
    "What Quarto renders, and the demo, which it copies"
    placed, proc = sidebar(), process()
    pages = read_pages(placed, proc, proc)
    render(pages[URL], pages, proc, QUARTO['website']['title'], search=False)


def main():
    formatter = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    p.add_argument('only', nargs='*', help='notebooks by number or name')
    p.add_argument('--to', type=Path, default=ROOT/CFG.doc_path)
    for flag in ('proc', 'readme', 'check'): p.add_argument(f'--{flag}', action='store_true')
    a = p.parse_args()
    os.chdir(ROOT)
    if a.proc: build_for_quarto()
    elif a.readme or a.check: write_readme(a.check)
    else: build(a.to.resolve(), a.only)


if __name__ == '__main__': main()
