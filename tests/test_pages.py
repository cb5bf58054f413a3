"The committed pages keep the house style, and their outputs come from one run on real FER-2013"
import json, re
from pathlib import Path
import pytest

NBS = Path(__file__).resolve().parent.parent/'nbs'
NOTEBOOKS = sorted(NBS.glob('[0-9][0-9]_*.ipynb'))


def text(cell): return ''.join(cell['source'])


def printed(cells):
    "All that was printed or shown as text"
    for c in cells:
        for o in c.get('outputs', []): yield ''.join(o.get('text', [])) + ''.join(o.get('data', {}).get('text/plain', []))


@pytest.mark.parametrize('nb', NOTEBOOKS, ids=lambda nb: nb.stem)
def test_house_style(nb):
    "Title, subtitle and question; enough prose; no endless cell; a link onwards; the export cell last"
    wrong,cells = [],json.loads(nb.read_text())['cells']
    prose,code = ([c for c in cells if c['cell_type'] == t] for t in ('markdown', 'code'))
    if not re.match(r'# \S.*\n+> \S.*\n\n?(.|\n)*\?', text(cells[0])): wrong.append('does not open with title, subtitle and a question')
    if len(prose) < len(code)/2: wrong.append(f'{len(prose)} cells of prose for {len(code)} of code')
    for c in code:
        if len(text(c).splitlines()) > 45: wrong.append(f"cell {c['id']} has {len(text(c).splitlines())} lines")
    if sum(text(c).count('test_fail(') for c in code) > 2: wrong.append('more than two test_fail')
    if 'nbdev_export()' not in text(cells[-1]) or '#| hide' not in text(cells[-1]): wrong.append('the last cell does not export')
    if not any('## What we learned' in text(c) for c in prose): wrong.append('does not end with what we learned')
    hidden = sum('#| hide' in text(c) for c in code)
    if hidden > 4: wrong.append(f'{hidden} hidden cells')
    assert not wrong, f"{nb.name}: {'; '.join(wrong)}"


@pytest.mark.parametrize('nb', NOTEBOOKS, ids=lambda nb: nb.stem)
def test_outputs_are_of_one_run(nb):
    "The page was run, nothing failed or warned, and what load_fer said is FER-2013 wherever it was asked"
    code = [c for c in json.loads(nb.read_text())['cells'] if c['cell_type'] == 'code']
    assert any(c['outputs'] for c in code), f"{nb.name}: no output at all. FER2013_PATH=... make outputs only={nb.stem}"
    for c in code:
        for o in c['outputs']:
            assert o.get('name') != 'stderr', f"{nb.name}: cell {c['id']} has a warning for an output"
            said = ''.join(printed([dict(outputs=[o])]))+''.join(o.get('data', {}).get('text/html', []))
            for path in ('site-packages', '/work/'): assert path not in said, f"{nb.name}: an output of cell {c['id']} has the path {path} of somebody's disk"
            assert o['output_type'] != 'error', f"{nb.name}: cell {c['id']} has an error for an output"
            size = sum(len(json.dumps(v)) for v in o.get('data', {}).values())
            assert size < 400_000, f"{nb.name}: an output of cell {c['id']} has {size:,} characters"
        if re.search(r'\bload_fer\(\)', text(c)) and not re.search(r'^#\|\s*export', text(c), re.M):
            assert 'Faces(FER-2013' in ''.join(printed([c])), f"{nb.name}: cell {c['id']} did not run on real FER-2013. FER2013_PATH=... make outputs only={nb.stem}"
