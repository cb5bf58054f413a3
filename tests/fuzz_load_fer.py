"""Break files of every form that `load_fer` takes; each gives `Faces` or one clear error.

    python tests/fuzz_load_fer.py --minutes 10 --seed 0

Small valid files are damaged by flipped bits, cuts, and bytes put in, taken out or swapped.
A clear error is a ValueError or an OSError of a few lines that names the file. The case at work
lies in the folder that is printed first, so a crash of the process leaves it there.
"""
import argparse, collections, contextlib, io, signal, sys, tarfile, tempfile, time, warnings
import zipfile
from pathlib import Path
import numpy as np
import pandas as pd
from PIL import Image
from fer_nbdev.core import EMOTIONS, Faces
from fer_nbdev.data import SPLITS, VOTES, load_fer
from fer_nbdev.synthetic import synthetic_faces

SECONDS = 10  # a case that takes longer hangs
USAGE = {v: k for k, v in SPLITS.items()}


def encoded(im, kind, **kwargs):
    b = io.BytesIO()
    Image.fromarray(im).save(b, kind, **kwargs)
    return b.getvalue()


def csv(f, columns='emotion,pixels,Usage', quote=''):
    field = {'emotion': lambda i: str(f.labels[i]), 'Usage': lambda i: USAGE[f.split[i]],
             'pixels': lambda i: quote+' '.join(map(str, f.images[i].ravel()))+quote}
    rows = [','.join(field[c.strip()](i) for c in columns.split(',')) for i in range(len(f))]
    return '\n'.join([columns, *rows, '']).encode()


def votes(f):
    d = pd.DataFrame(np.tile(np.arange(10), (len(f), 1)), columns=VOTES)
    d.insert(0, 'Usage', [USAGE[s] for s in f.split])
    d.insert(1, 'Image name', [f'fer{i:07}.png' for i in range(len(f))])
    return d.to_csv(index=False).encode()


def picture(im, i):
    "One face in one of the formats, in colour, turned or deep now and then"
    exif = Image.Exif()
    exif[0x112] = 1+i % 8
    kinds = [lambda: encoded(im, 'png'), lambda: encoded(im, 'jpeg', exif=exif),
             lambda: encoded(im, 'webp', lossless=True), lambda: encoded(im, 'gif'),
             lambda: encoded(im, 'tiff', exif=exif), lambda: encoded(im, 'ppm'),
             lambda: encoded(im, 'bmp'), lambda: encoded(im.astype(np.uint16)*257, 'png'),
             lambda: encoded(np.dstack([im]*3), 'webp', exif=exif), lambda: encoded(im, 'jpeg2000'),
             lambda: encoded(im/np.float32(255), 'tiff'), lambda: encoded(im, 'tga'),
             lambda: encoded(im, 'avif', exif=exif), lambda: encoded(np.dstack([im]*4), 'png')]
    return kinds[i % len(kinds)]()


def pictures(f):
    return {f'{USAGE[s]}/{e}/{i}.png': picture(im, i)
            for i, (im, e, s) in enumerate(zip(f.images, f.emotions, f.split))}


def packed(members, kind):
    b = io.BytesIO()
    if kind.startswith('zip'):
        with zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED if kind == 'zip' else 0) as z:
            for n, d in members.items(): z.writestr(n, d)
        return b.getvalue()
    with tarfile.open(fileobj=b, mode=kind) as t:
        for n, d in members.items():
            m = tarfile.TarInfo(n)
            m.size = len(d)
            t.addfile(m, io.BytesIO(d))
        link = tarfile.TarInfo('link.png')
        link.type, link.linkname = tarfile.LNKTYPE, next(iter(members))
        if 'csv' in link.linkname: t.addfile(link)
    return b.getvalue()


def parquet(f, struct=True, compression='snappy'):
    b, data = io.BytesIO(), [encoded(im, 'png') for im in f.images]
    d = pd.DataFrame(dict(usage=[USAGE[s] for s in f.split], emotion=f.labels,
                          image=[dict(bytes=x, path=None) for x in data] if struct else data))
    d['row'] = f.info.row.to_numpy()
    for i, v in enumerate(VOTES): d[f'ferplus_{v}'] = np.full(len(f), i, np.int8)
    d.to_parquet(b, compression=compression)
    return b.getvalue()


def forms():
    "what: (files, those that are damaged, where load_fer is pointed)"
    f = synthetic_faces(10)[:6]
    f.split[:] = ['train']*4+['valid', 'test']
    f.info['row'] = np.arange(6)
    table, plus, many = csv(f), votes(f), pictures(f[np.arange(14) % 6])
    out = {
        'csv': ({'fer2013.csv': table}, 'fer2013.csv', 'fer2013.csv'),
        'csv with quotes': ({'fer2013.csv': csv(f, quote='"')}, 'fer2013.csv', ''),
        'icml_face_data.csv': ({'icml_face_data.csv': csv(f, 'emotion, Usage, pixels')},
                               'icml_face_data.csv', ''),
        'train.csv': ({'train.csv': csv(f, 'emotion,pixels')}, 'train.csv', 'train.csv'),
        'votes': ({'fer2013.csv': table, 'fer2013new.csv': plus}, 'fer2013new.csv', ''),
        'folders': (many, list(many), ''),
        'a parquet': ({'a.parquet': parquet(f)}, 'a.parquet', 'a.parquet'),
        'a plain parquet': ({'a.parquet': parquet(f, False, None)}, 'a.parquet', ''),
        'parquet in parts': ({'a.parquet': parquet(f[:3]), 'b.parquet': parquet(f[3:])},
                             'b.parquet', '')}
    files = {'fer2013.csv': table, 'fer2013new.csv': plus}
    for kind, end in (('zip', 'zip'), ('zip stored', 'zip'), ('w', 'tar'), ('w:gz', 'tar.gz'),
                      ('w:bz2', 'tar.bz2'), ('w:xz', 'tar.xz')):
        inside = dict(csv=files, folders=many, parquet={'a.parquet': parquet(f)})
        for what, members in inside.items():
            name = f'a.{end}'
            out[f'{kind} of {what}'] = ({name: packed(members, kind)}, name, name)
    return out


def damaged(b, rng):
    "`b` with one to four faults"
    b = bytearray(b)
    for _ in range(rng.integers(1, 5)):
        n = max(len(b), 1)
        i, k = int(rng.integers(n)), int(rng.integers(1, 9))
        if rng.random() < .4: i = int(rng.choice([i % 100, n-1-i % min(n, 200)])) # headers, footers
        fault = rng.integers(7)
        if fault == 0 and i < len(b): b[i] ^= 1 << int(rng.integers(8))
        elif fault == 1: del b[i:]
        elif fault == 2: b[i:i] = rng.bytes(k)
        elif fault == 3: del b[i:i+k]
        elif fault == 4: b[i:i+k] = b[i:i+k][::-1]
        elif fault == 5: b[i:i+k] = bytes([int(rng.choice([0, 255, 10, 44, 34, 32, 57]))])*k
        else: b[i:i] = b[int(rng.integers(n)):][:int(rng.integers(1, 3000))]
    return bytes(b)


def hang(*_): raise TimeoutError(f'more than {SECONDS} s')


def outcome(path):
    "'faces' or 'error'; an AssertionError says what else it was"
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()): faces = load_fer(path)
    except TimeoutError: raise AssertionError(f'no answer in {SECONDS} s') from None
    except (ValueError, OSError) as e:
        said = str(e)
        assert type(e) in (ValueError, FileNotFoundError, PermissionError), f'{type(e)}: {said}'
        assert path.name in said, f'does not name the file: {said}'
        assert len(said) < 700 and said.count('\n') < 3, f'too long: {said[:999]}'
        return 'error'
    except Exception as e: raise AssertionError(f'{type(e).__name__}: {e}') from e
    finally: signal.alarm(0)
    assert isinstance(faces, Faces) and faces.images.shape[1:] == (48, 48) and len(faces)
    assert set(faces.labels.tolist()) <= set(range(len(EMOTIONS)))
    return 'faces'


def fuzz(folder, seed, cases=None, minutes=None):
    "Counts of outcomes, and a list of (form, number of the case, what was wrong)"
    folder, table, counts, wrong = Path(folder), forms(), collections.Counter(), []
    signal.signal(signal.SIGALRM, hang)
    end, i = time.time()+60*(minutes or 1e9), 0
    while time.time() < end and (cases is None or i < cases):
        rng = np.random.default_rng([seed, i])
        what = list(table)[i % len(table)]
        files, names, where = table[what]
        bad = names if isinstance(names, str) else str(rng.choice(names))
        for n, b in files.items():
            (folder/what/n).parent.mkdir(parents=True, exist_ok=True)
            (folder/what/n).write_bytes(damaged(b, rng) if n == bad else b)
        try: counts[outcome(folder/what/where)] += 1
        except AssertionError as e: wrong.append((what, i, str(e)[:1000]))
        i += 1
    counts['wrong'] = len(wrong)
    return counts, wrong


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--minutes', type=float, default=10)
    p.add_argument('--seed', type=int, default=0)
    a = p.parse_args()
    warnings.simplefilter('ignore')
    folder = tempfile.mkdtemp(prefix='fuzz_')
    print(f'cases in {folder}', flush=True)
    counts, wrong = fuzz(folder, a.seed, minutes=a.minutes)
    for what, i, said in wrong: print(f'{what}, case {i}: {said}')
    print(f"{sum(counts.values()):,} cases of {len(forms())} forms: {dict(counts)}")
    sys.exit(bool(wrong))


if __name__ == '__main__': main()
