"Whatever does not fit together as faces, one error says what and what was expected"
import numpy as np
import pandas as pd
import pytest
from fer_nbdev.core import Faces, draw_emoji

IMAGES, LABELS = np.zeros((3, 48, 48), np.uint8), np.array([0, 3, 6])


def faces(images=IMAGES, labels=LABELS, **kw): return Faces(images, labels, **kw)


BAD = { # what: (call, parts of the message)
    'images of floats': (lambda: faces(IMAGES/255), ['images: float64', '(3, 48, 48)', 'expected uint8']),
    'images in colour': (lambda: faces(np.zeros((3, 48, 48, 3), np.uint8)), ['images: uint8 of shape (3, 48, 48, 3)', '(N, H, W)']),
    'one image': (lambda: faces(IMAGES[0]), ['(48, 48)', '(N, H, W)']),
    'too few labels': (lambda: faces(labels=LABELS[:2]), ['labels: shape (2,)', 'expected (3,) for 3 images']),
    'labels one-hot': (lambda: faces(labels=np.eye(7)[LABELS]), ['labels: shape (3, 7)', 'expected (3,)']),
    'label 7': (lambda: faces(labels=[0, 7, 1]), ['face 1 has 7', 'expected 0 to 6']),
    'labels with a gap': (lambda: faces(labels=[0, np.nan, 1]), ['labels: float64', 'expected integers']),
    'label -1': (lambda: faces(labels=[0, 1, -1]), ['face 2 has -1', 'expected 0 to 6']),
    'label beyond two classes': (lambda: faces(labels=[0, 1, 2], classes=('happy', 'sad')), ['face 2 has 2', 'expected 0 to 1', 'happy']),
    'an unknown split': (lambda: faces(split='training'), ["unknown ['training']", "'train', 'valid' or 'test'"]),
    'an unknown split among others': (lambda: faces(split=['train', 'dev', 'test']), ["unknown ['dev']"]),
    'too few splits': (lambda: faces(split=['train', 'test']), ['split: 2 rows for 3 images']),
    'too few votes': (lambda: faces(votes=np.zeros((2, 10), int)), ['votes: 2 rows for 3 images']),
    'too many masks': (lambda: faces(masks=np.zeros((4, 48, 48), bool)), ['masks: 4 rows for 3 images']),
    'too little info': (lambda: faces(info=pd.DataFrame(dict(row=[0, 1]))), ['info: 2 rows for 3 images']),
    'unknown classes': (lambda: faces().with_classes(('happy', 'bored')), ["unknown classes ['bored']", 'angry']),
    'an unknown subset': (lambda: faces().subset('dev'), ["no face in split 'dev'", 'Faces(faces: 3']),
    'an empty subset': (lambda: faces().subset('test'), ["no face in split 'test'", '3 train']),
    'an unknown emoji': (lambda: draw_emoji('bored'), ["unknown emotion 'bored'", 'angry', 'neutral']),
}


@pytest.mark.parametrize('what', BAD)
def test_bad_input(what):
    call, parts = BAD[what]
    with pytest.raises(ValueError) as e: call()
    assert all(p in str(e.value) for p in parts), str(e.value)
