"The house style, counted: long lines, statements a line, sizes of exported cells, what is shown"
import ast, json, re, statistics
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT/'nbs').rglob('*.ipynb'))
FOLDERS = ('benchmarks', 'docs', 'studies', 'tests', 'tools')
SCRIPTS = [ROOT/'setup.py'] + sorted(f for d in FOLDERS for f in (ROOT/d).glob('*.py'))
WIDTH, LONGEST, MEDIAN, UNSHOWN = 100, 30, 10, 2


def code_cells(nb):
    "`(id, source)` of each code cell that holds code"
    cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
    code = [(c['id'], ''.join(c['source'])) for c in cells if c['cell_type'] == 'code']
    return [(i, s) for i,s in code if s.strip()]


def is_export(source): return re.match(r'#\|\s*exports?\b', source)
def is_hidden(source): return re.match(r'#\|\s*hide\b', source)


def too_wide(source):
    "Numbers and lengths of the lines over `WIDTH` characters; a URL may stick out"
    lines = enumerate(source.splitlines(), 1)
    wide = [(n,len(l)) for n,l in lines if len(l) > WIDTH and '://' not in l]
    return [f'line {n} has {length} characters' for n,length in wide]


def crowded(source):
    "Lines on which more than one statement begins; `if x: return y` and a one-line method are one"
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return, ast.Raise, ast.Assert,
              ast.Delete, ast.Import, ast.ImportFrom, ast.Pass, ast.Break, ast.Continue, ast.Global)
    code = re.sub(r'^(\s*)[%!].*', r'\1pass', source, flags=re.M)
    begins = [n.lineno for n in ast.walk(ast.parse(code)) if isinstance(n, simple)]
    crowds = [n for n in sorted(set(begins)) if begins.count(n) > 1]
    return [f'line {n} has {begins.count(n)} statements' for n in crowds]


def unshown_runs(cells):
    "Ids of exported cells that are the third or later in a row with nothing shown between"
    run,found = 0,[]
    for i,source in cells:
        if is_export(source):
            run += bool(re.search(r'^(def|class|@)', source, re.M))
            if run > UNSHOWN: found.append(i)
        elif not is_hidden(source): run = 0
    return found


def faults_of_page(nb):
    "All that is wrong with one notebook, each with the id of its cell"
    cells = code_cells(nb)
    sizes = {i: len(s.splitlines())-1 for i,s in cells if is_export(s)}
    wrong = [f'{i}: {w}' for i,s in cells for w in too_wide(s)+crowded(s)]
    long = {i: n for i,n in sizes.items() if n > LONGEST}
    wrong += [f'{i}: exported, {n} lines, at most {LONGEST}' for i,n in long.items()]
    unshown = f'exported, and nothing shown since {UNSHOWN} exported cells'
    wrong += [f'{i}: {unshown}' for i in unshown_runs(cells)]
    median = statistics.median(sizes.values()) if sizes else 0
    if median > MEDIAN: wrong.append(f'exported cells: median {median} lines, at most {MEDIAN}')
    return wrong


@pytest.mark.parametrize('nb', PAGES, ids=lambda nb: nb.stem)
def test_page_is_readable(nb):
    wrong = faults_of_page(nb)
    assert not wrong, f"{nb.name}: " + '; '.join(wrong)


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda f: f'{f.parent.name}/{f.stem}')
def test_script_is_readable(script):
    source = script.read_text(encoding='utf-8')
    wrong = too_wide(source)+crowded(source)
    assert not wrong, f"{script.relative_to(ROOT)}: " + '; '.join(wrong)


@pytest.mark.parametrize('script', sorted((ROOT/'docs/demo').glob('*.js')), ids=lambda f: f.name)
def test_javascript_is_readable(script):
    assert not too_wide(script.read_text(encoding='utf-8'))


def test_the_counts_can_fail():
    "A long line, two statements, a URL, a one-line method, three exports in a row: as expected"
    assert too_wide('x = ' + '1'*100) and not too_wide('# https://' + 'a'*100)
    assert crowded('a = 1; b = 2') and crowded('if a: b = 1; c = 2')
    assert not crowded('if a: return_value = 1\ndef f(x): return x\nf(1);')
    export = '#| export\ndef f(): pass'
    assert unshown_runs([('a', export), ('b', export), ('c', export)]) == ['c']
    assert not unshown_runs([('a', export), ('b', export), ('s', 'f()'), ('c', export)])
