"The built site is whole: links, anchors, names, outputs, and nothing from elsewhere"
import ast
import json
import re
import subprocess
import sys
from configparser import ConfigParser
from copy import copy
from pathlib import Path
from urllib.parse import unquote
import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/'nbs'


def soup_of(path): return BeautifulSoup(path.read_text(encoding='utf-8'), 'html.parser')


@pytest.fixture(scope='module')
def pages(site):
    "{path from the site's root: its soup}"
    found = {p.relative_to(site).as_posix(): soup_of(p) for p in sorted(site.rglob('*.html'))}
    assert 'index.html' in found
    return found


def notebooks():
    found = sorted(p for p in NBS.rglob('*.ipynb'))
    return [p for p in found if not any(q[0] in '._' for q in p.relative_to(NBS).parts)]


def page_of(nb):
    "The page that a notebook becomes: without its number"
    return (nb.relative_to(NBS).parent/(re.sub(r'^\d+_', '', nb.stem) + '.html')).as_posix()


def sidebar():
    "The sidebar of _quarto.yml: (part, what it lists)"
    settings = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))
    for i in settings['website']['sidebar']['contents']:
        if isinstance(i, str): yield '', [i]
        elif 'section' in i: yield i['section'], i['contents']


DEMO = 'demo/index.html' # The one page that no notebook becomes


def sources(soup):
    "What a page loads by itself"
    attributes = dict(script='src', img='src', iframe='src', source='src', video='src', link='href')
    for tag,attr in attributes.items():
        for t in soup.find_all(tag):
            if t.get(attr): yield t[attr]


def build(top, *args):
    command = [sys.executable, top/'docs/build.py', *args]
    return subprocess.run(command, cwd=top, capture_output=True, text=True, timeout=300)


def test_every_link_and_anchor_resolves(site, pages):
    ids = {name: {t['id'] for t in soup.find_all(id=True)} for name,soup in pages.items()}
    broken = []
    for name,soup in pages.items():
        links = [a['href'] for a in soup.find_all('a', href=True)] + list(sources(soup))
        for link in links:
            if re.match(r'[a-z]+:', link): continue
            path,_,anchor = link.partition('#')
            target = (site/name).parent/unquote(path) if path else site/name
            key = target.resolve().relative_to(site.resolve()).as_posix()
            if not target.exists(): broken.append(f'{name}: {link}')
            elif anchor and unquote(anchor) not in ids.get(key, ()):
                broken.append(f'{name}: {link} (no such anchor)')
    assert not broken


def test_links_to_the_repository_lead_to_files(pages):
    for name,soup in pages.items():
        for a in soup.select('a[href*="/blob/main/"]'):
            path = unquote(a['href'].split('/blob/main/')[1].partition('#')[0])
            assert (ROOT/path).exists(), f'{name}: {path}'


def test_the_training_split_is_not_the_function_train(pages):
    for name,soup in pages.items():
        links = [a['href'] for a in soup.find_all('a', href=True) if a.get_text() == 'train']
        assert not [l for l in links if l.endswith('train.html#train')], name


def test_ids_are_unique(pages):
    for name,soup in pages.items():
        ids = [t['id'] for t in soup.find_all(id=True)]
        twice = {i for i in ids if ids.count(i) > 1}
        assert not twice, f"{name}: {sorted(twice)}"


def test_every_notebook_has_its_place(pages):
    "A page, in the sidebar of every page under its part; next and previous lead through all"
    want = [DEMO, *(page_of(nb) for nb in notebooks())]
    assert sorted(pages) == sorted(want)
    parts = [part for part,_ in sidebar() if part]
    for name,soup in pages.items():
        links = [a['href'].replace('../', '') for a in soup.select('.side a')]
        assert sorted(links) == sorted(want), name
        assert [h.get_text() for h in soup.select('.side h2')] == parts
        assert len(soup.select('.side a[aria-current=page]')) == 1
    walked, here = [], 'index.html'
    while here:
        walked.append(here)
        ahead = pages[here].select_one('.turn .next')
        here = ahead and ahead['href'].replace('../', '')
    assert walked == [l for l in links if l != DEMO]


def test_quarto_lists_only_what_is_there():
    listed = [f for _,files in sidebar() for f in files if isinstance(f, str)]
    assert [f for f in listed if not (NBS/f).exists()] == []


def exported():
    "(module, name) of all that the package exports"
    for f in sorted((ROOT/'fer_nbdev').glob('[a-z]*.py')):
        for t in ast.parse(f.read_text(encoding='utf-8')).body:
            if isinstance(t, ast.Assign) and getattr(t.targets[0], 'id', '') == '__all__':
                for n in ast.literal_eval(t.value): yield f.stem, n


def defined(module):
    "Names of the functions and classes of a module"
    body = ast.parse((ROOT/f'fer_nbdev/{module}.py').read_text(encoding='utf-8')).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {t.name for t in body if isinstance(t, kinds)}


def boxes(soup, name):
    heads = ((b, b.find(['h2', 'h3', 'h4'])) for b in soup.select('.api'))
    return [b for b,h in heads if h and next(h.strings).strip() == name]


def test_every_exported_name_has_its_place(pages):
    "Functions and classes: a box with signature and [source]; constants: the code that makes them"
    missing = []
    for module,name in exported():
        soup = pages.get(f'{module}.html')
        if not soup:
            missing.append(f'{module}: no page')
        elif name in defined(module):
            found = boxes(soup, name)
            link = found and found[0].select_one('a.source')
            place = rf'/blob/\w+/fer_nbdev/{module}\.py#L\d+$'
            if len(found) != 1: missing.append(f'{module}.{name}: {len(found)} boxes')
            elif not link or not re.search(place, link['href']):
                missing.append(f'{module}.{name}: no [source]')
        else:
            codes = [c.get_text() for c in soup.select('div.sourceCode')]
            if not any(re.search(rf'\b{re.escape(name)}\b', c) for c in codes):
                missing.append(f'{module}.{name}: not on the page')
    assert not missing


def test_search_knows_every_function_and_class(site, pages):
    places = json.loads((site/'names.json').read_text(encoding='utf-8'))
    for module,name in exported():
        if name not in defined(module): continue
        page,_,anchor = places[name].partition('#')
        assert page.endswith('.html') and pages[page].find(id=anchor), name


def test_every_notebook_opens_in_colab(pages):
    "The address and what to install there come from settings.ini"
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    user, repo, url = (ini['DEFAULT'][k] for k in ('user', 'repo', 'git_url'))
    for nb in notebooks():
        soup = pages[page_of(nb)]
        place = nb.relative_to(ROOT).as_posix()
        want = f'https://colab.research.google.com/github/{user}/{repo}/blob/main/{place}'
        assert soup.select_one(f'.colab a[href="{want}"]'), nb.name
        assert f'git+{url}' in soup.select_one('.colab pre').get_text(), nb.name


def test_what_an_opening_cell_asks_is_on_the_page(pages):
    "nbdev drops the title's cell; the question that stands in it must not go with it"
    for nb in notebooks():
        first = json.loads(nb.read_text(encoding='utf-8'))['cells'][0]
        opening = r'^# .+\n+(> .+\n*)?(- \w+: .+\n*)*'
        rest = re.sub(opening, '', ''.join(first['source'])).strip()
        plain = re.sub(r'`[^`]*`|\$[^$]*\$|\([^)]*\)', '', rest)
        shown = pages[page_of(nb)].select_one('main').get_text()
        assert all(w in shown for w in re.findall(r'[A-Za-z]{4,}', plain)[:6]), nb.name


def test_nothing_shows_an_error_a_warning_or_raw_markup(pages):
    for name,soup in pages.items():
        assert not soup.select('.output.error, .output.stderr'), name
        shown = copy(soup.select_one('main'))
        for o in shown.select('.output'):
            assert 'Traceback (most recent call last)' not in o.get_text(), name
        assert '<td>' not in shown.get_text(), f'{name}: a table stands there as its html'
        for code in shown.select('pre, code'): code.extract()
        for raw in ('](', 'skip_exec', '```', ':::'):
            assert raw not in shown.get_text(), f'{name}: {raw} has not become what it means'


def test_boxes_say_nothing_that_is_python_s_or_fastai_s(pages):
    "No docstring of `object.__call__`, and not the twenty events of a callback as its parameters"
    for name,soup in pages.items():
        for box in soup.select('.api'):
            said = box.get_text()
            foreign = [w for w in ('Call self as a function', 'after_create') if w in said]
            assert not foreign, f"{name}: {box.find(re.compile('h[234]')).get_text()}"


def test_outputs_of_a_page_come_from_one_data_set(pages):
    "Every run says what data it is on: real FER-2013 in what is committed"
    for name,soup in pages.items():
        printed = '\n'.join(o.get_text() for o in soup.select('.output'))
        assert 'FER2013_PATH is not set' not in printed, f'{name}: FER2013_PATH=... make outputs'
        data = set(re.findall(r'Faces\(FER-2013: 35,887 .*', printed))
        assert len(data) <= 1 or name == 'data.html', f'{name}: FER-2013 read in several ways'


def test_nothing_comes_from_elsewhere(site, pages):
    "No script, style, font or picture from another host; links that a reader clicks may"
    foreign = r'@import|url\(\s*["\']?(https?:)?//'
    for name,soup in pages.items():
        assert not [s for s in sources(soup) if re.match(r'(https?:)?//', s)], name
        styles = [t.get_text() for t in soup.find_all('style')]
        styles += [t['style'] for t in soup.find_all(style=True)]
        for style in styles: assert not re.search(foreign, style), name
        for script in soup.find_all('script', src=False):
            code = script.get_text()
            if not code.startswith('drawFigure('): assert not re.search(r'https?://', code), name
    for css in site.rglob('*.css'):
        assert not re.search(r'@import|url\(', css.read_text(encoding='utf-8')), css.name


def test_plotly_lies_beside_the_pages(site, pages):
    live = [name for name,soup in pages.items() if soup.select('.plotly-figure')]
    assert 'eda.html' in live
    for name in live: assert any(s.endswith('plotly.min.js') for s in sources(pages[name]))
    assert (site/'plotly.min.js').stat().st_size > 1e6


@pytest.fixture(scope='module')
def small(copy_tree):
    "A copy of the tree with a page of exercises and a wide table, and what is built from it"
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
    import nbformat
    top = copy_tree()
    table = '''<style>th { background: white }</style><table border="1" class="fastprogress">
<thead><tr><th>balanced_accuracy</th></tr></thead>
<tbody><tr><td>61.8 [59.7, 63.9]</td></tr></tbody></table>'''
    wide = new_output('display_data', data={'text/html': table, 'text/plain': ''})
    picture = {'image/png': PIXELS, 'text/plain': ''}
    sharp = new_output('display_data', data=picture, metadata={'image/png': {'width': 77}})
    def solution(code, printed):
        source = f'#| code-fold: true\n#| code-summary: "Solution"\n{code}'
        return new_code_cell(source, outputs=[new_output('stream', name='stdout', text=printed)])
    nb = new_notebook(cells=[
        new_markdown_cell('# Exercises\n> Folded\n\nWhy?'),
        new_code_cell('#| echo: false\ntable', outputs=[wide, sharp]),
        new_markdown_cell(QUESTION),
        solution('6*7', 'forty-two'), solution('6*8', 'forty-eight'),
        new_markdown_cell('After them, 65 ± 5 % of them.')])
    nbformat.write(nb, top/'nbs/97_exercises.ipynb')
    settings = (top/'_quarto.yml').read_text(encoding='utf-8')
    settings = settings.replace('- index.ipynb\n', '- index.ipynb\n      - 97_exercises.ipynb\n')
    (top/'_quarto.yml').write_text(settings, encoding='utf-8')
    r = build(top, '97', '--to', top/'out')
    assert r.returncode == 0, r.stdout + r.stderr
    return top


PIXELS = ('iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJ'
          'RU5ErkJggg==')
QUESTION = '''::: {.callout-tip collapse="true"}
## Exercise 1: how many?
First predict, then run:

```python
n = 6*7
```
:::'''


def test_solutions_are_folded_with_what_they_show(small):
    soup = soup_of(small/'out/exercises.html')
    question, answer = soup.select('details.callout.tip')
    assert question.summary.get_text() == 'Exercise 1: how many?' and question.select('pre.python')
    assert answer.summary.get_text() == 'Solution' and not answer.has_attr('open')
    for said in ('6*7', 'forty-two', '6*8', 'forty-eight'): assert said in answer.get_text()
    assert 'After them' not in answer.get_text() and 'code-fold' not in soup.get_text()
    quarto = (small/'_proc/97_exercises.ipynb').read_text(encoding='utf-8')
    assert json.dumps('::: {.callout-tip collapse="true" title="Solution"}') in quarto


def test_intervals_stay_whole_and_pictures_keep_their_size(small):
    soup = soup_of(small/'out/exercises.html')
    assert soup.select_one('td .whole').get_text() == '[59.7, 63.9]'
    assert soup.select_one('table.dataframe thead wbr') and not soup.find('style')
    assert soup.select_one('.figure img')['width'] == '77'


def test_a_number_and_its_percent_sign_stay_on_one_line(small):
    assert '5\u00a0% of them' in soup_of(small/'out/exercises.html').get_text()


def test_the_demo_is_beside_the_order_of_reading(pages):
    turn = {a['rel'][0]: a['href'] for a in pages['whole_game.html'].select('.turn a')}
    assert turn == dict(prev='index.html', next='core.html')
    of_demo = [a['href'] for a in pages[DEMO].select('.turn a')]
    assert of_demo == ['../whole_game.html', '../core.html']


def test_a_notebook_without_a_place_stops_the_build(copy_tree):
    to = copy_tree()
    a_page = next(nb for nb in notebooks() if re.match(r'\d\d_', nb.name))
    (to/'nbs/98_nowhere.ipynb').write_bytes(a_page.read_bytes())
    r = build(to, '--to', to/'out')
    assert r.returncode != 0
    assert 'nbs/98_nowhere.ipynb has no place in the sidebar' in r.stderr


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path/'thesis.txt').write_text('years of work')
    r = build(ROOT, '00', '--to', tmp_path)
    assert r.returncode != 0 and 'holds something else than this site' in r.stderr
    assert (tmp_path/'thesis.txt').exists()
