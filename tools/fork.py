"""Make every link of the project lead to your copy of it on GitHub.

    python tools/fork.py USER [REPO]       what `make fork user=USER` calls

`settings.ini` says where the project is. This changes it there, and in the notebooks, texts and
generated files that name the old address. Nothing is sent anywhere.
"""
import re
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ('*.md', '*.yml', 'nbs/**/*.ipynb', 'fer_nbdev/_modidx.py', '.github/**/*.yaml')


def address():
    "User and repository in settings.ini"
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']['user'], ini['DEFAULT']['repo']


def rewrite(path, changes):
    "Replace each key of `changes` in a file; True if something changed"
    old = new = path.read_text(encoding='utf-8')
    for pattern,to in changes.items(): new = re.sub(pattern, to, new)
    if new == old: return False
    part = path.with_name(path.name + '.part')
    part.write_text(new, encoding='utf-8')
    part.replace(path)
    return True


def fork(user, repo=None):
    "The files that were changed"
    old_user, old_repo = address()
    repo = repo or old_repo
    for name in (user, repo):
        if not re.fullmatch(r'[\w.-]+', name):
            sys.exit(f"error: {name!r} is no name on GitHub; letters, digits, - _ . only")
    ends = r'(?![\w-])'
    changes = {
        rf'\b{re.escape(old_user)}/{re.escape(old_repo)}{ends}': f'{user}/{repo}',
        rf'\b{re.escape(old_user)}\.github\.io/{re.escape(old_repo)}{ends}':
            f'{user}.github.io/{repo}',
        rf'\b{re.escape(old_user)}\.github\.io{ends}': f'{user}.github.io',
        r"('doc_baseurl': '/)[^']*": rf'\g<1>{repo}', # in _modidx.py
    }
    settings = {r'(?m)^user = .*$': f'user = {user}', r'(?m)^repo = .*$': f'repo = {repo}'}
    files = sorted({f for pattern in TEXTS for f in ROOT.glob(pattern)})
    changed = [f for f in files if '.ipynb_checkpoints' not in f.parts and rewrite(f, changes)]
    if rewrite(ROOT/'settings.ini', settings): changed.append(ROOT/'settings.ini')
    return changed


def main():
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("error: your name on GitHub is missing: make fork user=NAME")
    changed = fork(*sys.argv[1:])
    for f in changed: print(f.relative_to(ROOT))
    print(f"{len(changed)} files changed. Next: git diff, make test, commit.")


if __name__ == '__main__': main()
