"Every form in which people have FER-2013 gives the same faces, here written from drawn ones"
import io, os, tarfile, zipfile
from pathlib import Path
import cv2
import numpy as np
import pandas as pd
import pytest
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev.data import SPLITS, VOTES, complete_splits, fingerprints, load_fer, load_fingerprints, match_splits
from fer_nbdev.synthetic import synthetic_faces

USAGE = {v: k for k, v in SPLITS.items()}
VARIANTS = dict(angry='Anger', disgust='DISGUSTED', fear='fearful', happy='Happiness', sad='sadness', surprise='Surprised', neutral='Neutral')


@pytest.fixture(scope='module')
def faces():
    f = synthetic_faces(210)
    return f[np.argsort([('train', 'valid', 'test').index(s) for s in f.split], kind='stable')]


def csv(f, head='emotion,pixels,Usage', columns='lpu', quote='', end='\n', bom=''):
    part = dict(l=lambda i: str(f.labels[i]), p=lambda i: quote+' '.join(map(str, f.images[i].ravel()))+quote, u=lambda i: USAGE[f.split[i]])
    return (bom+end.join([head, *(','.join(part[c](i) for c in columns) for i in range(len(f)))])+end).encode()


def votes_csv(f):
    d = pd.DataFrame(np.arange(10)+np.arange(len(f))[:, None] % 2, columns=VOTES)
    d.insert(0, 'Usage', [USAGE[s] for s in f.split])
    d.insert(1, 'Image name', [f'fer{i:07}.png' for i in range(len(f))])
    return d.to_csv(index=False).encode()


def pictures(f, ending='.png', split=USAGE, names=dict(zip(EMOTIONS, EMOTIONS)), root=''):
    return {f'{root}{split[s]}/{names[e]}/{i}{ending}': cv2.imencode(ending, im, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
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
    data = [cv2.imencode('.webp', cv2.cvtColor(im, cv2.COLOR_GRAY2RGB), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes() for im in f.images]
    d = pd.DataFrame(dict(usage=pd.Categorical([USAGE[s] for s in f.split]), emotion=f.labels.astype(np.int8), image=[dict(bytes=x, path=None) for x in data] if struct else data))
    if struct:
        d['row'], d['blurred'] = np.arange(len(f)), np.arange(len(f)) == 3
        for i, v in enumerate(VOTES): d[f'ferplus_{v}'] = np.full(len(f), i, np.int8)
    d.to_parquet(b)
    return b.getvalue()


def parquet_parts(f): return {f'fer2013-{s}.parquet': parquet(f[f.split == s]) for s in ('train', 'valid', 'test')}


NEW = dict(train='train', valid='valid', test='test')
FORMS = { # what: (where load_fer is pointed, function of the faces -> files)
    'fer2013.csv': ('fer2013.csv', lambda f: {'fer2013.csv': csv(f)}),
    'fer2013.csv in its folder': ('', lambda f: {'fer2013.csv': csv(f), 'README': b'hello', 'fer2013.bib': b'@'}),
    'fer2013.csv of Windows': ('fer2013.csv', lambda f: {'fer2013.csv': csv(f, end='\r\n', bom='\ufeff')}),
    'fer2013.csv with quotes': ('fer2013.csv', lambda f: {'fer2013.csv': csv(f, quote='"', head='"emotion","pixels","Usage"')}),
    'fer2013.csv without a last newline': ('fer2013.csv', lambda f: {'fer2013.csv': csv(f)[:-1]}),
    'icml_face_data.csv': ('icml_face_data.csv', lambda f: {'icml_face_data.csv': csv(f, 'emotion, Usage, pixels', 'lup')}),
    "the challenge's folder": ('', lambda f: {'icml_face_data.csv': csv(f, 'emotion, Usage, pixels', 'lup'), 'train.csv': csv(f, 'emotion,pixels', 'lp'), 'test.csv': csv(f, 'pixels', 'p')}),
    'a csv with another name': ('mine.csv', lambda f: {'mine.csv': csv(f)}),
    'zip of the csv': ('archive.zip', lambda f: {'archive.zip': zipped({'fer2013/fer2013.csv': csv(f), '__MACOSX/._fer2013.csv': b'x'})}),
    'tar.gz of the csv': ('fer2013.tar.gz', lambda f: {'fer2013.tar.gz': tarred({'fer2013/README': b'hello', 'fer2013/fer2013.csv': csv(f)})}),
    'Training, PublicTest, PrivateTest': ('', lambda f: pictures(f)),
    'train, valid, test': ('', lambda f: pictures(f, split=NEW, names=VARIANTS)),
    'folders deeper down': ('', lambda f: pictures(f, root='data/fer/', names=VARIANTS)),
    'lossless webp': ('', lambda f: pictures(f, '.webp')),
    'zip of folders': ('faces.zip', lambda f: {'faces.zip': zipped(pictures(f, root='fer2013/'))}),
    'tar of folders': ('faces.tar', lambda f: {'faces.tar': tarred(pictures(f, names=VARIANTS), 'w')}),
    'tgz of folders': ('faces.tgz', lambda f: {'faces.tgz': tarred(pictures(f))}),
    'a parquet file': ('fer.parquet', lambda f: {'fer.parquet': parquet(f)}),
    'a parquet file with bytes alone': ('fer.parquet', lambda f: {'fer.parquet': parquet(f, struct=False)}),
    'zip of parquet': ('fer.zip', lambda f: {'fer.zip': zipped({'fer.parquet': parquet(f)})}),
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
    assert {'row', 'blurred'} <= set(got.info)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*')) == before, 'nothing is written beside the data'


def test_folder_of_parquet(tmp_path, faces):
    files = parquet_parts(faces)
    write(tmp_path, files)
    got = load_fer(tmp_path)
    assert len(got) == len(faces) and (got.split == 'valid').sum() == (faces.split == 'valid').sum()
    assert (got.votes == np.arange(10)).all() and got.info.blurred.sum() == 3


def test_train_csv_gets_a_seeded_stratified_valid(tmp_path, faces, capsys):
    f = faces[faces.split == 'train']
    write(tmp_path, {'train.csv': csv(f, 'emotion,pixels', 'lp')})
    a, b = load_fer(tmp_path/'train.csv'), load_fer(tmp_path/'train.csv')
    said = capsys.readouterr().out
    assert a.fingerprint == b.fingerprint and (a.images == f.images).all()
    assert 'no usage' in said and 'seed 0' in said and f"{(a.split == 'valid').sum()} of its faces" in said
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
    assert (got.info.blurred == (got.votes[:, VOTES.index('NF')] == 10)).all() and 0 < got.info.blurred.sum() < len(got)


def test_rows_that_ferplus_dropped_are_blurred(tmp_path, faces):
    d = pd.read_csv(io.BytesIO(votes_csv(faces)))
    d['NF'] = 0
    d.loc[[2, 5], list(VOTES)] = [0]*9+[10]
    d.loc[7, 'Image name'] = None
    write(tmp_path, {'fer2013.csv': csv(faces), 'fer2013new.csv': d.to_csv(index=False).encode()})
    assert np.flatnonzero(load_fer(tmp_path).info.blurred).tolist() == [2, 5, 7]
    (tmp_path/'fer2013new.csv').unlink()
    assert not load_fer(tmp_path).info.blurred.any(), 'nobody can say without votes'


def test_train_and_test_folders_get_a_valid(tmp_path, faces, capsys):
    f = faces[faces.split != 'valid']
    write(tmp_path, pictures(f, split=NEW))
    got = load_fer(tmp_path)
    said = capsys.readouterr().out
    assert 'no validation folder' in said and 'seed 0' in said
    assert (got.split == 'test').sum() == (f.split == 'test').sum()
    assert (got.split == 'valid').sum() > 0


def test_fingerprints_in_the_package():
    t = load_fingerprints()
    assert {k: len(v) for k, v in t.items() if k != 'test'} == dict(exact=7178, near=7178, label=7178, split=7178)
    assert (t['split'] == 'valid').sum() == (t['split'] == 'test').sum() == 3589
    assert np.bincount(t['label'][t['split'] == 'valid']).tolist() == [467, 56, 496, 895, 653, 415, 607]
    assert np.bincount(t['label'][t['split'] == 'test']).tolist() == [491, 55, 528, 879, 594, 416, 626]


@pytest.fixture(scope='module')
def seven_thousand(): return synthetic_faces(7400)


def test_test_folder_of_7178_is_told_apart(seven_thousand, monkeypatch):
    f = seven_thousand
    split = np.where(np.arange(len(f)) < 222, 'train', np.where(np.arange(len(f)) % 2, 'valid', 'test'))
    exact, near = fingerprints(f.images)
    rest = split != 'train'
    monkeypatch.setattr('fer_nbdev.data.load_fingerprints', lambda: dict(exact=exact[rest], near=near[rest], label=f.labels[rest], split=split[rest]))
    got, notes = complete_splits(f.images, f.labels, np.where(rest, 'test', 'train'))
    assert (got == split).mean() > .97 # of equal pictures nobody can tell which is which
    assert [(got == s).sum() for s in ('train', 'valid', 'test')] == [222, 3589, 3589]
    assert 'PublicTest and PrivateTest together' in notes[0]


def test_another_test_folder_of_7178_stays_as_it_is(seven_thousand):
    f = seven_thousand
    got, notes = complete_splits(f.images, f.labels, np.where(np.arange(len(f)) < 222, 'train', 'test'))
    assert (got[222:] == 'test').all() and 'no validation folder' in notes[0]


def test_each_fingerprint_is_used_once():
    im = np.stack([np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)]*3)
    exact, near = fingerprints(im[:2])
    got = match_splits(im, [3, 3, 3], dict(exact=exact, near=near, label=np.array([3, 3]), split=np.array(['valid', 'test'])))
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
