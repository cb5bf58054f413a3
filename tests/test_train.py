"Properties of training that are not worth a reader's time"
import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip('torch')
from fastai.callback.core import Callback
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev.models import create_model, list_models
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.train import fer_learner, predict_faces

@pytest.fixture(scope='module')
def faces():
    f = synthetic_faces(400, random_state=0)
    return f[f.split!='test']

def state(learn): return {k:v.clone() for k,v in learn.model.state_dict().items()}

def same(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def fitted(faces, seed, epochs=1, **kwargs):
    learn = fer_learner(faces, 'nano', bs=64, seed=seed, ema_decay=.9, **kwargs)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 1e-3)
    return learn

def test_same_seed_same_weights(faces):
    a,b,c = (state(fitted(faces, s)) for s in (1,1,2))
    assert same(a, b) and not same(a, c)

class Reference(Callback):
    "The average that `EMA` should arrive at, kept apart"
    order = 61
    def live(self): return [v for v in self.model.state_dict().values() if v.is_floating_point()]
    def before_fit(self): self.avg,self.k = [v.clone() for v in self.live()],0
    def after_batch(self):
        if not self.training: return
        keep = min(.9, (1+self.k)/(10+self.k)) if self.k else 0.
        for a,v in zip(self.avg, self.live()): a.lerp_(v, 1-keep)
        self.k += 1

def test_ema_is_the_average(faces):
    ref = Reference()
    learn = fer_learner(faces, 'nano', bs=64, ema_decay=.9, seed=0)
    with learn.no_bar(), learn.no_logging(): learn.fit(3, 1e-3, cbs=[ref])
    live = [v for v in learn.model.state_dict().values() if v.is_floating_point()]
    assert all(torch.allclose(a, v, atol=1e-6) for a,v in zip(ref.avg, live))
    before,last = state(learn),learn.recorder.values[-1][1]
    with learn.no_bar(): loss = learn.validate()[0]
    assert same(before, state(learn)) and abs(loss-last)<1e-3 # the one it validated with

def test_mixup_and_sampler_train(faces):
    assert np.isfinite(fitted(faces, 0, mixup=.4, balance_power=1.).recorder.losses[-1])

def test_five_classes(faces):
    five = faces.with_classes(FIVE)
    learn = fer_learner(five, 'nano', bs=64)
    assert learn.dls.vocab==FIVE and predict_faces(learn.model, five.images[:3]).shape==(3,5)

def test_bf16_leaves_no_autocast_after_an_error(faces):
    learn = fer_learner(faces, 'nano', bs=64, bf16=True)
    learn.model.features.register_forward_hook(lambda *a: 1/0)
    with pytest.raises(ZeroDivisionError), learn.no_bar(): learn.fit(1)
    assert not torch.is_autocast_enabled('cpu')

def test_weights_are_not_shared_between_learners(faces):
    a,b = fer_learner(faces, 'nano', bs=64, seed=0),fer_learner(faces, 'nano', bs=64, seed=0)
    assert same(state(a), state(b)) and a.model is not b.model

def test_every_model_trains(faces):
    for name in list_models():
        learn = fer_learner(faces, name, bs=64)
        x,y = learn.dls.one_batch()
        x,y = (t.as_subclass(torch.Tensor) for t in (x,y))
        learn.loss_func(learn.model(x), y).backward()

def test_tta_augments_and_validation_does_not(faces):
    learn = fer_learner(faces, 'nano', bs=64, augment=dict(flip=1.))
    with learn.no_bar():
        (augmented,plain),_ = learn.tta(n=1, beta=None)
        preds,_ = learn.get_preds()
    valid = faces.subset('valid').images
    flipped = predict_faces(learn.model, valid[:,:,::-1])
    assert torch.allclose(plain, preds)
    assert np.allclose(preds, predict_faces(learn.model, valid), atol=.02)
    assert np.allclose(augmented, flipped, atol=.02)
    assert not np.allclose(augmented, preds, atol=1e-5)

def test_top_losses_are_those_faces(faces):
    import matplotlib.pyplot as plt
    from fastai.vision.all import ClassificationInterpretation
    learn = fer_learner(faces, 'nano', bs=64)
    with learn.no_bar():
        interp = ClassificationInterpretation.from_learner(learn)
        _,at = interp.top_losses(4)
        x,p,y,_,losses = interp[at]
        interp.plot_top_losses(4)
    valid = faces.subset('valid')
    assert np.allclose(x[:,0]*255, valid.images[at]) and (y.numpy()==valid.labels[at]).all()
    assert torch.allclose(-p[range(4),y].log(), losses.as_subclass(torch.Tensor), atol=.1)
    names = {EMOTIONS[i] for i in y}
    assert names <= {n for ax in plt.gcf().axes for n in EMOTIONS if n in ax.get_title()}
    plt.close('all')

def test_predicting_leaves_each_module_in_its_mode(faces):
    model = create_model('nano').train()
    model.features[0].eval()
    model.drop.eval()
    before = [m.training for m in model.modules()]
    predict_faces(model, faces.images[:2])
    assert [m.training for m in model.modules()]==before and 0<sum(before)<len(before)

def test_losses_weigh_the_faces_that_are_learnt_from(faces):
    "Rows that are not a face are left out of the counts too"
    not_a_face = (faces.labels==3)&(np.arange(len(faces))%2==0)
    f = faces.replace(info=pd.DataFrame(dict(not_a_face=not_a_face)))
    learn = fer_learner(f, 'nano', loss='logit_adjustment', bs=64)
    shares = learn.loss_func.log_share.exp()
    counts = np.bincount(faces.labels[(faces.split=='train')&~not_a_face], minlength=7)
    assert np.allclose(shares.numpy().ravel(), counts/counts.sum(), atol=1e-6)
