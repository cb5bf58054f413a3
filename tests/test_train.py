"Properties of training that are not worth a reader's time"
import json

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip('torch')
import torch.nn.functional as F
from fastai.callback.core import Callback, CancelFitException
import fer_nbdev.runs
from fer_nbdev.core import EMOTIONS, FIVE, Faces
from fer_nbdev.models import create_model, list_models
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.runs import fit_recipe
from fer_nbdev.teachers import Distill, VoteHead
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
    assert same(before, state(learn)) and abs(loss-last)<1e-3 # what it validated with is what it ended with

def test_trains_on_after_a_run_with_votes(faces, tmp_path):
    votes = np.random.default_rng(0).integers(0, 4, (len(faces),10))
    learn = fit_recipe(Faces(faces.images, faces.labels, faces.split, votes=votes), 'nano', tmp_path, epochs=1, bs=64)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-4)

def test_mixup_and_sampler_train(faces):
    assert np.isfinite(fitted(faces, 0, mixup=.4, balance_power=1.).recorder.losses[-1])

def test_five_classes(faces):
    five = faces.with_classes(FIVE)
    learn = fer_learner(five, 'nano', bs=64)
    assert learn.dls.vocab==FIVE and predict_faces(learn.model, five.images[:3]).shape==(3,5)

def with_votes(faces):
    votes = np.random.default_rng(0).integers(0, 4, (len(faces),10))
    return Faces(faces.images, faces.labels, faces.split, votes=votes)

def test_votes_leave_model_and_optimizer_as_they_were(faces, tmp_path):
    learn = fit_recipe(with_votes(faces), 'nano', tmp_path, epochs=1, bs=64)
    create_model('nano').load_state_dict(learn.model.state_dict())
    assert not learn.model.head._forward_pre_hooks
    in_opt = {id(p) for group in learn.opt.param_lists for p in group}
    assert in_opt=={id(p) for p in learn.model.parameters()}
    before = learn.vote_head.layer.weight.clone()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert not torch.equal(before, learn.vote_head.layer.weight) # and it learns on

class Counts(Callback):
    "A callback with a state of its own, of which nothing else knows"
    def before_fit(self): self.n = 0
    def after_batch(self): self.n += self.training
    def state_dict(self): return dict(n=self.n)
    def load_state_dict(self, state): self.n = state['n']

def test_each_callback_keeps_its_own_state(faces, tmp_path):
    args = dict(recipe='nano', epochs=4, bs=64)
    f = with_votes(faces)
    whole = fit_recipe(f, path=tmp_path/'whole', cbs=[Counts()], **args)
    fit_recipe(f, path=tmp_path/'cut', cbs=[Counts(),Cut(2)], **args)
    count = Counts()
    resumed = fit_recipe(f, path=tmp_path/'cut', cbs=[count], **args)
    assert same(state(whole), state(resumed)) and count.n==4*(320//64)
    assert same(whole.vote_head.layer.state_dict(), resumed.vote_head.layer.state_dict())
    with pytest.raises(ValueError, match=r"its callbacks with a state are \['counts', 'ema',"):
        fit_recipe(f, path=tmp_path/'cut', **args)

@pytest.mark.parametrize('side', [32,64])
def test_faces_of_another_size(side, tmp_path):
    f = synthetic_faces(200, random_state=0)
    images = F.interpolate(torch.tensor(f.images[:,None]).float(), size=(side,side), mode='area')
    f = Faces(images[:,0].to(torch.uint8).numpy(), f.labels, f.split)
    learn = fit_recipe(f[f.split!='test'], 'nano', tmp_path, epochs=1, bs=64)
    assert learn.dls.one_batch()[0].shape[-2:]==(side,side)
    assert predict_faces(learn.model, f.images[:3]).shape==(3,7)
    with pytest.raises(ValueError, match=f"48x48 pixels, expected {side}x{side} as in training"):
        learn.dls.test_dl(np.zeros((2,48,48), np.uint8))

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
        learn.loss_func(learn.model(x.as_subclass(torch.Tensor)), y.as_subclass(torch.Tensor)).backward()

def test_numpy_numbers_are_recorded_as_plain_ones(faces, tmp_path):
    args = dict(recipe='nano', bs=64)
    plain = fit_recipe(faces, path=tmp_path/'plain', epochs=2, lr=1e-3, seed=3, **args)
    args.update(epochs=np.int64(2), lr=np.float64(1e-3), seed=np.int64(3))
    fit_recipe(faces, path=tmp_path/'numpy', cbs=[Cut(1)], **args)
    resumed = fit_recipe(faces, path=tmp_path/'numpy', **args)
    assert same(state(plain), state(resumed))
    a,b = (json.loads((tmp_path/n/'record.json').read_text()) for n in ('plain','numpy'))
    assert a==b
    learn = fer_learner(faces, bs=np.int64(64), seed=np.int64(1), lr=np.float64(1e-3))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)

def test_tta_augments_and_validation_does_not(faces):
    learn = fer_learner(faces, 'nano', bs=64, augment=dict(flip=1.))
    with learn.no_bar():
        (augmented,plain),_ = learn.tta(n=1, beta=None)
        preds,_ = learn.get_preds()
    valid = faces.subset('valid').images
    flipped = predict_faces(learn.model, valid[:,:,::-1])
    assert torch.allclose(plain, preds) and np.allclose(preds, predict_faces(learn.model, valid), atol=.02)
    assert np.allclose(augmented, flipped, atol=.02) and not np.allclose(augmented, preds, atol=1e-5)

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

class Cut(Callback):
    "End the run after `epoch` epochs, as if the power had gone between two of them"
    order = 100
    def __init__(self, epoch): self.stop = epoch
    def after_epoch(self):
        if self.epoch+1>=self.stop: raise CancelFitException()

@pytest.mark.filterwarnings('ignore:CUDA is not available')
def test_half_precision_as_in_any_fastai_script(faces):
    learn = fer_learner(faces, 'nano', bs=64, ema_decay=.9, seed=0, cbs=[VoteHead(.5)]).to_fp16()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert not learn.plain_tensors.handles and np.isfinite(learn.recorder.values[-1][:2]).all()

def test_flat_recipe_stops_early(faces, tmp_path):
    args = dict(recipe='emojify', epochs=6, lr=0., patience=1) # nothing is learnt at a rate of 0
    fit_recipe(faces, path=tmp_path/'whole', **args)
    log = (tmp_path/'whole/history.csv').read_text()
    assert 2<=len(log.splitlines())-1<6
    fit_recipe(faces, path=tmp_path/'cut', cbs=[Cut(1)], **args)
    fit_recipe(faces, path=tmp_path/'cut', **args)
    fit_recipe(faces, path=tmp_path/'cut', **args) # once more: it had stopped, and stays so
    assert [l.split(',')[:-1] for l in (tmp_path/'cut/history.csv').read_text().splitlines()]==[l.split(',')[:-1] for l in log.splitlines()]

def test_tracked_by_mlflow(faces, tmp_path):
    mlflow = pytest.importorskip('mlflow')
    args = dict(recipe='nano', path=tmp_path/'run', epochs=3, bs=64, track=True)
    fit_recipe(faces, cbs=[Cut(1)], **args)
    fit_recipe(faces, **args) # continued: the same record
    runs = mlflow.search_runs(search_all_experiments=True)
    assert len(runs)==1 and runs.status[0]=='FINISHED' and runs['params.seed'][0]=='0'
    client = mlflow.MlflowClient()
    history = client.get_metric_history(runs.run_id[0], 'accuracy')
    assert [m.step for m in history]==[0,1,2]
    assert {a.path for a in client.list_artifacts(runs.run_id[0])}=={'loss.png','confusion.png','model'}

def test_tracked_run_goes_on_after_an_interrupt(faces, tmp_path, monkeypatch):
    "Stopped in this very process, then continued with other versions: still one record in MLflow, and the run's own says which"
    mlflow = pytest.importorskip('mlflow')
    class Stop(Callback):
        def before_epoch(self):
            if self.epoch==1: raise KeyboardInterrupt
    args = dict(recipe='nano', path=tmp_path/'run', epochs=2, bs=64, track=True)
    with pytest.raises(KeyboardInterrupt): fit_recipe(faces, cbs=[Stop()], **args)
    real = fer_nbdev.runs.version
    monkeypatch.setattr(fer_nbdev.runs, 'version', lambda p: '0.0' if p=='numpy' else real(p))
    fit_recipe(faces, **args)
    runs = mlflow.search_runs(search_all_experiments=True)
    assert len(runs)==1 and runs.status[0]=='FINISHED'
    record = json.loads((tmp_path/'run/record.json').read_text())
    assert record['versions']['numpy']==real('numpy') and [(c['epoch'],c['versions']['numpy']) for c in record['continued']]==[(1,'0.0')]
    fit_recipe(faces, **args) # finished: nothing is added
    assert json.loads((tmp_path/'run/record.json').read_text())==record

def test_losses_weigh_the_faces_that_are_learnt_from(faces):
    "Blurred faces are left out of the counts too"
    not_a_face = (faces.labels==3)&(np.arange(len(faces))%2==0)
    f = Faces(faces.images, faces.labels, faces.split, info=pd.DataFrame(dict(not_a_face=not_a_face)))
    learn = fer_learner(f, 'nano', loss='logit_adjustment', bs=64)
    shares = learn.loss_func.log_share.exp()
    counts = np.bincount(faces.labels[(faces.split=='train')&~not_a_face], minlength=7)
    assert np.allclose(shares.numpy().ravel(), counts/counts.sum(), atol=1e-6)

def test_distill_mixes_labels_and_the_teachers_mean(faces):
    teachers = [create_model('nano').requires_grad_(False) for _ in range(2)]
    seen = []
    class See(Callback):
        order = 1000
        def after_loss(self):
            if self.training: seen.append((self.xb[0].clone(), self.yb[0], self.pred.detach(), self.loss_grad.detach()))
    learn = fer_learner(faces, 'nano', bs=64, seed=0, bf16=False, cbs=[Distill(teachers, weight=.6), See()])
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert not any(t.training for t in teachers)
    for x,y,pred,loss in seen:
        answer = sum(t(x).softmax(1) for t in teachers)/2
        want = .4*F.cross_entropy(pred, y)-.6*(answer*pred.log_softmax(1)).sum(1).mean()
        assert torch.allclose(loss, want, atol=.02) # teachers may answer in bf16

def test_distill_learns_without_labels(faces):
    "With weight 1 a student follows its teacher on faces whose labels are wrong"
    teacher = fitted(faces, 0, epochs=8, augment=None).model
    wrong = Faces(faces.images, (faces.labels+1)%7, faces.split)
    learn = fitted(wrong, 1, epochs=8, augment=None, cbs=[Distill([teacher], weight=1.)])
    told,answered = (predict_faces(m, faces.images).argmax(1) for m in (teacher, learn.model))
    assert (told==answered).mean()>.6>.3>(answered==wrong.labels).mean()
