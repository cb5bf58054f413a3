"The library stays small: public names are what a user would look for, and there is a limit"
import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent/'fer_nbdev'
LIMIT = 110 + 11 # 11 for video, the web page, the batch and 8-bit networks


def public_names():
    "Each module's `__all__`, read from its source, so that nothing is imported"
    found = {}
    for f in sorted(PACKAGE.glob('*.py')):
        for s in ast.parse(f.read_text()).body:
            if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == '__all__':
                found[f.stem] = ast.literal_eval(s.value)
    return found


def test_public_names_are_few():
    found = public_names()
    n = sum(map(len, found.values()))
    listed = '\n'.join(f"{m} ({len(names)}): {', '.join(names)}" for m, names in found.items())
    said = f"{n} public names, at most {LIMIT}; helpers begin with _"
    assert found and n <= LIMIT, f"{said}\n{listed}"
