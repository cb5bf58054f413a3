"What goes wrong when a learner is made, and the one sentence that says so"
import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip('torch')
from fer_nbdev.core import FIVE
from fer_nbdev.models import create_model
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.loaders import face_dls
from fer_nbdev.train import fer_learner, get_recipe, predict_faces

@pytest.fixture(scope='module')
def faces():
    f = synthetic_faces(300, random_state=0)
    return f[f.split!='test']

def no_face(faces):
    "All training faces are marked as no faces"
    return faces.replace(info=pd.DataFrame(dict(not_a_face=faces.split=='train')))

def five(faces): return fer_learner(faces.with_classes(FIVE), bs=64).dls

TABLE = {
    'test rows': (
        lambda f: fer_learner(synthetic_faces(50)),
        "of 'test' given to a learner; leave them out"),
    'no valid rows': (lambda f: fer_learner(f.subset('train')), "no face in split 'valid'"),
    'no train rows': (lambda f: fer_learner(f.subset('valid')), "no face in split 'train'"),
    'batch larger than data': (
        lambda f: fer_learner(f, bs=4096),
        "bs=4096 is larger than the training data"),
    'unknown timm network': (
        lambda f: create_model('timm:resnet81'),
        "unknown timm network 'resnet81'"),
    'unknown loss': (lambda f: fer_learner(f, loss='focl'), "; did you mean 'focal'?"),
    'unknown recipe': (
        lambda f: get_recipe('smal'),
        "; did you mean 'small'?"),
    'unknown weights': (
        lambda f: create_model('nano', weights='fre'),
        "expected None, 'fer' or 'imagenet'"),
    'no packaged weights': (
        lambda f: create_model('cifar_cnn', weights='fer'),
        "no packaged weights for 'cifar_cnn'"),
    'votes and mixup': (
        lambda f: get_recipe('nano', vote_weight=.5, mixup=.2),
        "vote_weight and mixup: a blend of two faces"),
    'floats to predict_faces': (
        lambda f: predict_faces(create_model('nano'), np.zeros((2,48,48))),
        "expected uint8 of shape (N, H, W)"),
    'no face to predict': (
        lambda f: predict_faces(create_model('nano'), f.images[:0]),
        "with at least one face"),
    'floats to predict': (
        lambda f: face_dls(f, bs=32).test_dl(np.zeros((2,48,48))),
        "expected uint8 of shape (N, H, W)"),
    'seed as text': (lambda f: fer_learner(f, seed='a'), "seed='a': expected a whole number"),
    'bs of 0': (lambda f: fer_learner(f, bs=0), "bs=0: expected a whole number, 1 or more"),
    'bs below 0': (lambda f: face_dls(f, bs=-5), "bs=-5: expected a whole number, 1 or more"),
    'bs not whole': (lambda f: face_dls(f, bs=32.), "bs=32.0: expected a whole number"),
    'bs a truth': (lambda f: face_dls(f, bs=True), "bs=True: expected a whole number"),
    'bs not given': (lambda f: face_dls(f, bs=None), "bs=None: expected a whole number"),
    'bs of 0 to predict': (lambda f: predict_faces(create_model('nano'), f.images, bs=0), "bs=0:"),
    'decay of 1': (
        lambda f: fer_learner(f, ema_decay=1.),
        "ema_decay=1.0: expected a number, from"),
    'power of 2': (lambda f: face_dls(f, balance_power=2), "balance_power=2: expected a number"),
    'votes below 0': (
        lambda f: get_recipe('nano', vote_weight=-1),
        "vote_weight=-1: expected a number"),
    'mixup as text': (lambda f: fer_learner(f, mixup='x'), "mixup='x': expected a number"),
    'wd is nan': (lambda f: fer_learner(f, wd=float('nan')), "wd=nan: expected a number"),
    'a misspelt augmentation': (
        lambda f: face_dls(f, 32, dict(rotate=5)),
        "expected None or a dict"),
    'no face to learn from': (
        lambda f: face_dls(no_face(f)),
        "are marked as no face (info.not_a_face)"),
    'classes unknown to it': (
        lambda f: five(f).test_dl(f),
        "of the classes ['disgust', 'fear'], which"),
}

@pytest.mark.parametrize('case', TABLE)
def test_one_clear_error(case, faces):
    f,message = TABLE[case]
    with pytest.raises(ValueError) as e: f(faces)
    assert message in str(e.value)

def test_unknown_model(faces):
    with pytest.raises(ValueError, match=r"did you mean \[?'nano'"): fer_learner(faces, 'nanno')
