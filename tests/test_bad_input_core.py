"What does not fit together as faces: one error says what it is and what was expected"
import numpy as np
import pandas as pd
import pytest
from fer_nbdev.core import EMOTIONS, FIVE, Faces, suggest
from fer_nbdev.drawing import draw_emoji

IMAGES, LABELS = np.zeros((3, 48, 48), np.uint8), np.array([0, 3, 6])


def faces(images=IMAGES, labels=LABELS, **kw): return Faces(images, labels, **kw)


def table(a): return pd.DataFrame(np.asarray(a).reshape(len(a), -1))


VOTES, MASKS = np.ones((3, 10), int), np.zeros((3, 48, 48), bool)

BAD = { # what: (call, parts of the message)
    'images of floats': (lambda: faces(IMAGES/255),
        ['images: float64', '(3, 48, 48)', 'expected uint8']),
    'images in colour': (lambda: faces(np.zeros((3, 48, 48, 3), np.uint8)),
        ['images: uint8 of shape (3, 48, 48, 3)', '(N, H, W)']),
    'one image': (lambda: faces(IMAGES[0]), ['(48, 48)', '(N, H, W)']),
    'too few labels': (lambda: faces(labels=LABELS[:2]),
        ['labels: shape (2,)', 'expected (3,) for 3 images']),
    'labels one-hot': (lambda: faces(labels=np.eye(7)[LABELS]),
        ['labels: shape (3, 7)', 'expected (3,)']),
    'label 7': (lambda: faces(labels=[0, 7, 1]), ['face 1 has 7', 'expected 0 to 6']),
    'labels with a gap': (lambda: faces(labels=[0, np.nan, 1]),
        ['labels: float64', 'expected integers']),
    'label -1': (lambda: faces(labels=[0, 1, -1]), ['face 2 has -1', 'expected 0 to 6']),
    'label beyond two classes': (lambda: faces(labels=[0, 1, 2], classes=('happy', 'sad')),
        ['face 2 has 2', 'expected 0 to 1', 'happy']),
    'an unknown split': (lambda: faces(split='training'),
        ["unknown ['training']", "'train', 'valid' or 'test'"]),
    'an unknown split among others': (lambda: faces(split=['train', 'dev', 'test']),
        ["unknown ['dev']"]),
    'no split': (lambda: faces(split=None), ["split: unknown ['None']", "'train', 'valid'"]),
    'no split among others': (lambda: faces(split=['train', None, 1]),
        ["split: unknown ['1', 'None']"]),
    'too few splits': (lambda: faces(split=['train', 'test']),
        ['split: shape (2,), expected (3,) for 3 images']),
    'split as a column': (lambda: faces(split=np.array([['train']]*3)),
        ['split: shape (3, 1), expected (3,)']),
    'too few votes': (lambda: faces(votes=VOTES[:2]),
        ['votes: shape (2, 10), expected (3, 10) for 3 images']),
    'votes for eight answers': (lambda: faces(votes=VOTES[:, :8]),
        ['votes: shape (3, 8), expected (3, 10)']),
    'votes as a table': (lambda: faces(votes=table(VOTES)),
        ['votes: a DataFrame, expected an array of shape (3, 10)', 'to_numpy()']),
    'votes that are words': (lambda: faces(votes=VOTES.astype(str)), ['votes: <U', 'numbers']),
    'a negative vote': (lambda: faces(votes=VOTES-[[0], [2], [0]]),
        ['votes: face 1 has a negative']),
    'a missing vote': (lambda: faces(votes=VOTES*[[1], [1], [np.nan]]),
        ['votes: face 2 has', 'missing']),
    'too many masks': (lambda: faces(masks=np.zeros((4, 48, 48), bool)),
        ['masks: shape (4, 48, 48), expected (3, 48, 48) for 3 images']),
    'masks of another size': (lambda: faces(masks=np.zeros((3, 24, 24), bool)),
        ['masks: shape (3, 24, 24), expected (3, 48, 48)']),
    'masks as a table': (lambda: faces(masks=table(MASKS)), ['masks: a DataFrame']),
    'masks of 0 and 255': (lambda: faces(masks=IMAGES), ['masks: uint8, expected bool']),
    'too little info': (lambda: faces(info=pd.DataFrame(dict(row=[0, 1]))),
        ['info: 2 rows for 3 images']),
    'info as a dict': (lambda: faces(info=dict(row=[0, 1, 2])),
        ['info: dict, expected a DataFrame']),
    'a class twice': (lambda: faces(classes=('happy', 'sad', 'happy', 'a', 'b', 'c', 'd')),
        ["classes: ['happy'] more than once"]),
    'one word for classes': (lambda: faces(classes='happy'), ["classes: 'happy', expected a list"]),
    'no classes': (lambda: faces().with_classes(()), ['classes: (), expected a list of names']),
    'numbers for classes': (lambda: faces(classes=range(7)), ['classes: range(0, 7), expected']),
    'a class twice in with_classes': (lambda: faces().with_classes(('happy', 'happy')),
        ["classes: ['happy'] more than once"]),
    'unknown classes': (lambda: faces().with_classes(('happy', 'bored')),
        ["unknown classes ['bored']", 'angry']),
    'a class with a typo': (lambda: faces().with_classes(('happy', 'suprise')),
        ["unknown classes ['suprise']", "; did you mean 'surprise'?"]),
    'a replacement that does not fit': (lambda: faces().replace(labels=[1, 2]),
        ['labels: shape (2,), expected (3,)']),
    'an unknown subset': (lambda: faces().subset('dev'),
        ["no face in split 'dev'", 'Faces(faces: 3']),
    'an empty subset': (lambda: faces().subset('test'), ["no face in split 'test'", '3 train']),
    'an unknown emoji': (lambda: draw_emoji('bored'),
        ["unknown emotion 'bored'", 'angry', 'neutral']),
    'an emoji with a typo': (lambda: draw_emoji('Happy'), ["; did you mean 'happy'?"]),
}


@pytest.mark.parametrize('what', BAD)
def test_bad_input(what):
    call, parts = BAD[what]
    with pytest.raises(ValueError) as e: call()
    assert all(p in str(e.value) for p in parts), str(e.value)


@pytest.mark.parametrize('index', [[2, 0, 1], [10, 20, 30], [0, 0, 0], ['a', 'b', 'c']])
def test_the_index_of_info_is_not_used(index):
    "A table that was sorted, filtered or joined keeps its rows with their faces"
    info = pd.DataFrame(dict(row=[7, 8, 9]), index=index)
    f = faces(info=info)
    assert f.frame.row.tolist() == [7, 8, 9]
    assert f.frame.emotion.tolist() == ['angry', 'happy', 'neutral']
    assert f[[2, 0]].frame.row.tolist() == [9, 7]
    assert f.replace(info=info[::-1]).frame.row.tolist() == [9, 8, 7]
    assert info.index.tolist() == index, 'the table of the caller changed'


def test_no_face_at_all():
    "An empty selection keeps the shapes of all that belongs to a face"
    f = faces(votes=VOTES, masks=MASKS, info=pd.DataFrame(dict(row=[0, 1, 2])))[[]]
    assert len(f) == 0 and f.votes.shape == (0, 10) and f.masks.shape == (0, 48, 48)
    assert list(f.frame) == ['emotion', 'split', 'row'] and len(f.fingerprint) == 12


def test_replace_keeps_all_that_it_is_not_given():
    info = pd.DataFrame(dict(not_a_face=[False, True, False]))
    f = faces(votes=VOTES, masks=MASKS, info=info, name='three', split='valid')
    g = f.replace(labels=[1, 1, 1])
    assert g.labels.tolist() == [1, 1, 1] and f.labels.tolist() == LABELS.tolist()
    assert (g.votes == VOTES).all() and (g.masks == MASKS).all() and g.info.equals(info)
    assert (g.name, g.classes, g.split.tolist()) == ('three', EMOTIONS, ['valid']*3)


def test_with_classes_takes_all_that_belongs_to_a_face():
    info = pd.DataFrame(dict(row=[0, 1, 2]))
    f = faces(labels=[0, 1, 3], votes=VOTES*[[1], [2], [3]], info=info).with_classes(FIVE)
    assert f.classes == FIVE and f.emotions.tolist() == ['angry', 'happy']
    assert f.info.row.tolist() == [0, 2] and f.votes[:, 0].tolist() == [1, 3]


def test_not_a_face():
    silent = faces(info=pd.DataFrame(dict(row=[0, 1, 2])))
    assert not faces().not_a_face.any() and not silent.not_a_face.any()
    f = faces(info=pd.DataFrame(dict(not_a_face=[True, None, False])))
    assert f.not_a_face.tolist() == [True, False, False]


@pytest.mark.parametrize('name, known, says', [
    ('smot', ['smote', 'adasyn'], "; did you mean 'smote'?"),
    ('SMALL', ['small', 'nano'], "; did you mean 'small'?"),
    ('balanced', ['weighted', 'balanced_softmax'], "; did you mean 'balanced_softmax'?"),
    ('zzz', ['small', 'nano'], ''), ('', ['small'], ''), (None, ['small'], ''), (3, {}, ''),
])
def test_suggest(name, known, says): assert suggest(name, known) == says
