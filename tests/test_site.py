"The built site is whole: links, anchors, names, outputs, and nothing from elsewhere"
import ast, json, re
from copy import copy
from pathlib import Path
from urllib.parse import unquote
import pytest, yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/'nbs'


@pytest.fixture(scope='module')
def pages(site):
    "{path from the site's root: its soup}"
    found = {p.relative_to(site).as_posix(): BeautifulSoup(p.read_text(encoding='utf-8'), 'html.parser') for p in sorted(site.rglob('*.html'))}
    assert 'index.html' in found
    return found


def notebooks(): return sorted(p for p in NBS.rglob('*.ipynb') if not any(q[0] in '._' for q in p.relative_to(NBS).parts))


def page_of(nb):
    "The page that a notebook becomes: without its number"
    return (nb.relative_to(NBS).parent/(re.sub(r'^\d+_', '', nb.stem) + '.html')).as_posix()


def sources(soup):
    "What a page loads by itself"
    for tag,attr in (('script','src'), ('img','src'), ('iframe','src'), ('source','src'), ('video','src'), ('link','href')):
        for t in soup.find_all(tag):
            if t.get(attr): yield t[attr]


def test_every_link_and_anchor_resolves(site, pages):
    ids = {name: {t['id'] for t in soup.find_all(id=True)} for name,soup in pages.items()}
    broken = []
    for name,soup in pages.items():
        for link in [a['href'] for a in soup.find_all('a', href=True)] + list(sources(soup)):
            if re.match(r'[a-z]+:', link): continue
            path,_,anchor = link.partition('#')
            target = (site/name).parent/unquote(path) if path else site/name
            key = target.resolve().relative_to(site.resolve()).as_posix()
            if not target.exists(): broken.append(f'{name}: {link}')
            elif anchor and unquote(anchor) not in ids.get(key, ()): broken.append(f'{name}: {link} (no such anchor)')
    assert not broken


def test_the_training_split_is_not_the_function_train(pages):
    for name,soup in pages.items(): assert not [a for a in soup.find_all('a', href=True) if a.get_text()=='train' and a['href'].endswith('train.html#train')], name


def test_ids_are_unique(pages):
    for name,soup in pages.items():
        ids = [t['id'] for t in soup.find_all(id=True)]
        assert len(ids) == len(set(ids)), f"{name}: {sorted({i for i in ids if ids.count(i)>1})}"


def test_every_notebook_has_its_place(pages):
    "A page of its own, in the sidebar of every page, under the part that _quarto.yml says, and next and previous lead through all of them"
    want = [page_of(nb) for nb in notebooks()]
    assert sorted(pages) == sorted(want)
    parts = [i['section'] for i in yaml.safe_load((ROOT/'_quarto.yml').read_text())['website']['sidebar']['contents'] if isinstance(i, dict)]
    assert parts == ['The data', 'Balance', 'Training', 'Explanation', 'In use', 'Studies']
    for name,soup in pages.items():
        links = [a['href'].replace('../', '') for a in soup.select('.side a')]
        assert sorted(links) == sorted(want), name
        assert len(soup.select('.side a[aria-current=page]')) == 1
    walked,here = [],'index.html'
    while here:
        walked.append(here)
        ahead = pages[here].select_one('.turn .next')
        here = ahead and ahead['href'].replace('../', '')
    assert walked == links


def test_quarto_lists_only_what_is_there():
    contents = yaml.safe_load((ROOT/'_quarto.yml').read_text())['website']['sidebar']['contents']
    listed = [f for i in contents for f in (i['contents'] if isinstance(i, dict) else [i]) if isinstance(f, str)]
    assert [f for f in listed if not (NBS/f).exists()] == []


def exported():
    "(module, name) of all that the package exports"
    for f in sorted((ROOT/'fer_nbdev').glob('[a-z]*.py')):
        for t in ast.parse(f.read_text(encoding='utf-8')).body:
            if isinstance(t, ast.Assign) and getattr(t.targets[0], 'id', '') == '__all__':
                for n in ast.literal_eval(t.value): yield f.stem, n


def test_every_exported_name_has_its_place(pages):
    "Functions and classes: a box with signature and [source]; constants: the code that makes them"
    missing = []
    for module,name in exported():
        soup = pages.get(f'{module}.html')
        tree = ast.parse((ROOT/f'fer_nbdev/{module}.py').read_text(encoding='utf-8'))
        defined = {t.name for t in tree.body if isinstance(t, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
        if not soup: missing.append(f'{module}: no page')
        elif name in defined:
            boxes = [b for b in soup.select('.api') if (h := b.find(['h2','h3','h4'])) and next(h.strings).strip() == name]
            if len(boxes) != 1: missing.append(f'{module}.{name}: {len(boxes)} boxes')
            elif not boxes[0].select_one('a.source') or not re.search(rf'/blob/\w+/fer_nbdev/{module}\.py#L\d+$', boxes[0].select_one('a.source')['href']): missing.append(f'{module}.{name}: no [source]')
        elif not any(re.search(rf'\b{re.escape(name)}\b', c.get_text()) for c in soup.select('div.sourceCode')): missing.append(f'{module}.{name}: not on the page')
    assert not missing


def test_what_an_opening_cell_asks_is_on_the_page(pages):
    "nbdev drops the title's cell; the question that stands in it must not go with it"
    for nb in notebooks():
        first = json.loads(nb.read_text(encoding='utf-8'))['cells'][0]
        rest = re.sub(r'^# .+\n+(> .+\n*)?(- \w+: .+\n*)*', '', ''.join(first['source'])).strip()
        words = re.findall(r'[A-Za-z]{4,}', re.sub(r'`[^`]*`|\$[^$]*\$|\([^)]*\)', '', rest))[:6]
        shown = pages[page_of(nb)].select_one('main').get_text()
        assert all(w in shown for w in words), nb.name


def test_nothing_shows_an_error_a_warning_or_raw_markup(pages):
    for name,soup in pages.items():
        assert not soup.select('.output.error, .output.stderr'), name
        shown = copy(soup.select_one('main'))
        for o in shown.select('.output'): assert 'Traceback (most recent call last)' not in o.get_text(), name
        assert '<td>' not in shown.get_text(), f'{name}: a table stands there as its html'
        for code in shown.select('pre, code'): code.extract()
        for raw in ('](', 'skip_exec', '```'): assert raw not in shown.get_text(), f'{name}: {raw} has not become what it means'


def test_outputs_of_a_page_come_from_one_data_set(pages):
    "Every run says what data it is on: real FER-2013 in what is committed, and nowhere drawn faces for want of it"
    for name,soup in pages.items():
        printed = '\n'.join(o.get_text() for o in soup.select('.output'))
        assert 'FER2013_PATH is not set' not in printed, f'{name} was run without FER-2013: FER2013_PATH=... make outputs'
        assert len({m for m in re.findall(r'Faces\(FER-2013: 35,887 .*', printed)}) <= 1 or name == 'data.html', f'{name}: FER-2013 read in more than one way'


def test_nothing_comes_from_elsewhere(site, pages):
    "No script, style, font or picture from another host; links that a reader clicks may lead there"
    for name,soup in pages.items():
        assert not [s for s in sources(soup) if re.match(r'(https?:)?//', s)], name
        for style in [t.get_text() for t in soup.find_all('style')] + [t['style'] for t in soup.find_all(style=True)]:
            assert not re.search(r'@import|url\(\s*["\']?(https?:)?//', style), name
        for script in soup.find_all('script', src=False):
            if 'Plotly.newPlot' not in script.get_text(): assert not re.search(r'https?://', script.get_text()), name
    for css in site.rglob('*.css'): assert not re.search(r'@import|url\(', css.read_text(encoding='utf-8')), css.name


def test_plotly_lies_beside_the_pages(site, pages):
    live = [name for name,soup in pages.items() if soup.select('.plotly-figure')]
    assert 'eda.html' in live
    for name in live: assert any(s.endswith('plotly.min.js') for s in sources(pages[name]))
    assert (site/'plotly.min.js').stat().st_size > 1e6


def test_a_notebook_without_a_place_stops_the_build(copy_tree):
    import subprocess, sys
    to = copy_tree()
    (to/'nbs/98_nowhere.ipynb').write_text((NBS/'00_core.ipynb').read_text(encoding='utf-8'), encoding='utf-8')
    r = subprocess.run([sys.executable, to/'docs/build.py', '--to', to/'out'], cwd=to, capture_output=True, text=True, timeout=120)
    assert r.returncode != 0 and 'nbs/98_nowhere.ipynb has no place in the sidebar' in r.stderr


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    import subprocess, sys
    (tmp_path/'thesis.txt').write_text('years of work')
    r = subprocess.run([sys.executable, ROOT/'docs/build.py', '00', '--to', tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert r.returncode != 0 and 'holds something else than this site' in r.stderr and (tmp_path/'thesis.txt').exists()
