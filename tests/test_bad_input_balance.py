"Bad input to resampling and losses: one clear error that says what, where and how to mend it"
import numpy as np
import pytest
from fer_nbdev.core import Faces
from fer_nbdev.resample import resample, sampling_weights


def few(*counts, split='train', **kw):
    "Faces with `counts` of each class, all different"
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels),48,48), dtype=np.uint8)
    return Faces(images, labels, split, **kw)


@pytest.mark.parametrize('call, message', [
    (lambda: resample(few(9,1), 'smote'), "smote: class 'disgust' has 1 training face, .* use method='random_over'"),
    (lambda: resample(few(9,1), 'borderline_smote'), "borderline_smote: class 'disgust' has 1 training face,"),
    (lambda: resample(few(9,1), 'adasyn'), "adasyn: class 'disgust' has 1 training face,"),
    (lambda: resample(few(9,4), 'smote'), "class 'disgust' has 4 training faces, .* needs 6; use k_neighbors=3 or"),
    (lambda: resample(few(9,4), 'adasyn'), "needs 6; use n_neighbors=3 or"),
    (lambda: resample(few(9,4), 'smot'), "unknown method 'smot', did you mean 'smote'"),
    (lambda: resample(few(9,4), None), "unknown method 'None'.*random_over"),
    (lambda: resample(few(9), 'smote'), "smote: 1 classes in the training split .*expected 2 or more"),
    (lambda: resample(few(9,4, split='valid'), 'random_over'), "random_over: 0 classes in the training split"),
    (lambda: resample(few(9,4), 'random_over', {'disgusted': 20}), "unknown class 'disgusted', expected names out of"),
    (lambda: resample(few(9,4), 'random_over', {9: 20}), "unknown class 9"),
    (lambda: resample(few(9,4), 'random_over', {'disgust': 2}), "greater or equal"), # imbalanced-learn's own words
    (lambda: sampling_weights([]), "expected integers of shape"),
    (lambda: sampling_weights([.5,1]), "labels: float64 of shape"),
    (lambda: sampling_weights(np.zeros((3,2),int)), r"shape \(3, 2\)"),
])
def test_resample(call, message):
    with pytest.raises(ValueError, match=message): call()


def loss(name='cross_entropy', target=None, logits=None, **kw):
    torch = pytest.importorskip('torch')
    from fer_nbdev.losses import create_loss
    return create_loss(name, **kw)(torch.zeros(4,7) if logits is None else logits, torch.tensor([0,1,2,3]) if target is None else torch.as_tensor(target))


@pytest.mark.parametrize('call, message', [
    (lambda: loss(target=[0,1,7,3]), "face 2 has class 7, expected 0 to 6"),
    (lambda: loss('focal', target=[0,-1,2,3]), "face 1 has class -1"),
    (lambda: loss(target=[0.,1.,2.,3.]), "expected integers"),
    (lambda: loss(target=np.ones((4,10),'float32')), "10 classes in shape .*but 7 logits"),
    (lambda: loss('focl'), "unknown loss 'focl', did you mean 'focal'"),
    (lambda: loss('logit_adjusted'), "did you mean 'logit_adjustment'"),
    (lambda: loss('balanced'), "did you mean 'balanced_softmax'"),
    (lambda: loss('xyz'), "unknown loss 'xyz', There are"),
    (lambda: loss('weighted'), r"needs counts: create_loss\('weighted', faces.subset"),
    (lambda: loss('weighted', counts=[3,0,1,1,1,1,1]), "each above 0; leave empty classes out"),
    (lambda: loss('weighted', counts=[3,1]), "2 classes in the counts, but 7 logits"),
    (lambda: loss('logit_adjustment', counts=[3,1]), "2 classes in the counts, but 7 logits"),
    (lambda: loss('focal', gama=1), "no option 'gama', did you mean 'gamma'"),
    (lambda: loss('focal', gamma=-1), "gamma: -1"),
    (lambda: loss('effective_number', counts=[1]*7, beta=2), "beta: 2"),
    (lambda: loss('label_smoothing', eps=1.5), "eps: 1.5"),
    (lambda: loss(reduction='average'), "reduction: 'average'"),
])
def test_losses(call, message):
    with pytest.raises(ValueError, match=message): call()
