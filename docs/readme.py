"README.md and its pictures, from nbs/index.ipynb: GitHub's Markdown instead of Pandoc's"
import base64
import json
import posixpath
import re
import sys

import pypandoc
from render import CFG, HERE, NBS, ROOT, SITE, options, text

CALLOUT = re.compile(r'^::: ?\{\.callout-(\w+)[^}]*\}\n(.*?)\n:::$', re.M | re.S)


def badges():
    "Pictures from elsewhere, so only GitHub shows them: the site has nothing from another host"
    def badge(name, picture, link): return f'[![{name}]({picture})]({link})'
    def flow(name):
        page = f'{CFG.git_url}/actions/workflows/{name}.yaml'
        return badge(name, f'{page}/badge.svg', page)
    def shield(name, said, link):
        return badge(name, f'https://img.shields.io/badge/{name}-{said}-blue.svg', link)
    return '\n'.join([flow('test'), flow('docs'), shield('site', 'read', SITE),
                      shield('licence', 'Apache_2.0', 'LICENSE'),
                      shield('python', f'{CFG.min_python}_or_newer', 'settings.ini')])


def from_root(md):
    "Links as seen from the top of the repository instead of nbs/"
    def fix(m): return '](' + posixpath.normpath('nbs/'+m[1])
    return re.sub(r'\]\((?![a-z]+:|#|/)([^)\s]+)', fix, md)


def callout(m):
    "Quarto's callout as GitHub writes it"
    return f'> [!{m[1].upper()}]\n' + re.sub('^', '> ', m[2].strip('\n'), flags=re.M)


def output_md(o, alt, pictures):
    "GitHub's Markdown of one output; a picture is added to `pictures`"
    data = o.get('data', {})
    if 'image/png' in data:
        name = f'docs/img/readme-{len(pictures)+1}.png'
        pictures[name] = base64.b64decode(text(data['image/png']))
        width = o.get('metadata', {}).get('image/png', {}).get('width')
        return f'<img src="{name}" alt="{alt}" width="{width}">' if width else f'![{alt}]({name})'
    if 'text/markdown' in data: return from_root(text(data['text/markdown']).strip())
    if 'text/html' in data:
        table = re.sub(r'<style scoped>.*?</style>', '', text(data['text/html']), flags=re.S)
        md = pypandoc.convert_text(table, 'gfm', format='html', extra_args=['--wrap=none'])
        return md.strip()
    printed = text(data.get('text/plain', o.get('text', ''))).rstrip()
    return f'```\n{printed}\n```' if printed else ''


def readme():
    "README.md and its pictures {path: bytes}"
    nb = json.loads((NBS/'index.ipynb').read_text(encoding='utf-8'))
    parts, pictures = ['<!-- Made from nbs/index.ipynb by `make readme`: edit there. -->'], {}
    for c in nb['cells']:
        source = text(c['source'])
        if c['cell_type'] == 'raw' or re.search(r'^#\|\s*hide\s*$', source, re.M): continue
        if c['cell_type'] == 'markdown':
            parts.append(from_root(CALLOUT.sub(callout, source).strip()))
            if len(parts) == 2: parts.append(badges())
            continue
        opts, code = options(source)
        if code and opts.get('echo') is not False: parts.append(f'```python\n{code}\n```')
        alt = opts.get('fig-alt') or 'What the code above draws'
        parts += [output_md(o, alt, pictures) for o in c.get('outputs', [])]
    return '\n\n'.join(p for p in parts if p) + '\n', pictures


def write_readme(check=False):
    md, pictures = readme()
    want = {'README.md': md.encode(), **pictures}
    old = {p.relative_to(ROOT).as_posix() for p in (HERE/'img').glob('readme-*.png')}
    stale = [f for f,b in want.items() if not (ROOT/f).exists() or (ROOT/f).read_bytes() != b]
    stale += sorted(old-want.keys())
    if check:
        if not stale: return print("README.md is what nbs/index.ipynb makes")
        sys.exit(f"error: {', '.join(stale)} differ from what nbs/index.ipynb makes: "
                 "run `make readme` and commit")
    for f in old-want.keys(): (ROOT/f).unlink()
    for f,b in want.items():
        (ROOT/f).parent.mkdir(parents=True, exist_ok=True)
        (ROOT/f).write_bytes(b)
    print(f"README.md, {len(md.splitlines())} lines, {len(pictures)} pictures")
