"The committed pages keep the house style, and their outputs come from one run on real FER-2013"
import base64, json, re
from pathlib import Path
import pytest

NBS = Path(__file__).resolve().parent.parent/'nbs'
NOTEBOOKS = sorted(NBS.glob('[0-9][0-9]_*.ipynb'))


def text(cell): return ''.join(cell['source'])


def printed(cells):
    "All that was printed or shown as text"
    for c in cells:
        for o in c.get('outputs', []):
            yield ''.join(o.get('text', [])) + ''.join(o.get('data', {}).get('text/plain', []))


@pytest.mark.parametrize('nb', NOTEBOOKS, ids=lambda nb: nb.stem)
def test_house_style(nb):
    "Title, subtitle and question; enough prose; no endless cell; the export cell last"
    cells = json.loads(nb.read_text())['cells']
    prose,code = ([c for c in cells if c['cell_type'] == t] for t in ('markdown', 'code'))
    opens = re.match(r'# \S.*\n+> \S.*\n\n?(.|\n)*\?', text(cells[0]))
    exports = 'nbdev_export()' in text(cells[-1]) and '#| hide' in text(cells[-1])
    learned = any('## What we learned' in text(c) for c in prose)
    hidden = sum('#| hide' in text(c) for c in code)
    refusals = sum(text(c).count('test_fail(') for c in code)
    sizes = {c['id']: len(text(c).splitlines()) for c in code}
    wrong = [f'cell {i} has {n} lines' for i,n in sizes.items() if n > 45]
    if not opens: wrong.append('does not open with title, subtitle and a question')
    if len(prose) < len(code)/2: wrong.append(f'{len(prose)} cells of prose, {len(code)} of code')
    if refusals > 2: wrong.append(f'{refusals} test_fail, at most 2')
    if not exports: wrong.append('the last cell does not export')
    if not learned: wrong.append('does not end with what we learned')
    if hidden > 4: wrong.append(f'{hidden} hidden cells')
    assert not wrong, f"{nb.name}: {'; '.join(wrong)}"


def check_output(o, where):
    "No warning, no error, no path of somebody's disk, not too large"
    assert o.get('name') != 'stderr', f"{where} has a warning for an output"
    assert o['output_type'] != 'error', f"{where} has an error for an output"
    data = o.get('data', {})
    said = ''.join(printed([dict(outputs=[o])])) + ''.join(data.get('text/html', []))
    for path in ('site-packages', '/work/'):
        assert path not in said, f"{where} shows the path {path} of somebody's disk"
    size = sum(len(json.dumps(v)) for v in data.values())
    assert size < 400_000, f"{where} has an output of {size:,} characters"


@pytest.mark.parametrize('nb', NOTEBOOKS, ids=lambda nb: nb.stem)
def test_outputs_are_of_one_run(nb):
    "The page was run, nothing failed or warned, and load_fer answered with FER-2013 in every cell"
    code = [c for c in json.loads(nb.read_text())['cells'] if c['cell_type'] == 'code']
    again = f"FER2013_PATH=... make outputs only={nb.stem}"
    assert any(c['outputs'] for c in code), f"{nb.name}: no output at all. {again}"
    for c in code:
        where = f"{nb.name}: cell {c['id']}"
        for o in c['outputs']: check_output(o, where)
        exported = re.search(r'^#\|\s*export', text(c), re.M)
        if re.search(r'\bload_fer\(\)', text(c)) and not exported:
            on_real = 'Faces(FER-2013' in ''.join(printed([c]))
            assert on_real, f"{where} did not run on real FER-2013. {again}"


@pytest.mark.parametrize('nb', NOTEBOOKS[:19], ids=lambda nb: nb.stem)
def test_two_or_three_exercises_end_a_chapter(nb):
    "Prediction first; each solution is a folded cell, which nbdev_test runs as any other"
    sources = [text(c) for c in json.loads(nb.read_text())['cells']]
    begins = [i for i,s in enumerate(sources) if re.search('^## Exercises$', s, re.M)]
    assert len(begins) == 1, f"{nb.name}: {len(begins)} headings 'Exercises'"
    after = sources[begins[0]:]
    folded = r'#\| code-fold: true\n#\| code-summary: "?(Solution[^"\n]*)'
    titles = [m and m[1] for m in (re.match(folded, s) for s in after)]
    n = sum(bool(t) and t != before for before,t in zip(titles, titles[1:]))
    assert 2 <= n <= 3, f"{nb.name}: {n} folded solutions, of one cell or more"
    assert re.search('first predict', '\n'.join(after), re.I), nb.name


@pytest.mark.parametrize('nb', sorted(NBS.rglob('*.ipynb')), ids=lambda nb: nb.stem)
def test_figures_are_sharp(nb):
    "matplotlib's figures have twice the pixels of the width at which they are shown"
    for c in json.loads(nb.read_text())['cells']:
        for o in c.get('outputs', []):
            if '<Figure' not in ''.join(printed([dict(outputs=[o])])): continue
            png = base64.b64decode(''.join(o['data']['image/png']))
            shown = o['metadata'].get('image/png', {}).get('width', 10**6)
            wide = int.from_bytes(png[16:20], 'big')
            assert wide >= 1.9*shown, f"{nb.name}: cell {c['id']}: make outputs only={nb.stem}"
