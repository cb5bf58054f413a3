"Drawn faces: bad input, and properties that are not worth a reader's time"
import numpy as np
import pytest
from fer_nbdev.core import EMOTIONS
from fer_nbdev.drawing import UNITS, draw_emoji, draw_faces, _unit_strengths
from fer_nbdev.synthetic import VARIANTS, draw_face, expression_region, synthetic_faces


def clean(n, **kw): return synthetic_faces(n, duplicates=0, label_errors=0, **kw)


@pytest.mark.parametrize('call, says', [
    (lambda: synthetic_faces(9), 'n=9: expected'),
    (lambda: synthetic_faces(0), 'n=0: expected'),
    (lambda: synthetic_faces(20.5), 'n=20.5: expected'),
    (lambda: synthetic_faces(20, difficulty=1.1), 'difficulty=1.1: expected'),
    (lambda: synthetic_faces(20, difficulty=-.1), 'difficulty=-0.1: expected'),
    (lambda: synthetic_faces(20, difficulty=float('nan')), 'difficulty=nan: expected'),
    (lambda: synthetic_faces(20, duplicates=.9), 'duplicates=0.9: expected'),
    (lambda: synthetic_faces(20, label_errors=-1), 'label_errors=-1: expected'),
    (lambda: draw_face('bored'), "unknown emotion 'bored'"),
    (lambda: draw_face('hapy'), r"unknown emotion 'hapy', .*; did you mean 'happy'\?"),
    (lambda: draw_face('happy', yav=3), r"unknown \['yav'\], .*; did you mean 'yaw'\?"),
    (lambda: draw_face('happy', tilt=3), r"unknown \['tilt'\]"),
    (lambda: draw_face('happy', variant=7), 'variant 7: '),
    (lambda: draw_face('happy', variant=-1), 'variant -1: '),
    (lambda: draw_face('happy', size=0), 'size=0: expected a whole number'),
    (lambda: draw_face('happy', size='48'), "size='48': expected a whole number"),
    (lambda: synthetic_faces(20, size=24.5), 'size=24.5: expected a whole number'),
    (lambda: draw_emoji('happy', -3), 'size=-3: expected a whole number'),
    (lambda: draw_face('happy', variant='12+99'), "'12\\+99': unit 99"),
    (lambda: draw_face('happy', variant='smile'), "'smile': "),
])
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says): call()

@pytest.mark.parametrize('n', [10, 23, 60, 300])
def test_small_sets(n):
    f = synthetic_faces(n, random_state=2)
    assert len(f)==n and set(f.split)=={'train','valid','test'} and f.images.shape==(n,48,48)
    if n < 200: return
    for split in ('train','valid','test'):
        labels = f.info.true_label[f.split == split]
        assert (np.bincount(labels, minlength=7) > 0).all(), split

def test_shares_and_order():
    f = clean(500)
    assert (f.info.duplicate_of==-1).all() and not f.info.label_error.any()
    assert [(f.split==s).sum() for s in ('train','valid','test')]==[400,50,50]
    for e in EMOTIONS: assert set(f.info.variant[f.emotions == e]) == set(VARIANTS[e]), e

def test_planted():
    f = synthetic_faces(1000, duplicates=.1, label_errors=.05)
    assert f.info.label_error.sum()==50 and 90<=(f.info.duplicate_of>=0).sum()<=100
    near = np.flatnonzero(f.info.duplicate=='near')
    a,b = f.images[near].astype(float),f.images[f.info.duplicate_of[near]].astype(float)
    assert (a!=b).any((1,2)).all()
    other = f.images[np.roll(f.info.duplicate_of[near], 1)].astype(float)
    assert np.median(abs(a-b).mean((1,2)))<.5*np.median(abs(a-other).mean((1,2)))
    across = f.split[f.info.duplicate_of[near]]!=f.split[near]
    assert 0<across.sum()<len(near)

def test_redrawn_from_info():
    f = clean(60, difficulty=0)
    again,masks = draw_faces(f.info.assign(noise=0))
    assert (masks==f.masks).all() and abs(again.astype(int)-f.images).max()<10
    assert draw_faces(f.info[:2], size=200)[0].shape==(2,200,200)

def test_each_unit_is_seen():
    for unit in UNITS:
        _,mask = draw_face('neutral', variant=str(unit), random_state=3, mask=True)
        assert 5<mask.sum()<1200, unit
    assert not draw_face('neutral', mask=True)[1].any()

def test_stronger_changes_more():
    area = [draw_face('fear', intensity=i, mask=True)[1].sum() for i in (0,.3,1)]
    assert area[0]==0 and area[0]<area[1]<area[2]
    assert _unit_strengths(['1+4'], .5)[4].tolist() == [[.5]]

def test_leaves_numpys_state_alone():
    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    synthetic_faces(20)
    assert np.random.rand() == expected


@pytest.mark.parametrize('size', [24, 64])
def test_another_size(size):
    "All that is drawn has the size that was asked for; the people stay the same"
    f = synthetic_faces(40, size=size, duplicates=.2)
    assert f.images.shape == f.masks.shape == (40, size, size)
    assert set(f.info.duplicate) == {'', 'exact', 'near'}
    assert expression_region(f.info, size).shape == (40, size, size)
    assert clean(40, size=size).info.equals(clean(40).info)
