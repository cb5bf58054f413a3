"""The documentation site, offline: nbdev's processed notebooks through Pandoc, as Quarto would render them.

    python docs/build.py                  the site, into _docs/
    python docs/build.py --to DIR 00 13   into DIR, and only these notebooks
    python docs/build.py --proc           only what Quarto then renders: _proc/
    python docs/build.py --readme         README.md and its pictures, from nbs/index.ipynb
    python docs/build.py --check          exit 1 if README.md is not what --readme would write
"""
import argparse, base64, html, json, os, posixpath, re, shutil, struct, subprocess, sys, time
from pathlib import Path, PurePosixPath

os.environ.pop('FER2013_PATH', None) # exported cells run for their signatures: no page is built from data
import plotly, pypandoc, yaml
from nbdev.config import get_config

HERE = Path(__file__).resolve().parent
ROOT,NBS = HERE.parent,HERE.parent/'nbs'
CFG = get_config(path=ROOT)
SITE = CFG.doc_host + CFG.doc_baseurl + '/' # where the site will be, and nbdev's links point; here they become relative
QUARTO = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))
MARKDOWN = 'markdown+lists_without_preceding_blankline+autolink_bare_uris'


def text(s): return s if isinstance(s, str) else ''.join(s)


def sidebar():
    "[(part, [notebook, ...]), ...] of _quarto.yml; stops at a notebook that has no place there"
    parts = []
    for item in QUARTO['website']['sidebar']['contents']:
        if isinstance(item, str): item = dict(section='', contents=[item])
        files = [f for c in item['contents'] for f in (sorted(p.relative_to(NBS).as_posix() for p in NBS.glob(c['auto'])) if isinstance(c, dict) else [c])]
        parts.append((item['section'], [f for f in files if (NBS/f).exists()]))
        for f in files:
            if not (NBS/f).exists(): print(f"note: _quarto.yml lists {f}, which is not in nbs/", file=sys.stderr)
    placed = {f for _,files in parts for f in files}
    for f in sorted(p.relative_to(NBS).as_posix() for p in NBS.rglob('*.ipynb')):
        if f not in placed and not any(p[0] in '._' for p in Path(f).parts):
            sys.exit(f"error: nbs/{f} has no place in the sidebar: add it to website.sidebar.contents in _quarto.yml")
    return parts


def process(only=()):
    "Processed notebooks, and what Quarto needs beside them: links out of settings.ini, Plotly's script"
    sys.path.insert(0, str(HERE))
    from pages import process
    proc = Path(process(only))
    QUARTO['website'].update({'site-url': SITE, 'description': CFG.description, 'repo-url': CFG.git_url, 'repo-branch': CFG.branch, 'repo-actions': ['issue']})
    (proc/'_quarto.yml').write_text(yaml.safe_dump(QUARTO, sort_keys=False), encoding='utf-8')
    shutil.copyfile(Path(plotly.__file__).parent/'package_data/plotly.min.js', proc/'plotly.min.js')
    if (NBS/'studies/results').exists(): shutil.copytree(NBS/'studies/results', proc/'studies/results', dirs_exist_ok=True)
    return proc


def options(source):
    "Quarto's `#| key: value` lines of a cell as a dict, and the code without them"
    lines = source.splitlines()
    opts = [re.match(r'#\|\s*([\w-]+):\s*(.*)', l) for l in lines]
    return {m[1]: yaml.safe_load(m[2]) for m in opts if m}, '\n'.join(l for l in lines if not l.startswith('#|')).strip('\n')


def picture(png, name, media, alt, prefix):
    "Markdown of one PNG output, written into `media`, with its size so that the page does not jump"
    data = base64.b64decode(text(png))
    media.mkdir(parents=True, exist_ok=True)
    (media/name).write_bytes(data)
    return f'![]({prefix}{name}){{alt="{html.escape(alt)}" width={struct.unpack(">I", data[16:20])[0]}}}'


def output_md(o, opts, image):
    "Markdown of one output; `image(png, alt)` writes a picture and gives its Markdown"
    data,kind = o.get('data', {}),o['output_type']
    if kind=='error': return f"::: {{.output .error}}\n```\n{o['ename']}: {o['evalue']}\n```\n:::"
    if kind=='stream':
        s = text(o['text']).rstrip('\n')
        return s if opts.get('output')=='asis' else f"::: {{.output .{o['name']}}}\n```\n{s}\n```\n:::"
    if 'text/markdown' in data and 'text/html' not in data: return text(data['text/markdown'])
    if 'image/png' in data:
        cap = str(opts.get('fig-cap', ''))
        return f"::: {{.figure}}\n{image(data['image/png'], str(opts.get('fig-alt', cap)) or 'Figure drawn by the code above')}\n\n{cap}\n:::"
    for mime in ('text/html','image/svg+xml'):
        if mime in data: return '::: {.output .rich}\n```{=html}\n' + re.sub(r'<style scoped>.*?</style>', '', text(data[mime]), flags=re.S).replace(' border="1"', '') + '\n```\n:::'
    return f"::: {{.output}}\n```\n{text(data['text/plain'])}\n```\n:::" if 'text/plain' in data else ''


def cell_md(cell, image):
    "Pandoc Markdown of one cell"
    source = text(cell['source'])
    if cell['cell_type']!='code': return source if cell['cell_type']=='markdown' else ''
    opts,code = options(source)
    if opts.get('include') is False: return ''
    parts = [f"```python\n{code}\n```"] if code and opts.get('echo') is not False else []
    if parts and opts.get('code-fold'): parts = [f"<details class='source-code'><summary>{opts.get('code-summary','Code')}</summary>\n\n{parts[0]}\n\n</details>"]
    if opts.get('output') is not False: parts += [output_md(o, opts, image) for o in cell.get('outputs', [])]
    return '\n\n'.join(parts)


def page_md(nb, stem, media, prefix):
    "Pandoc Markdown of a notebook"
    def image_of(i):
        n = iter(range(99))
        return lambda png,alt: picture(png, f'{stem}-{i:02}-{next(n)}.png', media, alt, prefix)
    return '\n\n'.join(cell_md(c, image_of(i)) for i,c in enumerate(nb['cells']))


def front_matter(nb):
    first = nb['cells'][0]
    return yaml.safe_load(text(first['source']).strip().strip('-')) if first['cell_type']=='raw' else {}


def navigation(parts, pages, here, up):
    "The sidebar as HTML, seen from page `here`"
    s = ''
    for part,files in parts:
        files = [f for f in files if f in pages]
        if part and files: s += f'<h2>{part}</h2>'
        if files: s += '<ul>' + ''.join(f'<li><a href="{up}{pages[f]["url"]}"{" aria-current=page" if f==here else ""}>{pages[f]["label"]}</a></li>' for f in files) + '</ul>'
    return s


def relative(body, here, pages, up, out):
    "Links to notebooks, and nbdev's to the published site, as links between these pages; to other files, as links to a copy or to the repository"
    def fix(m):
        attr,link = m[1],html.unescape(m[2])
        if link.startswith(SITE): return f'{attr}="{up}{re.sub("#_.*", "", link[len(SITE):]) or "index.html"}"' # private names have no place of their own
        path,_,anchor = link.partition('#')
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        if target in pages: return f'{attr}="{up}{pages[target]["url"]}{"#"+anchor if anchor else ""}"'
        if path and '://' not in path and (NBS/target).is_file() and not path.endswith('.ipynb'):
            if target.startswith('../'): return f'{attr}="{CFG.git_url}/blob/{CFG.branch}/{target[3:]}"'
            (out/target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(NBS/target, out/target)
        return m[0]
    return re.sub(r'\b(href|src)="([^"]*)"', fix, body)


def render(f, parts, pages, out):
    "One page"
    page,order = pages[f],[g for _,files in parts for g in files if g in pages]
    up,i = '../'*f.count('/'),order.index(f)
    variables = dict(nav=navigation(parts, pages, f, up), up=up, sitetitle=QUARTO['website']['title'], repo=CFG.git_url, part=page['part'],
                     notebook=f'{CFG.git_url}/blob/{CFG.branch}/{CFG.nbs_path.name}/{f}', file=f, copyright=f'© {CFG.copyright}. Apache-2.0.')
    for key,k in (('prev',i-1),('next',i+1)):
        if 0<=k<len(order): variables.update({key+'url': up+pages[order[k]]['url'], key+'title': pages[order[k]]['label']})
    args = ['--standalone', f'--template={HERE/"page.html"}', f'--lua-filter={HERE/"filter.lua"}', '--mathml', '--toc', '--toc-depth=3', '--wrap=none', '--columns=10000',
            '-M', f'title={page["title"]}', '-M', 'description=' + re.sub(r"(?<=\w)'", '’', page['description']), *(x for k,v in variables.items() if v for x in ('-V', f'{k}={v}'))]
    body = pypandoc.convert_text(page_md(page['nb'], PurePosixPath(page['url']).stem, out/'media', up+'media/'), 'html5', format=MARKDOWN, extra_args=args)
    body = re.sub(r'(<h[234][^>]* id="([^"]+)"[^>]*>)(.*?)(</h[234]>)', r'\1\3<a class="anchor" href="#\2" aria-label="Link to this section"></a>\4', body, flags=re.S)
    (out/page['url']).parent.mkdir(parents=True, exist_ok=True)
    (out/page['url']).write_text(relative(body, f, pages, up, out), encoding='utf-8')


def build(out, only=()):
    start,parts = time.time(),sidebar()
    if out.exists() and any(out.iterdir()) and not (out/'site.css').exists(): sys.exit(f"error: {out} holds something else than this site; choose an empty or a new folder")
    proc,pages = process(only),{}
    for part,files in parts:
        for f in files:
            if only and not any(Path(f).name.startswith(o) for o in only): continue
            nb = json.loads((proc/f).read_text(encoding='utf-8'))
            fm,number = front_matter(nb),re.match(r'\d\d', Path(f).name)
            title = str(fm.get('title', Path(f).stem))
            label = f'<span class="number">{number[0]}</span> {html.escape(title)}' if number else html.escape(title if f!='index.ipynb' else 'Overview')
            url = (PurePosixPath(f).parent/fm.get('output-file', Path(f).stem+'.html')).as_posix()
            pages[f] = dict(nb=nb, title=title, description=fm.get('description', ''), url=url, label=label, part=part)
    shutil.rmtree(out, ignore_errors=True); out.mkdir(parents=True)
    shutil.copyfile(HERE/'site.css', out/'site.css') # first: it marks the folder as ours
    for f in pages: render(f, parts, pages, out)
    if any('plotly.min.js' in p.read_text(encoding='utf-8') for p in out.rglob('*.html')): shutil.copyfile(proc/'plotly.min.js', out/'plotly.min.js')
    subprocess.run([sys.executable, '-m', 'pagefind', '--site', str(out), '--silent', '--keep-index-url'], check=True)
    for f in (out/'pagefind').glob('pagefind-*'): # its ready-made search boxes: page.html has its own
        if f.suffix in ('.js','.css') and 'worker' not in f.name: f.unlink()
    print(f"{len(pages)} pages in {out} ({time.time()-start:.0f} s). Open {out/'index.html'}; with search: python -m http.server -d {out}")


def readme():
    "README.md and its pictures {path: bytes}, from nbs/index.ipynb: GitHub's Markdown instead of Pandoc's"
    nb,files = json.loads((NBS/'index.ipynb').read_text(encoding='utf-8')),{}
    def image(png, alt):
        name = f'docs/img/readme-{len(files)+1}.png'
        files[name] = base64.b64decode(text(png))
        return f'![{alt}]({name})'
    def from_root(md): return re.sub(r'\]\((?![a-z]+:|#|/)([^)\s]+)', lambda m: '](' + posixpath.normpath('nbs/'+m[1]), md)
    def output(o, alt):
        data = o.get('data', {})
        if 'image/png' in data: return image(data['image/png'], alt)
        if 'text/markdown' in data: return from_root(text(data['text/markdown']).strip())
        if 'text/html' in data: return pypandoc.convert_text(re.sub(r'<style scoped>.*?</style>', '', text(data['text/html']), flags=re.S), 'gfm', format='html', extra_args=['--wrap=none']).strip()
        s = text(data.get('text/plain', o.get('text', ''))).rstrip()
        return f'```\n{s}\n```' if s else ''
    parts = [f'<!-- Made from nbs/index.ipynb by `make readme`: edit there. -->']
    for c in nb['cells']:
        source = text(c['source'])
        if re.search(r'^#\|\s*hide\s*$', source, re.M) or c['cell_type']=='raw': continue
        if c['cell_type']=='markdown':
            source = re.sub(r'^::: ?\{\.callout-(\w+)[^}]*\}\n(.*?)\n:::$', lambda m: f'> [!{m[1].upper()}]\n' + re.sub('^', '> ', m[2].strip('\n'), flags=re.M), source, flags=re.M|re.S)
            parts.append(from_root(source.strip()))
            continue
        opts,code = options(source)
        if code and opts.get('echo') is not False: parts.append(f'```python\n{code}\n```')
        parts += [output(o, opts.get('fig-alt') or 'What the code above draws') for o in c.get('outputs', [])]
    return '\n\n'.join(p for p in parts if p)+'\n', files


def write_readme(check=False):
    md,files = readme()
    want = {'README.md': md.encode(), **files}
    old = {p.relative_to(ROOT).as_posix() for p in (HERE/'img').glob('readme-*.png')}
    stale = [f for f,b in want.items() if not (ROOT/f).exists() or (ROOT/f).read_bytes()!=b] + sorted(old-want.keys())
    if check:
        if stale: sys.exit(f"error: {', '.join(stale)} differ from what nbs/index.ipynb makes: run `make readme` and commit")
        return print("README.md is what nbs/index.ipynb makes")
    for f in old-want.keys(): (ROOT/f).unlink()
    for f,b in want.items(): (ROOT/f).parent.mkdir(parents=True, exist_ok=True); (ROOT/f).write_bytes(b)
    print(f"README.md, {len(md.splitlines())} lines, {len(files)} pictures")


if __name__=='__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('only', nargs='*', help='notebooks by number or name')
    p.add_argument('--to', type=Path, default=ROOT/CFG.doc_path)
    for flag in ('proc','readme','check'): p.add_argument(f'--{flag}', action='store_true')
    a = p.parse_args()
    os.chdir(ROOT)
    if a.proc: sidebar(); process()
    elif a.readme or a.check: write_readme(a.check)
    else: build(a.to.resolve(), a.only)
