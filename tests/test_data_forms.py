"Every form in which people have FER-2013 gives the same faces, here written from drawn ones"
import io, os, subprocess, sys, tarfile, zipfile
from pathlib import Path
import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, features
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev.data import SPLITS, VOTES, _complete_splits, load_fer
from fer_nbdev.files import _fingerprints, _load_fingerprints, _match_splits
from fer_nbdev.synthetic import synthetic_faces

USAGE = {v: k for k, v in SPLITS.items()}
VARIANTS = dict(angry='Anger', disgust='DISGUSTED', fear='fearful', happy='Happiness',
                sad='sadness', surprise='Surprised', neutral='Neutral')


@pytest.fixture(scope='module')
def faces():
    f = synthetic_faces(210)
    f = f[np.argsort([('train', 'valid', 'test').index(s) for s in f.split], kind='stable')]
    f.info['row'] = np.arange(len(f))
    return f


def csv(f, head='emotion,pixels,Usage', columns='lpu', quote='', end='\n', bom='', space=' '):
    def field(c, i):
        if c == 'p': return quote+space.join(map(str, f.images[i].ravel()))+quote
        return str(f.labels[i]) if c == 'l' else USAGE[f.split[i]]
    rows = [','.join(field(c, i) for c in columns) for i in range(len(f))]
    return (bom+end.join([head, *rows])+end).encode()


def votes_csv(f):
    d = pd.DataFrame(np.arange(10)+np.arange(len(f))[:, None] % 2, columns=VOTES)
    d.insert(0, 'Usage', [USAGE[s] for s in f.split])
    d.insert(1, 'Image name', [f'fer{i:07}.png' for i in range(len(f))])
    return d.to_csv(index=False).encode()


def encoded(im, ending, **kwargs):
    "A picture, without loss where the format can"
    b = io.BytesIO()
    kwargs = {'.webp': dict(lossless=True), '.jp2': dict(irreversible=False)}.get(ending, kwargs)
    kind = dict(jfif='jpeg', jpg='jpeg', pgm='ppm', jp2='jpeg2000', tif='tiff')
    Image.fromarray(im).save(b, kind.get(ending[1:], ending[1:]), **kwargs)
    return b.getvalue()


def pictures(f, ending='.png', split=USAGE, names=dict(zip(EMOTIONS, EMOTIONS)), root=''):
    return {f'{root}{split[s]}/{names[e]}/{i}{ending}': encoded(im, ending)
            for i, (im, e, s) in enumerate(zip(f.images, f.emotions, f.split))}


def zipped(members):
    b = io.BytesIO()
    with zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED) as z:
        for n, d in members.items(): z.writestr(n, d)
    return b.getvalue()


def tarred(members, mode='w:gz'):
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode=mode) as t:
        for n, d in members.items():
            m = tarfile.TarInfo(n)
            m.size = len(d)
            t.addfile(m, io.BytesIO(d))
    return b.getvalue()


def parquet(f, struct=True):
    b = io.BytesIO()
    data = [encoded(cv2.cvtColor(im, cv2.COLOR_GRAY2RGB), '.webp') for im in f.images]
    d = pd.DataFrame(dict(usage=pd.Categorical([USAGE[s] for s in f.split]),
                          emotion=f.labels.astype(np.int8),
                          image=[dict(bytes=x, path=None) for x in data] if struct else data))
    if struct:
        d['row'] = f.info.row.to_numpy()
        d['blurred'] = np.arange(len(f)) == 3
        for i, v in enumerate(VOTES): d[f'ferplus_{v}'] = np.full(len(f), i, np.int8)
    d.to_parquet(b)
    return b.getvalue()


def parquet_parts(f):
    return {f'fer2013-{s}.parquet': parquet(f[f.split == s]) for s in ('train', 'valid', 'test')}


def packed(files, kind='w:gz'): return zipped(files) if kind == 'zip' else tarred(files, kind)


def icml(f): return csv(f, 'emotion, Usage, pixels', 'lup')


NEW = dict(train='train', valid='valid', test='test')
CSV_FORMS = { # what: (name of the file, function of the faces -> its bytes)
    'fer2013.csv': ('fer2013.csv', csv),
    'of Windows': ('fer2013.csv', lambda f: csv(f, end='\r\n', bom='\ufeff')),
    'of an old Mac': ('fer2013.csv', lambda f: csv(f, end='\r')),
    'with two byte order marks': ('fer2013.csv', lambda f: csv(f, bom='\ufeff\ufeff')),
    'with quotes': ('fer2013.csv', lambda f: csv(f, quote='"', head='"emotion","pixels","Usage"')),
    'without a last newline': ('fer2013.csv', lambda f: csv(f)[:-1]),
    'with empty lines': ('fer2013.csv', lambda f: csv(f, end='\n\n')),
    'with tabs between pixels': ('fer2013.csv', lambda f: csv(f, space='\t')),
    'with repeated blanks': ('fer2013.csv', lambda f: csv(f, space='   ')),
    'with commas at the ends': ('fer2013.csv', lambda f: csv(f, end=',\n')),
    'icml_face_data.csv': ('icml_face_data.csv', icml),
    'a csv with another name': ('mine.csv', csv),
    'a zip that is called csv': ('fer2013.csv', lambda f: zipped({'fer2013.csv': csv(f)})),
}
PACKED = { # what: (name of the archive, its kind, function of the faces -> its files)
    'zip of the csv': ('a.zip', 'zip', lambda f: {
        'd/fer2013.csv': csv(f), '__MACOSX/._x.csv': b'x'}),
    'tar.gz of the csv': ('a.tar.gz', 'w:gz', lambda f: {
        'd/README': b'hello', 'd/fer2013.csv': csv(f)}),
    'tar.gz called zip': ('a.zip', 'w:gz', lambda f: {'fer2013.csv': csv(f)}),
    'zip called tar': ('a.tar', 'zip', lambda f: {'fer2013.csv': csv(f)}),
    'zip of folders': ('faces.zip', 'zip', lambda f: pictures(f, root='fer2013/')),
    'zip with back slashes': ('a.zip', 'zip', lambda f: {
        n.replace('/', '\\'): b for n, b in pictures(f).items()}),
    'tar of folders': ('faces.tar', 'w', lambda f: pictures(f, names=VARIANTS)),
    'tgz of folders': ('faces.tgz', 'w:gz', pictures),
    'tar.xz of folders': ('faces.tar.xz', 'w:xz', lambda f: pictures(f, root='./')),
    'zip of parquet': ('fer.zip', 'zip', lambda f: {'fer.parquet': parquet(f)}),
}
FOLDERS = { # what: function of the faces -> files
    'fer2013.csv in its folder': lambda f: {
        'fer2013.csv': csv(f), 'README': b'hello', 'fer2013.bib': b'@'},
    "the challenge's folder": lambda f: {
        'icml_face_data.csv': icml(f), 'train.csv': csv(f, 'emotion,pixels', 'lp'),
        'test.csv': csv(f, 'pixels', 'p')},
    'Training, PublicTest, PrivateTest': pictures,
    'train, valid, test': lambda f: pictures(f, split=NEW, names=VARIANTS),
    'folders deeper down': lambda f: pictures(f, root='data/fer/', names=VARIANTS),
    **{f'pictures as {e}': (lambda f, e=e: pictures(f, e))
       for e in ('.webp', '.gif', '.bmp', '.tif', '.pgm', '.jp2', '.PNG')},
    'parquet in a folder': lambda f: {'fer.parquet': parquet(f)},
}
FORMS = { # what: (where load_fer is pointed, function of the faces -> files)
    **{k: (n, lambda f, n=n, make=make: {n: make(f)}) for k, (n, make) in CSV_FORMS.items()},
    **{k: (n, lambda f, n=n, kind=kind, make=make: {n: packed(make(f), kind)})
       for k, (n, kind, make) in PACKED.items()},
    **{k: ('', make) for k, make in FOLDERS.items()},
    'a parquet file': ('fer.parquet', lambda f: {'fer.parquet': parquet(f)}),
    'parquet with bytes alone': ('a.parquet', lambda f: {'a.parquet': parquet(f, struct=False)}),
}


def write(folder, files):
    for n, b in files.items():
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        (folder/n).write_bytes(b)
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*'))


@pytest.mark.parametrize('what', FORMS)
def test_same_faces(tmp_path, faces, what):
    where, files = FORMS[what]
    before = write(tmp_path, files(faces))
    got = load_fer(tmp_path/where)
    assert got.fingerprint == faces.fingerprint
    assert {'row', 'not_a_face'} <= set(got.info)
    after = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*'))
    assert after == before, 'nothing is written beside the data'


def test_folder_of_parquet(tmp_path, faces):
    files = parquet_parts(faces)
    write(tmp_path, files)
    got = load_fer(tmp_path)
    assert len(got) == len(faces) and (got.split == 'valid').sum() == (faces.split == 'valid').sum()
    assert (got.votes == np.arange(10)).all() and got.info.not_a_face.sum() == 3


def test_train_csv_gets_a_seeded_stratified_valid(tmp_path, faces, capsys):
    f = faces[faces.split == 'train']
    write(tmp_path, {'train.csv': csv(f, 'emotion,pixels', 'lp')})
    a, b = load_fer(tmp_path/'train.csv'), load_fer(tmp_path/'train.csv')
    said = capsys.readouterr().out
    assert a.fingerprint == b.fingerprint and (a.images == f.images).all()
    assert 'no usage' in said and 'seed 0' in said
    assert f"{(a.split == 'valid').sum()} of its faces" in said
    assert set(a.split) == {'train', 'valid'}
    for c in range(7):
        n = (f.labels == c).sum()
        assert abs((a.split[f.labels == c] == 'valid').sum()-n/8) <= .5


@pytest.mark.parametrize('where', ['fer2013.csv', '', 'a.zip'])
def test_votes_beside_the_csv(tmp_path, faces, where, capsys):
    members = {'fer2013.csv': csv(faces), 'fer2013new.csv': votes_csv(faces)}
    write(tmp_path, {'a.zip': zipped(members)} if where == 'a.zip' else members)
    got = load_fer(tmp_path/where)
    assert got.fingerprint == faces.fingerprint
    assert (got.votes == np.arange(10)+np.arange(len(faces))[:, None] % 2).all()
    assert 'votes of FER+' in capsys.readouterr().out
    assert (got.info.not_a_face == (got.votes[:, VOTES.index('NF')] == 10)).all()
    assert 0 < got.info.not_a_face.sum() < len(got)


def test_rows_that_ferplus_dropped_are_not_a_face(tmp_path, faces):
    d = pd.read_csv(io.BytesIO(votes_csv(faces)))
    d['NF'] = 0
    d.loc[[2, 5], list(VOTES)] = [0]*9+[10]
    d.loc[7, 'Image name'] = None
    write(tmp_path, {'fer2013.csv': csv(faces), 'fer2013new.csv': d.to_csv(index=False).encode()})
    assert np.flatnonzero(load_fer(tmp_path).info.not_a_face).tolist() == [2, 5, 7]
    (tmp_path/'fer2013new.csv').unlink()
    assert not load_fer(tmp_path).info.not_a_face.any(), 'nobody can say without votes'


def test_train_and_test_folders_get_a_valid(tmp_path, faces, capsys):
    f = faces[faces.split != 'valid']
    write(tmp_path, pictures(f, split=NEW))
    got = load_fer(tmp_path)
    said = capsys.readouterr().out
    assert 'no validation folder' in said and 'seed 0' in said
    assert (got.split == 'test').sum() == (f.split == 'test').sum()
    assert (got.split == 'valid').sum() > 0


def test_fingerprints_in_the_package():
    t = _load_fingerprints()
    assert {len(t[k]) for k in ('exact', 'near', 'label', 'split')} == {7178}
    assert (t['split'] == 'valid').sum() == (t['split'] == 'test').sum() == 3589
    counts = {s: np.bincount(t['label'][t['split'] == s]).tolist() for s in ('valid', 'test')}
    assert counts['valid'] == [467, 56, 496, 895, 653, 415, 607]
    assert counts['test'] == [491, 55, 528, 879, 594, 416, 626]


@pytest.fixture(scope='module')
def seven_thousand(): return synthetic_faces(7400)


def test_test_folder_of_7178_is_told_apart(seven_thousand, monkeypatch):
    f = seven_thousand
    i = np.arange(len(f))
    split = np.where(i < 222, 'train', np.where(i % 2, 'valid', 'test'))
    exact, near = _fingerprints(f.images)
    rest = split != 'train'
    table = dict(exact=exact[rest], near=near[rest], label=f.labels[rest], split=split[rest])
    monkeypatch.setattr('fer_nbdev.data._load_fingerprints', lambda: table)
    got, notes = _complete_splits(f.images, f.labels, np.where(rest, 'test', 'train'))
    assert (got == split).mean() > .97 # of equal pictures nobody can tell which is which
    assert [(got == s).sum() for s in ('train', 'valid', 'test')] == [222, 3589, 3589]
    assert 'PublicTest and PrivateTest together' in notes[0]


def test_another_test_folder_of_7178_stays_as_it_is(seven_thousand):
    f = seven_thousand
    split = np.where(np.arange(len(f)) < 222, 'train', 'test')
    got, notes = _complete_splits(f.images, f.labels, split)
    assert (got[222:] == 'test').all() and 'no validation folder' in notes[0]


def test_each_fingerprint_is_used_once():
    im = np.stack([np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)]*3)
    exact, near = _fingerprints(im[:2])
    table = dict(exact=exact, near=near, label=np.array([3, 3]), split=np.array(['valid', 'test']))
    got = _match_splits(im, [3, 3, 3], table)
    assert sorted(map(str, got)) == ['None', 'test', 'valid']


def test_no_path_draws_faces_and_says_so(monkeypatch, capsys):
    monkeypatch.delenv('FER2013_PATH', raising=False)
    f = load_fer(classes=FIVE)
    said = capsys.readouterr().out
    assert f.name == 'drawn faces' and f.classes == FIVE
    assert said.count('\n') == 1 and 'drawn faces' in said and 'FER2013_PATH is not set' in said


def test_the_environment_names_the_path(monkeypatch, tmp_path, faces, capsys):
    write(tmp_path, {'fer2013.csv': csv(faces)})
    monkeypatch.setenv('FER2013_PATH', os.path.relpath(tmp_path))
    assert load_fer().fingerprint == faces.fingerprint
    assert str(Path(tmp_path).resolve()) in capsys.readouterr().out


# Pictures: formats, turns, ranges

LOSSY = ['.jpg', '.jfif', '.avif'] if features.check('avif') else ['.jpg', '.jfif']


@pytest.mark.parametrize('ending', LOSSY)
def test_lossy_formats_are_read(tmp_path, faces, ending):
    write(tmp_path, pictures(faces[:20], ending))
    got = load_fer(tmp_path)
    assert np.abs(got.images.astype(int)-faces.images[:20]).mean() < 8


TURNS = {1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.T,
         6: np.rot90, 7: lambda x: np.rot90(x, 2).T, 8: lambda x: np.rot90(x, -1)}


@pytest.mark.parametrize('ending', ['.png', '.webp', '.tif', *LOSSY])
def test_exif_orientation_is_obeyed_in_all_formats(tmp_path, faces, ending, capsys):
    "A face as each of the eight cameras would have stored it comes back upright"
    files = {}
    for turn, store in TURNS.items():
        exif = Image.Exif()
        exif[0x112] = turn
        kind = dict(jpg='jpeg', jfif='jpeg', tif='tiff').get(ending[1:], ending[1:])
        b = io.BytesIO()
        more = dict(lossless=True) if kind == 'webp' else {}
        Image.fromarray(store(faces.images[5])).save(b, kind, exif=exif, **more)
        files[f'train/happy/{turn}{ending}'] = b.getvalue()
    write(tmp_path, files)
    got = load_fer(tmp_path).images.astype(int)
    assert np.abs(got-faces.images[5]).mean() < (8 if ending in LOSSY else .001)
    assert '7 pictures turned upright, as EXIF says' in capsys.readouterr().out


@pytest.mark.parametrize('ending,dtype,white', [
    ('png', np.uint16, 65535), ('tiff', np.uint16, 65535), ('ppm', np.int32, 65535),
    ('tiff', np.float32, 1)])
def test_deep_pictures_are_scaled_by_the_range_of_their_type(tmp_path, ending, dtype, white):
    "A dark picture stays dark"
    dark = np.linspace(0, white*.2, 48*48).reshape(48, 48).astype(dtype)
    write(tmp_path, {f'train/happy/1.{ending}': encoded(dark, f'.{ending}')})
    got = load_fer(tmp_path).images[0]
    assert np.abs(got-dark/white*255).max() <= .51


def test_transparent_pixels_are_white(tmp_path):
    im = np.zeros((48, 48, 4), np.uint8)
    im[:, 24:, 3] = 255
    write(tmp_path, {'train/happy/1.png': encoded(im, '.png')})
    got = load_fer(tmp_path).images[0]
    assert (got[:, :24] == 255).all() and (got[:, 24:] == 0).all()


# Links, and what is left out

def test_linked_class_folders_are_followed(tmp_path, faces):
    write(tmp_path, pictures(faces, root='data/'))
    for c in ('happy', 'sad'):
        (tmp_path/'data/Training'/c).rename(tmp_path/f'elsewhere_{c}')
        (tmp_path/'data/Training'/c).symlink_to(tmp_path/f'elsewhere_{c}')
    assert load_fer(tmp_path/'data').fingerprint == faces.fingerprint


def test_links_in_a_circle_end(tmp_path, faces, capsys):
    write(tmp_path, pictures(faces, root='data/'))
    (tmp_path/'data/Training/again').symlink_to(tmp_path/'data')
    assert load_fer(tmp_path/'data').fingerprint == faces.fingerprint
    assert '1 file left out: Training/again (a folder that was read)' in capsys.readouterr().out


def test_links_in_a_tar_are_resolved(tmp_path, faces, capsys):
    members, b = pictures(faces), io.BytesIO()
    with tarfile.open(fileobj=b, mode='w') as t:
        for i, (n, d) in enumerate(members.items()):
            real = f'photos/{i}.bin' if i % 3 == 1 else n
            m = tarfile.TarInfo(f'./{real}')
            m.size = len(d)
            t.addfile(m, io.BytesIO(d))
            if i % 3 != 1: continue
            link = tarfile.TarInfo(f'./{n}')
            link.type, link.linkname = tarfile.LNKTYPE, f'./{real}'
            if i % 2: link.type, link.linkname = tarfile.SYMTYPE, f'../../{real}'
            t.addfile(link)
        lost = tarfile.TarInfo('Training/happy/lost.png')
        lost.type, lost.linkname = tarfile.SYMTYPE, '/home/me/lost.png'
        t.addfile(lost)
    (tmp_path/'a.tar').write_bytes(b.getvalue())
    assert load_fer(tmp_path/'a.tar').fingerprint == faces.fingerprint
    assert '71 files left out' in load_note(tmp_path/'a.tar', capsys), 'photos/ and the lost link'


def load_note(path, capsys):
    capsys.readouterr()
    load_fer(path)
    return capsys.readouterr().out


@pytest.mark.parametrize('archive', [False, True])
def test_what_is_left_out_is_counted_and_named(tmp_path, faces, archive, capsys):
    files = {**pictures(faces), 'Training/happy/x.heic': b'x', 'Training/sad/y.svg': b'<',
             'notes.txt': b'z', 'a.md': b'', '.DS_Store': b''}
    write(tmp_path, {'a.zip': zipped(files)} if archive else files)
    said = load_note(tmp_path/'a.zip' if archive else tmp_path, capsys)
    assert '4 files left out: ' in said and said.count('\n') == 1
    assert ' ...' in said and '.DS_Store' not in said


def test_a_csv_says_what_lies_beside_it_unread(tmp_path, faces, capsys):
    write(tmp_path, {**pictures(faces[:1]), 'fer2013.csv': csv(faces)})
    assert '1 file left out: Training/' in load_note(tmp_path, capsys)


def test_a_path_prints_on_any_terminal(tmp_path, faces):
    "What the terminal cannot show of a folder's name is spelt out, and the faces are there"
    folder = tmp_path/'visages \N{GRINNING FACE}'
    folder.mkdir()
    (folder/'fer2013.csv').write_bytes(csv(faces[:20]))
    code = 'import sys; from fer_nbdev.data import load_fer; print(len(load_fer(sys.argv[1])))'
    env = dict(os.environ, PYTHONIOENCODING='ascii')
    r = subprocess.run([sys.executable, '-c', code, folder], env=env, capture_output=True,
                       text=True)
    assert r.returncode == 0, r.stderr
    assert 'GRINNING FACE' in r.stdout and r.stdout.splitlines()[-1] == '20'
