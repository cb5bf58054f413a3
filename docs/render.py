"""One notebook as one HTML page in the site's look: cells to Pandoc's Markdown, as Quarto does it,
then Pandoc with page.html and filter.lua. For docs/build.py and for tools/walkthrough.py"""
import base64
import html
import json
import posixpath
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pypandoc
import yaml
from nbdev.config import get_config

HERE = Path(__file__).resolve().parent
ROOT, NBS = HERE.parent, HERE.parent/'nbs'
CFG = get_config(path=ROOT)
# Where the site will be and nbdev's links point; between our pages they become relative
SITE = CFG.doc_host + CFG.doc_baseurl + '/'
BLOB = f'{CFG.git_url}/blob/{CFG.branch}/'
MARKDOWN = 'markdown+lists_without_preceding_blankline+autolink_bare_uris'
PLOTLY = 'application/vnd.plotly.v1+json'
COLAB = CFG.git_url.replace('https://', 'https://colab.research.google.com/', 1)
COLAB = COLAB.replace('github.com', 'github', 1) + f'/blob/{CFG.branch}/{CFG.nbs_path.name}/'
INSTALL = f'%pip install -q "{CFG.lib_name}[train,pages,app,batch] @ git+{CFG.git_url}"'


@dataclass
class Page:
    nb: dict # The notebook
    file: str # Its path under nbs/
    title: str
    description: str
    url: str # Path of the page under the site's root
    part: str = '' # Heading over it in the sidebar
    policy: str = '' # What it may load and send, for the browser to enforce

    @property
    def label(self):
        "What links to it say: number and title"
        number = re.match(r'\d\d', PurePosixPath(self.file).name)
        title = html.escape('Overview' if self.file == 'index.ipynb' else self.title)
        return f'<span class="number">{number[0]}</span> {title}' if number else title

    @property
    def up(self): return '../'*self.url.count('/')


def text(s): return s if isinstance(s, str) else ''.join(s)


def options(source):
    "Quarto's `#| key: value` lines of a cell as a dict, and the code without any `#|` line"
    lines = source.splitlines()
    found = [re.match(r'#\|\s*([\w-]+):\s*(.*)', l) for l in lines]
    code = '\n'.join(l for l in lines if not l.startswith('#|')).strip('\n')
    return {m[1]: yaml.safe_load(m[2]) for m in found if m}, code


def solution(cell):
    "The title of a folded solution, if the cell is one: its `code-summary: Solution...`"
    if cell['cell_type'] != 'code': return None
    title = str(options(text(cell['source']))[0].get('code-summary', ''))
    return title if title.startswith('Solution') else None


def fold_solutions(cells, new_cell):
    """Solutions with all that they show, in a callout that opens on a click. Quarto's own
    `code-fold` would leave the output, which is the answer, on the page"""
    folded, inside = [], None
    for cell in [*cells, None]:
        title = cell and solution(cell)
        if inside and title != inside: folded.append(new_cell(':::'))
        if title and title != inside:
            folded.append(new_cell(f'::: {{.callout-tip collapse="true" title="{title}"}}'))
        if title: cell['source'] = re.sub(r'^#\| ?code-.*\n', '', text(cell['source']), flags=re.M)
        inside = title
        if cell is not None: folded.append(cell)
    return folded


def plotly_html(figure, number, up):
    "A live figure, with the script that lies beside the pages. On a phone its legend is below"
    layout = {k: v for k,v in figure.get('layout', {}).items() if k != 'width'}
    config = dict(responsive=True, displaylogo=False, showSendToCloud=False, plotlyServerURL='')
    args = [json.dumps(a).replace('</', r'<\/') for a in (figure['data'], layout, config)]
    name, height = f'plotly-{number}', layout.get('height', 480)
    first = f'<script src="{up}plotly.min.js"></script><script>{PHONE}</script>\n'
    return (first if number == 1 else '') + (
        f'<div class="plotly-figure" id="{name}" style="height:{height}px"></div>'
        f'<script>drawFigure("{name}", {", ".join(args)})</script>')


PHONE = '''function drawFigure(id, data, layout, config) {
  if (innerWidth < 640) {
    const below = {orientation: "h", x: 0, xanchor: "left", y: -.18, yanchor: "top"}
    layout.legend = {...layout.legend, ...below}
    layout.margin = {...layout.margin, l: 45, r: 12}
  }
  Plotly.newPlot(id, data, layout, config)
}'''


class PageWriter:
    "Pandoc's Markdown of a notebook; its pictures go into `media`"
    def __init__(self, page, media, prefix):
        self.page, self.media, self.prefix = page, media, prefix
        self.stem, self.figures = PurePosixPath(page.url).stem, 0

    def page_md(self):
        cells = enumerate(self.page.nb['cells'])
        return '\n\n'.join(self.cell_md(cell, i) for i,cell in cells)

    def cell_md(self, cell, i):
        source = text(cell['source'])
        if cell['cell_type'] == 'markdown': return source
        hidden = re.search(r'^#\|\s*hide\s*$', source, re.M)
        if cell['cell_type'] != 'code' or hidden: return ''
        opts, code = options(source)
        if opts.get('include') is False: return ''
        parts = []
        if code and opts.get('echo') is not False: parts.append(f"```python\n{code}\n```")
        if parts and opts.get('code-fold'):
            summary = opts.get('code-summary', 'Code')
            parts = [f"<details class='source-code'><summary>{summary}</summary>\n\n"
                     f"{parts[0]}\n\n</details>"]
        if opts.get('output') is not False:
            outputs = enumerate(cell.get('outputs', []))
            parts += [self.output_md(o, opts, f'{self.stem}-{i:02}-{j}.png') for j,o in outputs]
        return '\n\n'.join(parts)

    def output_md(self, o, opts, name):
        kind, data = o['output_type'], o.get('data', {})
        if kind == 'error': return box(f"{o['ename']}: {o['evalue']}", 'error')
        if kind == 'stream':
            printed = text(o['text']).rstrip('\n')
            return printed if opts.get('output') == 'asis' else box(printed, o['name'])
        if PLOTLY in data:
            self.figures += 1
            return raw(plotly_html(data[PLOTLY], self.figures, self.page.up))
        if 'text/markdown' in data and 'text/html' not in data: return text(data['text/markdown'])
        if 'image/png' in data: return self.picture(o, opts, name)
        if 'text/html' in data: return raw(table_html(text(data['text/html'])))
        if 'image/svg+xml' in data: return raw(text(data['image/svg+xml']))
        return box(text(data['text/plain'])) if 'text/plain' in data else ''

    def picture(self, o, opts, name):
        "A PNG with its size, so that the page does not jump; twice as many pixels stay sharp"
        data = base64.b64decode(text(o['data']['image/png']))
        self.media.mkdir(parents=True, exist_ok=True)
        (self.media/name).write_bytes(data)
        shown = o.get('metadata', {}).get('image/png', {})
        width = shown.get('width', struct.unpack('>I', data[16:20])[0])
        caption = str(opts.get('fig-cap', ''))
        alt = str(opts.get('fig-alt', caption)) or 'Figure drawn by the code above'
        image = f'![]({self.prefix}{name}){{alt="{html.escape(alt)}" width={width}}}'
        return f"::: {{.figure}}\n{image}\n\n{caption}\n:::"


def box(printed, kind=''):
    return f"::: {{.output {'.'+kind if kind else ''}}}\n```\n{printed}\n```\n:::"


def raw(markup):
    if not markup.strip(): return ''
    return '::: {.output .rich}\n```{=html}\n' + markup + '\n```\n:::'


def table_html(markup):
    """HTML that an output has, in the site's style instead of its own, which would be white at
    night. Long names in the head of a table may break, and sentences wrap"""
    markup = re.sub(r'<style.*?</style>', '', markup, flags=re.S).replace(' border="1"', '')
    markup = markup.replace('class="fastprogress"', 'class="dataframe"')
    def may_break(m): return m[0].replace('_', '_<wbr>')
    markup = re.sub(r'<thead>.*?</thead>', may_break, markup, flags=re.S)
    return re.sub(r'<td>([^<]{30,})</td>', r'<td class="words">\1</td>', markup)


def relative(body, page, pages, out):
    """Links to notebooks, and nbdev's to the published site, become links between `pages`;
    those to other files lead to the repository; pictures are copied"""
    def fix(m):
        attr, link = m[1], html.unescape(m[2])
        if link.startswith(SITE): # private names have no place on a page
            return f'{attr}="{page.up}{re.sub("#_.*", "", link[len(SITE):]) or "index.html"}"'
        path, hash, anchor = link.partition('#')
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.file), path))
        if target in pages: return f'{attr}="{page.up}{pages[target].url}{hash}{anchor}"'
        if not path or ':' in path or not (NBS/target).is_file(): return m[0]
        if attr == 'href':
            inside = posixpath.normpath(f'{CFG.nbs_path.name}/{target}')
            return f'{attr}="{BLOB}{inside}{hash}{anchor}"'
        (out/target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(NBS/target, out/target)
        return m[0]
    return re.sub(r'\b(href|src)="([^"]*)"', fix, body)


def finish(body):
    "What Pandoc leaves to us: links to headings, and intervals that stay in one piece"
    heading = r'(<h[234][^>]* id="([^"]+)"[^>]*>)(.*?)(</h[234]>)'
    link = r'<a class="anchor" href="#\2" aria-label="Link to this section"></a>'
    body = re.sub(heading, rf'\1\3{link}\4', body, flags=re.S)
    interval = r'(\[[−\-+.\d]+, [−\-+.\d]+\])'
    whole = r'<span class="whole">\1</span>'
    return re.sub(r'<td[^>]*>[^<]*\[[^<]*</td>', lambda m: re.sub(interval, whole, m[0]), body)


def navigation(pages, here):
    "The sidebar as HTML, seen from the page `here`"
    parts = []
    for page in pages.values():
        if not parts or page.part != parts[-1][0]: parts.append((page.part, []))
        current = ' aria-current=page' if page is here else ''
        parts[-1][1].append(f'<li><a href="{here.up}{page.url}"{current}>{page.label}</a></li>')
    return ''.join((f'<h2>{part}</h2>' if part else '') + f'<ul>{"".join(items)}</ul>'
                   for part,items in parts)


def neighbours(page, pages):
    "The pages before and after `page`, in the order of reading; the demo has no place in it"
    files, page_at = list(pages), list(pages.values()).index(page)
    before, after = files[:page_at][::-1], files[page_at+1:]
    for key,others in (('prev', before), ('next', after)):
        other = next((f for f in others if not f.endswith('.html')), None)
        if other: yield key, pages[other]


def render(page, pages, out, site_title, search=True):
    "Write one of `pages`, a dict by file in the order of the sidebar"
    v = dict(nav=navigation(pages, page), up=page.up, sitetitle=site_title, part=page.part,
             repo=CFG.git_url, copyright=f'© {CFG.copyright}. Apache-2.0.',
             search='yes' if search else '', policy=page.policy)
    if (NBS/page.file).exists():
        v.update(file=page.file, notebook=f'{BLOB}{CFG.nbs_path.name}/{page.file}',
                 colab=COLAB+page.file, install=html.escape(INSTALL))
    for key,other in neighbours(page, pages):
        v.update({key+'url': page.up+other.url, key+'title': other.label})
    description = re.sub(r"(?<=\w)'", '’', page.description)
    v['lead'] = re.sub('`(.+?)`', r'<code>\1</code>', html.escape(description))
    args = ['--standalone', f'--template={HERE/"page.html"}', f'--lua-filter={HERE/"filter.lua"}',
            '--mathml', '--toc', '--toc-depth=3', '--wrap=none', '--columns=10000',
            '-M', f'title={page.title}', '-M', 'description='+description.replace('`', '')]
    for key,value in v.items():
        if value: args += ['-V', f'{key}={value}']
    md = PageWriter(page, out/'media', page.up+'media/').page_md()
    body = finish(pypandoc.convert_text(md, 'html5', format=MARKDOWN, extra_args=args))
    to = out/page.url
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(relative(body, page, pages, out), encoding='utf-8')
    if 'plotly.min.js' in body and not (out/'plotly.min.js').exists(): copy_plotly(out)


def copy_plotly(folder):
    import plotly
    script = Path(plotly.__file__).parent/'package_data/plotly.min.js'
    shutil.copyfile(script, folder/'plotly.min.js')
