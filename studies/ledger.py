"""`results/looks.jsonl`: one line for every look at `test` (PrivateTest) that was ever taken

A line of kind "look" holds the figures of one released file. A line of kind "lost run" names a run
whose record was deleted or overwritten. Each line ends with a digest of itself and of the line
before it, so that a line changed or removed by hand is noticed. `final.json` holds nothing that no
look holds: `check_results` refuses one that was edited.
"""
import hashlib, json, os
from datetime import datetime, timezone
from pathlib import Path

from common import RESULTS

LEDGER = RESULTS/'looks.jsonl'


def _digest(line, before):
    "16 hexadecimal digits of a line's content and of the digest of the line before"
    content = json.dumps({k:v for k,v in line.items() if k!='digest'}, sort_keys=True)
    return hashlib.sha256((before+content).encode()).hexdigest()[:16]


def read_ledger(path=LEDGER):
    "All lines as dicts; a ValueError that names the line which is damaged or was edited"
    path,lines,before = Path(path),[],''
    if not path.is_file():
        raise ValueError(f"{path} is missing: without the record of earlier looks nothing is "
                         f"scored. Get it back: git checkout -- {path.name}")
    try: whole = path.read_text(encoding='utf-8')
    except ValueError: raise ValueError(f"{path}: not UTF-8 text; restore it from git") from None
    if whole and not whole.endswith('\n'):
        raise ValueError(f"{path} ends in the middle of a line; restore it from git")
    for i,text in enumerate(whole.splitlines(), 1):
        try: line = json.loads(text)
        except ValueError:
            raise ValueError(f"{path} line {i}: not json; restore it from git") from None
        if not isinstance(line, dict) or line.get('digest')!=_digest(line, before):
            raise ValueError(f"{path} line {i}: its digest does not fit, so this line or the one "
                             "before it was edited or removed by hand; restore it from git")
        lines.append(line)
        before = line['digest']
    return lines


def open_ledger(path=LEDGER):
    "`read_ledger`, after making sure that a line could be added"
    lines = read_ledger(path)
    try:
        with open(path, 'a', encoding='utf-8'): pass
    except OSError as e:
        raise ValueError(f"{path} cannot be written ({e.strerror}): nothing is scored") from None
    return lines


def add_line(entry, path=LEDGER):
    "Add `entry` with date and digest to the ledger, on disk before this returns"
    lines = read_ledger(path)
    line = dict(date=datetime.now(timezone.utc).isoformat(timespec='seconds'), **entry)
    line['digest'] = _digest(line, lines[-1]['digest'] if lines else '')
    try:
        with open(path, 'a', encoding='utf-8') as f:
            f.write(json.dumps(line)+'\n')
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        raise ValueError(f"{path} cannot be written ({e.strerror}): nothing is shown") from None
    return line


def looks(lines): return [l for l in lines if l['kind']=='look']


def lost_runs(lines): return [l for l in lines if l['kind']=='lost run']


def _load(path):
    "The content of a json file; a ValueError that names it"
    try: return json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError: raise ValueError(f"{path}: not json; restore it from git") from None


def signed(content):
    "`content` with a digest of itself, as `read_record` expects it"
    return dict(content, digest=_digest(content, ''))


def read_record(path, made_by):
    "A signed json of the split `valid`; a ValueError if it is missing, damaged or edited"
    if not path.exists(): raise ValueError(f"{path} is missing: run {made_by} first")
    r = _load(path)
    if not isinstance(r, dict): raise ValueError(f"{path}: no record; restore it from git")
    if r.get('split')!='valid':
        raise ValueError(f"{path} is of the split '{r.get('split')}', expected 'valid'")
    if r.get('digest')!=_digest(r, ''):
        raise ValueError(f"{path} was edited by hand; restore it from git")
    return r


def check_results(path, lines):
    "The rows of `final.json`; a ValueError if one is of another split or is in no look"
    rows = _load(path)
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise ValueError(f"{path}: expected a list of rows, as final_evaluation.py writes them")
    seen = [r for l in looks(lines) for r in l['rows']]
    for r in rows:
        name,split = r.get('name'),str(r.get('split'))
        if 'PrivateTest' not in split:
            raise ValueError(f"{path}: row '{name}' is of the split '{split}', "
                             "expected PrivateTest")
        if r not in seen:
            raise ValueError(f"{path}: the figures of row '{name}' are in no look of the ledger, "
                             "so it was edited or comes from elsewhere; restore it from git")
    return rows


def read_release(name, results=RESULTS):
    "`<name>_release.json`, as `read_record` gives it"
    return read_record(Path(results)/f'{name}_release.json', f'release.py {name}')


def read_run(name, results=RESULTS):
    "What `train_models.py` published of a run, as `read_record` gives it"
    return read_record(Path(results)/f'{name}.json', f'train_models.py {name}')
