"Properties of votes and teachers that are not worth a reader's time"
import numpy as np
import pytest

torch = pytest.importorskip('torch')
import torch.nn.functional as F
from fastai.callback.core import Callback
from fer_nbdev.models import create_model
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.runs import fit_recipe
from fer_nbdev.teachers import Distill, VoteHead
from fer_nbdev.train import fer_learner, predict_faces

@pytest.fixture(scope='module')
def faces():
    f = synthetic_faces(400, random_state=0)
    return f[f.split!='test']

def with_votes(faces):
    votes = np.random.default_rng(0).integers(0, 4, (len(faces),10))
    return faces.replace(votes=votes)

def fitted(faces, seed, epochs=1, **kwargs):
    learn = fer_learner(faces, 'nano', bs=64, seed=seed, ema_decay=.9, **kwargs)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 1e-3)
    return learn

def test_votes_leave_model_and_optimizer_as_they_were(faces, tmp_path):
    learn = fit_recipe(with_votes(faces), 'nano', tmp_path, epochs=1, bs=64)
    create_model('nano').load_state_dict(learn.model.state_dict())
    assert not learn.model.head._forward_pre_hooks
    in_opt = {id(p) for group in learn.opt.param_lists for p in group}
    assert in_opt=={id(p) for p in learn.model.parameters()}
    before = learn.vote_head.layer.weight.clone()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert not torch.equal(before, learn.vote_head.layer.weight) # and it learns on

@pytest.mark.filterwarnings('ignore:CUDA is not available')
def test_half_precision_as_in_any_fastai_script(faces):
    learn = fer_learner(faces, 'nano', bs=64, ema_decay=.9, seed=0, cbs=[VoteHead(.5)]).to_fp16()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert not learn.plain_tensors.handles and np.isfinite(learn.recorder.values[-1][:2]).all()

def test_distill_mixes_labels_and_the_teachers_mean(faces):
    teachers = [create_model('nano').requires_grad_(False) for _ in range(2)]
    seen = []
    class See(Callback):
        order = 1000
        def after_loss(self):
            if not self.training: return
            answer,loss = self.pred.detach(),self.loss_grad.detach()
            seen.append((self.xb[0].clone(), self.yb[0], answer, loss))
    cbs = [Distill(teachers, weight=.6), See()]
    learn = fer_learner(faces, 'nano', bs=64, seed=0, bf16=False, cbs=cbs)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert not any(t.training for t in teachers)
    for x,y,pred,loss in seen:
        answer = sum(t(x).softmax(1) for t in teachers)/2
        want = .4*F.cross_entropy(pred, y)-.6*(answer*pred.log_softmax(1)).sum(1).mean()
        assert torch.allclose(loss, want, atol=.02) # teachers may answer in bf16

def test_distill_learns_without_labels(faces):
    "With weight 1 a student follows its teacher on faces whose labels are wrong"
    teacher = fitted(faces, 0, epochs=8, augment=None).model
    wrong = faces.replace(labels=(faces.labels+1)%7)
    learn = fitted(wrong, 1, epochs=8, augment=None, cbs=[Distill([teacher], weight=1.)])
    told,answered = (predict_faces(m, faces.images).argmax(1) for m in (teacher, learn.model))
    assert (told==answered).mean()>.6>.3>(answered==wrong.labels).mean()
