"README.md is made from nbs/index.ipynb, its figures from studies/results/, its links from settings.ini"
import json, re, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT/'README.md').read_text(encoding='utf-8')
RESULTS = ROOT/'studies/results/final.json'


def test_readme_is_what_the_index_makes():
    r = subprocess.run([sys.executable, ROOT/'docs/build.py', '--check'], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stdout + r.stderr


def test_order():
    "One picture and the caveat, then what a reader asks next"
    assert re.search(r'!\[|<img ', README.split('\n## ')[0]) and 'A face is not a feeling' in README.split('\n## ')[0]
    headings = re.findall(r'^## (.+)', README, re.M)
    assert headings == ['Try it', 'Run it', 'Four ways to use it', 'Getting FER-2013', 'The notebooks', 'Results', 'Limits', 'Other machines', 'More']


def test_every_notebook_is_listed():
    for nb in (ROOT/'nbs').glob('[0-9][0-9]_*.ipynb'): assert f'(nbs/{nb.name})' in README, f'{nb.name} is not in README.md: run nbs/index.ipynb, then make readme'


def test_made_from_real_faces():
    "The counts are FER-2013's, not those of the drawn faces that a page without data falls back on"
    assert '| FER-2013 | all |' in README and '| Training, `train` | 28,709 |' in README


def test_links_lead_somewhere():
    links = re.findall(r'\]\((?![a-z]+:|#)([^)\s#]+)', README)
    assert links
    missing = [l for l in links if not (ROOT/l).exists()]
    assert not missing


def test_results_are_those_of_the_json():
    "Each row of the json is a row of the README, to the digit, and there is no other"
    table = README.split('\n## Results')[1].split('\n## ')[0]
    rows = [l for l in table.splitlines() if l.startswith('| `')]
    results = json.loads(RESULTS.read_text())
    assert len(rows) == len(results)
    for row,r in zip(rows, results):
        assert row.startswith(f"| `{r['name']}` |") and f"{r['n']:,}" in row and r['command'] in row
        for k in ('accuracy', 'balanced_accuracy', 'macro_f1'):
            m = r['metrics'][k]
            assert f"{100*m['value']:.1f} [{100*m['low']:.1f}, {100*m['high']:.1f}]" in row
