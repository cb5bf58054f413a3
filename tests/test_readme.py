"README.md is made from nbs/index.ipynb, its figures from studies/results/"
import json, re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT/'README.md').read_text(encoding='utf-8')
RESULTS = ROOT/'studies/results'


def section(title): return README.split(f'\n## {title}')[1].split('\n## ')[0]


def test_readme_is_what_the_index_makes():
    command = [sys.executable, ROOT/'docs/build.py', '--check']
    r = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stdout + r.stderr


def test_order():
    "One picture and the caveat, then what a reader asks next"
    opening = README.split('\n## ')[0]
    assert re.search(r'!\[|<img ', opening) and 'A face is not a feeling' in opening
    headings = re.findall(r'^## (.+)', README, re.M)
    assert headings == ['Try it', 'Run it', 'Four ways to use it', 'Getting FER-2013',
                        'The notebooks', 'Results', 'Limits', 'Other machines', 'More']


def test_badges_of_this_repository():
    "Tests, docs, site, licence and Python, with links that settings.ini gives"
    badges = re.findall(r'^\[!\[(\w+)\]\((\S+)\)\]\((\S+)\)$', README, re.M)
    assert [name for name,*_ in badges] == ['test', 'docs', 'site', 'licence', 'python']
    settings = (ROOT/'settings.ini').read_text(encoding='utf-8')
    user = re.search(r'^user = (\S+)', settings, re.M)[1]
    for name,picture,link in badges[:3]: assert user in link, name
    for name in ('test', 'docs'): assert (ROOT/f'.github/workflows/{name}.yaml').exists(), name


def test_every_notebook_is_listed():
    for nb in (ROOT/'nbs').glob('[0-9][0-9]_*.ipynb'):
        said = f"{nb.name} is not in README.md: run nbs/index.ipynb, then make readme"
        assert f'(nbs/{nb.name})' in README, said
    numbers = re.findall(r'^\| (\d\d) \|', section('The notebooks'), re.M)
    assert numbers == sorted(numbers) and numbers[0] == '00', 'the whole game comes first'


def test_made_from_real_faces():
    "The counts are FER-2013's, not those of the drawn faces that a page without data takes"
    assert '| FER-2013 | all |' in README and '| Training, `train` | 28,709 |' in README


def test_links_lead_somewhere():
    links = re.findall(r'\]\((?![a-z]+:|#)([^)\s#]+)', README)
    assert links
    missing = [l for l in links if not (ROOT/l).exists()]
    assert not missing


def test_pictures_are_sharp():
    "Twice the pixels of the width at which they are shown"
    pictures = re.findall(r'<img src="(\S+)" alt="(.+?)" width="(\d+)">', README)
    assert pictures
    for file,alt,width in pictures:
        data = (ROOT/file).read_bytes()
        assert int.from_bytes(data[16:20], 'big') >= 1.9*int(width), file
        assert len(alt) > 20, file


def percent(m): return f"{100*m['value']:.1f} [{100*m['low']:.1f}, {100*m['high']:.1f}]"


def test_results_are_those_of_the_json():
    "Each row of final.json, then the peer's two, is a row of the README, and there is no other"
    rows = re.findall(r'^\| (\[?`.+)', section('Results'), re.M)
    final, beside = (json.loads((RESULTS/f'{n}.json').read_text()) for n in ('final', 'beside_fer'))
    timed = {r['name']: r for r in beside['rows']}
    peer = timed['fer'], dict(timed['fer']['leak_free'], name='fer, leak-free')
    assert len(rows) == len(final)+2
    for row,r in zip(rows, [*final, *peer]):
        numbers = ' | '.join(percent(r['metrics'][k]) for k in ('accuracy', 'macro_f1'))
        assert f"`{r['name']}`" in row and f'| {numbers} |' in row
        if r['name'] in timed: assert f"| {timed[r['name']]['ms']['1']:.2f} |" in row
    for r in final: assert f"{r['n']:,}" in section('Results')


def test_the_whole_game_is_short():
    "At most 12 short code cells, nothing exported, and a link to each chapter"
    nb = json.loads((ROOT/'nbs/00_whole_game.ipynb').read_text(encoding='utf-8'))
    sources = {t: [''.join(c['source']) for c in nb['cells'] if c['cell_type'] == t]
               for t in ('code', 'markdown')}
    assert len(sources['code']) <= 12
    for s in sources['code']:
        assert len(s.splitlines()) <= 12 and not re.search(r'^#\| ?(default_exp|export)', s), s
    linked = set(re.findall(r'\]\((\S+\.ipynb)\)', '\n'.join(sources['markdown'])))
    chapters = {f.name for f in (ROOT/'nbs').glob('[0-2][0-9]_*.ipynb')} - {'00_whole_game.ipynb'}
    assert chapters <= linked, f"no link to {sorted(chapters-linked)}"
