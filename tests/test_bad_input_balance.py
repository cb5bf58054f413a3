"Bad input to resampling and losses: one clear error that says what, where and how to mend it"
import numpy as np
import pandas as pd
import pytest
from fer_nbdev.core import Faces
from fer_nbdev.resample import _METHODS, resample, sampling_weights


def few(*counts, split='train', **kw):
    "Faces with `counts` of each class, all different"
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels),48,48), dtype=np.uint8)
    return Faces(images, labels, split, **kw)


def with_info(f, **columns): return f.replace(info=pd.DataFrame(columns))


@pytest.mark.parametrize('call, message', [
    (lambda: resample(few(9,1), 'smote'),
        "^smote: class 'disgust' has 1 training face, .* use method='random_over'"),
    (lambda: resample(few(9,1), 'borderline_smote'),
        "^borderline_smote: class 'disgust' has 1 training face,"),
    (lambda: resample(few(9,1), 'adasyn'), "^adasyn: class 'disgust' has 1 training face,"),
    (lambda: resample(few(9,4), 'smote'),
        "class 'disgust' has 4 training faces, .* needs 6; use k_neighbors=3 or"),
    (lambda: resample(few(9,4), 'adasyn'), "needs 6; use n_neighbors=3 or"),
    (lambda: resample(few(9,4), 'smot'),
        r"unknown method 'smot', expected one of \[.*\]; did you mean 'smote'\?"),
    (lambda: resample(few(9,4), None), "unknown method 'None'.*random_over"),
    (lambda: resample(few(9,4), ['smote']), "unknown method .*random_over"),
    (lambda: resample(few(9), 'smote'),
        "smote: 1 classes in the training split .*expected 2 or more"),
    (lambda: resample(few(9,4, split='valid'), 'random_over'),
        "random_over: 0 classes in the training split"),
    (lambda: resample(with_info(few(9,4), not_a_face=[False]*9+[True]*4), 'smote'),
        "smote: 1 classes .*FER\\+ calls no face are not counted"),
    (lambda: resample(few(9,4), 'random_over', {'disgusted': 20}),
        "unknown class 'disgusted', expected names out of .*; did you mean 'disgust'"),
    (lambda: resample(few(9,4), 'random_over', {9: 20}), "unknown class 9"),
    (lambda: resample(few(9,4), 'random_over', {'disgust': 2}), # imbalanced-learn's own words
        "^random_over: .*greater or equal"),
    (lambda: resample(few(9,4), 'random_over', {'disgust': 'many'}),
        "sampling_strategy: 'many' faces of class 'disgust', expected a whole number"),
    (lambda: resample(few(9,9), 'smote', {'disgust': 20.5}), "20.5 faces of class 'disgust'"),
    (lambda: resample(few(9,9), 'smote', None), "sampling_strategy: None, expected one of"),
    (lambda: resample(few(9,9), 'smote', lambda y: 3), "sampling_strategy: 3, expected one of"),
    (lambda: resample(few(9,9), 'smote', 'minorty'), "'minorty', .*; did you mean 'minority'"),
    (lambda: resample(few(9,9), 'smote', [1]), r"sampling_strategy: \[1\], expected"),
    (lambda: resample(few(9,8,7), 'smote', .5), "^smote: .*multi-class, use a dict"),
    (lambda: resample(few(9,9), 'smote', k_neighbors='5'),
        "^smote: k_neighbors='5', expected a whole number"),
    (lambda: resample(few(9,9), 'smote', k_neighbors=2.), "k_neighbors=2.0, expected a whole"),
    (lambda: resample(few(9,9), 'adasyn', n_neighbors=None), "^adasyn: n_neighbors=None, expected"),
    (lambda: resample(few(9,8), 'smote', k_neighbors=0), "^smote: The 'k_neighbors' .* Got 0"),
    (lambda: resample(few(9,8), 'smote', k_neighbour=2),
        "^smote: no option 'k_neighbour', .*; did you mean 'k_neighbors'"),
    (lambda: resample(few(9,8), 'smote', random_state='x'),
     "^smote: The 'random_state' .* Got 'x'"),
    (lambda: resample(few(9,8), 'borderline_smote', m_neighbors='x'),
        "^borderline_smote: The 'm_neighbors' .* Got 'x'"),
    (lambda: resample(few(9,8), 'random_under', replacement='yes'),
        "^random_under: The 'replacement' .* Got 'yes'"),
    (lambda: resample(few(9,8), 'random_over', shrinkage=.5),
        "random_over: shrinkage=0.5 would add noise .* leave it out"),
    (lambda: resample(few(9,8), 'random_over', shrinkage={1: .5}), "would add noise"),
    (lambda: resample(with_info(few(9,8), origin=['web']*17), 'random_over'),
        r"column 'origin' has \['web'\], .*; rename yours: .*rename\(columns"),
    (lambda: resample(with_info(few(9,8), origin=['face']*16+[None]), 'smote'),
        "column 'origin' has"),
    (lambda: sampling_weights([]), "expected integers of shape"),
    (lambda: sampling_weights([.5,1]), "labels: float64 of shape"),
    (lambda: sampling_weights(np.zeros((3,2),int)), r"shape \(3, 2\)"),
])
def test_resample(call, message):
    with pytest.raises(ValueError, match=message) as e: call()
    assert e.value.__cause__ is None
    assert e.value.__context__ is None or e.value.__suppress_context__


def origins(f): return f.info.origin.value_counts().to_dict()


def test_a_mixed_face_stays_mixed():
    once = resample(few(12,9), 'smote')
    assert origins(once) == dict(face=21, mixed=3)
    twice = resample(once, 'random_over', {'angry': 40, 'disgust': 40})
    assert (twice.info.origin[:24] == once.info.origin).all() and len(twice) == 80
    copies = twice[24:]
    known = {im.tobytes(): o for im, o in zip(once.images, once.info.origin)}
    is_mixed = [known[im.tobytes()] == 'mixed' for im in copies.images]
    assert any(is_mixed) and not all(is_mixed), 'this test says nothing'
    assert (copies.info.origin == np.where(is_mixed, 'mixed', 'copy')).all()


@pytest.mark.parametrize('second', ['random_under', 'smote', 'adasyn'])
def test_a_second_resampling_keeps_what_the_first_wrote(second):
    once = resample(few(20,9), 'random_over')
    assert origins(once) == dict(face=29, copy=11)
    f = resample(once, second, {'disgust': 15} if second == 'random_under' else {'disgust': 30})
    before = dict(zip((im.tobytes() for im in once.images), once.info.origin))
    for im, o in zip(f.images, f.info.origin):
        if im.tobytes() not in before: assert o == 'mixed'
    assert 'copy' in origins(f) and ('mixed' in origins(f)) == (second != 'random_under')


@pytest.mark.parametrize('method', _METHODS)
def test_what_is_no_face_is_left_alone(method):
    "Rows that FER+ calls no face stay: not mixed, copied or left out, and not counted"
    f = few(30,16)
    bad = np.r_[np.arange(6), 40:46] # all white, so that any mixture of them could be told
    images = f.images//2
    images[bad] = 255
    f = with_info(f.replace(images=images), not_a_face=np.isin(np.arange(46), bad), row=range(46))
    r = resample(f, method)
    white = (r.images == 255).all((1,2))
    assert (r.not_a_face == white).all() and white.sum() == 12
    assert r.images[~white].max() < 128, 'a mixture with something that is no face'
    assert r.info[white].row.tolist() == bad.tolist()
    n = r[~r.not_a_face].counts
    assert abs(n[0]-n[1]) < (8 if method == 'adasyn' else 1), n


def test_nothing_is_known_about_a_mixed_face():
    f = few(12,9, votes=np.ones((21,10), int))
    f = with_info(f, not_a_face=[False]*21, label_error=[True, False, False]*7, row=range(21),
                  yaw=np.linspace(0, 1, 21), variant=['12']*21)
    r = resample(f, 'smote')
    new = r.info[r.info.origin == 'mixed']
    assert len(new) and new.label_error.isna().all(), 'not called free of label errors'
    assert (new.row == -1).all() and new.yaw.isna().all() and new.variant.isna().all()
    assert r.votes[len(f):].sum() == 0 and not r.not_a_face.any()
    assert r.info.row.dtype.kind == 'i'
    assert r.info.label_error[:21].tolist() == [True, False, False]*7
    assert len(resample(r, 'smote', {'angry': 20, 'disgust': 20})) == 40


def loss(name='cross_entropy', target=None, logits=None, **kw):
    torch = pytest.importorskip('torch')
    from fer_nbdev.losses import create_loss
    logits = torch.zeros(4,7) if logits is None else logits
    target = torch.arange(4) if target is None else torch.as_tensor(target)
    return create_loss(name, **kw)(logits, target)


@pytest.mark.parametrize('call, message', [
    (lambda: loss(target=[0,1,7,3]), "face 2 has class 7, expected 0 to 6"),
    (lambda: loss('focal', target=[0,-1,2,3]), "face 1 has class -1"),
    (lambda: loss(target=[0.,1.,2.,3.]), "expected integers"),
    (lambda: loss(target=np.ones((4,10),'float32')), "10 classes in shape .*but 7 logits"),
    (lambda: loss('focl'), r"unknown loss 'focl', expected one of .*; did you mean 'focal'\?"),
    (lambda: loss('logit_adjusted'), "; did you mean 'logit_adjustment'"),
    (lambda: loss('balanced'), "; did you mean 'balanced_softmax'"),
    (lambda: loss('xyz'), r"unknown loss 'xyz', expected one of \[[^]]*\]$"),
    (lambda: loss('weighted'), r"needs counts: create_loss\('weighted', faces.subset"),
    (lambda: loss('weighted', counts=[3,0,1,1,1,1,1]), "each above 0; leave empty classes out"),
    (lambda: loss('weighted', counts=[3,np.nan,1,1,1,1,1]), "counts: .*each above 0"),
    (lambda: loss('focal', gamma=np.nan), "gamma: nan"),
    (lambda: loss('weighted', counts=[3,1]), "2 classes in the counts, but 7 logits"),
    (lambda: loss('logit_adjustment', counts=[3,1]), "2 classes in the counts, but 7 logits"),
    (lambda: loss('focal', gama=1), "no option 'gama', expected one of .*; did you mean 'gamma'"),
    (lambda: loss('focal', gamma=-1), "gamma: -1"),
    (lambda: loss('effective_number', counts=[1]*7, beta=2), "beta: 2"),
    (lambda: loss('label_smoothing', eps=1.5), "eps: 1.5"),
    (lambda: loss(reduction='average'), "reduction: 'average'"),
])
def test_losses(call, message):
    with pytest.raises(ValueError, match=message): call()


def test_registering_a_loss_is_one_line(monkeypatch):
    "A line in the table of `losses` is all that `create_loss`, its errors and a learner need"
    torch = pytest.importorskip('torch')
    from fer_nbdev import losses
    from fer_nbdev.synthetic import synthetic_faces
    from fer_nbdev.train import fer_learner
    monkeypatch.setitem(losses._losses, 'twice', lambda counts, times=2, **kw:
        losses.WeightedCrossEntropy(times*torch.ones(len(counts)), **kw))
    assert 'twice' in losses.list_losses()
    z, y = torch.randn(5,7), torch.tensor([0,1,2,3,4])
    plain = losses.create_loss('cross_entropy')(z, y)
    assert losses.create_loss('twice', [1]*7, times=3)(z, y).item() == pytest.approx(3*plain.item())
    with pytest.raises(ValueError, match="no option 'tims', .*; did you mean 'times'"):
        losses.create_loss('twice', [1]*7, tims=3)
    drawn = synthetic_faces(100)
    drawn = drawn[drawn.split!='test']
    learn = fer_learner(drawn, 'cifar_cnn', loss='twice', bs=16)
    assert isinstance(learn.loss_func, losses.WeightedCrossEntropy)
