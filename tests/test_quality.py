"The edges of finding duplicates: flat faces, empty splits, larger faces, order; the planted truth"
import cv2
import numpy as np
import pytest
from fer_nbdev.core import Faces
from fer_nbdev.files import phash
from fer_nbdev.quality import clean_split, find_duplicates, find_leaks, near_pairs, _pixel_hash, similarity
from fer_nbdev.synthetic import synthetic_faces

COLUMNS = ['a', 'b', 'split_a', 'split_b', 'kind', 'distance', 'label_a', 'label_b']


@pytest.fixture(scope='module')
def drawn(): return synthetic_faces(600, duplicates=.1, random_state=3)


def source(f): return np.where(f.info.duplicate_of >= 0, f.info.duplicate_of, np.arange(len(f)))


def test_planted_leaks_are_found_and_hardly_another(drawn):
    d, s = find_leaks(drawn), source(drawn)
    met = set(zip(d.a, d.b))
    planted = [(min(i, s[i]), max(i, s[i])) for i in range(len(drawn))
               if s[i] != i and drawn.split[i] != drawn.split[s[i]]]
    assert len(planted) > 10
    assert np.mean([p in met for p in planted]) >= .95
    assert np.mean(s[d.a] == s[d.b]) >= .95


def test_columns_and_order(drawn):
    d = find_leaks(drawn)
    rank = dict(train=0, valid=1, test=2)
    assert list(d) == COLUMNS
    assert (d.split_a.map(rank) < d.split_b.map(rank)).all()
    assert (d.distance[d.kind == 'exact'] == 0).all() and d.kind.isin(['exact', 'near']).all()
    assert (drawn.labels[d.a] == d.label_a).all() and (drawn.split[d.b] == d.split_b).all()
    assert not d.duplicated(['a', 'b']).any()


def test_leaks_are_the_duplicates_across_splits(drawn):
    d = find_duplicates(drawn)
    across = d[d.split_a != d.split_b]
    leaks = find_leaks(drawn)
    pairs, leaked = (set(map(frozenset, zip(d.a, d.b))) for d in (across, leaks))
    assert pairs == leaked


def test_order_of_the_faces_does_not_matter(drawn):
    p = np.random.default_rng(0).permutation(len(drawn))
    d, e = find_leaks(drawn), find_leaks(drawn[p])
    assert set(map(frozenset, zip(d.a, d.b))) == set(map(frozenset, zip(p[e.a], p[e.b])))


def test_clean_split_keeps_the_test_set_and_cleans_train(drawn):
    c = clean_split(drawn)
    for s in ('valid', 'test'): assert c.subset(s).fingerprint == drawn.subset(s).fingerprint
    assert not (find_leaks(c).split_a == 'train').any()
    assert len(c) < len(drawn) and c.masks is not None and len(c.info) == len(c)
    assert clean_split(c).fingerprint == c.fingerprint


def test_flat_faces_are_exact_duplicates_only():
    x = np.stack([np.full((48, 48), grey, np.uint8) for grey in (0, 0, 255, 1)])
    d = find_leaks(Faces(x, [0]*4, ['train', 'test', 'test', 'valid']))
    assert d[['a', 'b', 'kind']].values.tolist() == [[0, 1, 'exact']]


@pytest.mark.parametrize('splits', [['train'], ['test'], ['valid', 'test']])
def test_without_a_train_or_a_test_set(drawn, splits):
    f = drawn[np.isin(drawn.split, splits)]
    assert clean_split(f).fingerprint == f.fingerprint
    assert list(find_leaks(f)) == COLUMNS


def test_no_face_at_all(drawn):
    f = drawn[np.zeros(len(drawn), bool)]
    assert len(find_leaks(f)) == len(find_duplicates(f)) == len(clean_split(f)) == 0


def test_one_face_with_duplicates_in_both(drawn):
    im = drawn.images[0]
    near = np.clip(im.astype(int)+5, 0, 255).astype(np.uint8)
    split = ['train', 'train', 'valid', 'test']
    d = find_leaks(Faces(np.stack([im, near, im, near]), [0, 1, 2, 0], split))
    assert d[['a', 'b', 'kind']].values.tolist() == [
        [0, 2, 'exact'], [0, 3, 'near'], [1, 2, 'near'], [1, 3, 'exact'], [2, 3, 'near']]


def test_larger_faces(drawn):
    x = np.stack([cv2.resize(im, (96, 96), interpolation=cv2.INTER_CUBIC)
                  for im in drawn.images[:40]])
    d = find_leaks(Faces(np.concatenate([x, x[:3]]), [0]*43, ['train']*40+['test']*3))
    assert {(0, 40), (1, 41), (2, 42)} <= set(zip(d.a, d.b))


@pytest.mark.parametrize('change', ['jpg', 'light', 'shift', 'crop', 'turn', 'blur'])
def test_what_duplicates_survive(change):
    im = synthetic_faces(10, difficulty=0).images[1] # no noise, which no resampling keeps
    def warp(deg, scale):
        m = cv2.getRotationMatrix2D((24, 24), deg, scale)
        return cv2.warpAffine(im, m, (48, 48), borderMode=cv2.BORDER_REFLECT)

    def jpg(): return cv2.imencode('.jpg', im, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]

    other = dict(jpg=lambda: cv2.imdecode(jpg(), 0), light=lambda: (im*.7+20).astype(np.uint8),
                 shift=lambda: np.roll(im, 2, 1), crop=lambda: warp(0, 1.06),
                 turn=lambda: warp(3, 1), blur=lambda: cv2.GaussianBlur(im, (0, 0), .6))[change]()
    assert similarity(im, other) >= .8 and similarity(other, im) >= .8


def test_hashes_of_other_sizes():
    x = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    for size in (8, 12, 16, 24):
        h = phash(x, size)
        a, b, d = near_pairs(h, h, size*size)
        assert len(a) == 25 and (d == (h[a] != h[b]).sum((1, 2))).all()


def test_pixel_hash_tells_single_pixels_apart():
    x = np.zeros((2, 48, 48), np.uint8)
    x[1, 47, 47] = 1
    assert len(set(_pixel_hash(x))) == 2
