"Properties of votes and teachers that are not worth a reader's time"
import numpy as np
import pytest

torch = pytest.importorskip('torch')
import torch.nn.functional as F
from fastai.callback.core import Callback
from fer_nbdev.models import create_model
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.runs import fit_recipe
from fer_nbdev.teachers import Distill, VoteHead, VoteTeacher, _label_given_votes
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

def test_translated_votes_are_calibrated():
    "Faces whose votes make a label 60 % likely have it in about 60 % of the cases"
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(7, .3), 20_000)
    labels = np.array([rng.choice(7, p=row) for row in p])
    votes = np.stack([rng.multinomial(10, row) for row in p])/10
    votes = np.hstack([votes, np.zeros((len(p),3))]) # nobody chose the other three answers
    q = _label_given_votes(votes, labels, 8) # and no face has the eighth label
    assert (q[:,7]==0).all() and np.allclose(q.sum(1), 1, atol=1e-5)
    for low in (.2,.4,.6,.8):
        near = (q>=low)&(q<low+.1)
        hits = (labels[:,None]==np.arange(8))[near]
        assert abs(hits.mean()-q[near].mean())<.04, (low, hits.mean(), q[near].mean())

def test_vote_teacher_mixes_labels_and_votes(faces):
    seen,faces = [],with_votes(faces)
    class See(Callback):
        order = 1000
        def after_loss(self):
            if self.training:
                i,loss = self.dls.train.ix,self.loss_grad.detach()
                seen.append((i, self.yb[0], self.pred.detach(), loss))
    learn = fer_learner(faces, 'nano', bs=64, seed=0, cbs=[VoteTeacher(.3), See()])
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    data = learn.dls.train.dataset
    q = torch.tensor(_label_given_votes(data.votes.numpy(), data.labels.numpy(), 7))
    for i,y,pred,loss in seen:
        want = .7*F.cross_entropy(pred, y)-.3*(q[i]*pred.log_softmax(1)).sum(1).mean()
        assert torch.allclose(loss, want, atol=1e-5)

@pytest.mark.parametrize('change,said', [
    (dict(), 'these faces have no votes'),
    (dict(mixup=.4), 'nobody has voted on a blend'),
])
def test_vote_teacher_without_votes(faces, change, said):
    if change: faces = with_votes(faces)
    learn = fer_learner(faces, 'nano', bs=64, cbs=[VoteTeacher()], **change)
    with learn.no_bar(), learn.no_logging(), pytest.raises(ValueError, match=said):
        learn.fit(1, 1e-3)

@pytest.mark.parametrize('weight', [-.1, 1.5, float('nan')])
def test_vote_teacher_weights(weight):
    with pytest.raises(ValueError, match='from 0 to 1'): VoteTeacher(weight)

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
    teacher = fitted(faces, 0, epochs=12, augment=None).model
    wrong = faces.replace(labels=(faces.labels+1)%7)
    learn = fitted(wrong, 1, epochs=12, augment=None, cbs=[Distill([teacher], weight=1.)])
    told,answered = (predict_faces(m, faces.images).argmax(1) for m in (teacher, learn.model))
    assert (told==answered).mean()>.6>.3>(answered==wrong.labels).mean()

def test_views_are_answered_once_and_shown_in_turn(faces, tmp_path):
    "The student sees each view of a face in its turn, with the mean of the teachers' answers to it"
    teachers,seen = [create_model('nano').eval() for _ in range(2)],[]
    class See(Callback):
        order = 1000
        def after_pred(self):
            if self.training: seen.append((self.epoch, self.dls.train.ix, self.xb[0].clone()))
    d = Distill(teachers, views=3, folder=tmp_path)
    clear = dict(rotation=15., flip=.5, light=.2)
    fitted(faces, 0, epochs=4, bf16=False, augment=clear, cbs=[d, See()])
    n = (faces.split=='train').sum()
    assert d.seen.shape==(3,n,48,48) and d.told.shape==(3,n,7)
    for epoch,ix,x in seen:
        for i,face in zip(ix.tolist(), x):
            assert np.array_equal((face[0]*255).round().byte(), d.seen[(i+epoch)%3,i])
    faces_again = torch.tensor(d.seen[2][:,None]).float()/255
    with torch.no_grad(): want = sum(t(faces_again).softmax(1) for t in teachers)/2
    assert torch.allclose(torch.as_tensor(d.told[2]), want, atol=.02) # half precision, perhaps bf16
    assert len({a.tobytes() for a in d.seen[:,0]})==3

def test_only_the_student_sees_what_hides_the_face(faces, tmp_path):
    "Noise and boxes are not in the views: another strength of them needs no new answers"
    teacher,seen = create_model('nano'),[]
    class See(Callback):
        order = 1000
        def after_pred(self):
            if self.training: seen.append((self.dls.train.ix, self.xb[0].clone()))
    for erase in (1.,.5):
        d = Distill([teacher], views=1, folder=tmp_path)
        augment = dict(flip=.5, noise=.1, degrade=1., erase=erase)
        fitted(faces, 0, augment=augment, cbs=[d, See()])
    assert len(list(tmp_path.iterdir()))==2
    for ix,x in seen:
        clear = torch.tensor(d.seen[0, ix])[:,None].float()/255
        assert ((x-clear).abs().amax((1,2,3))>0).float().mean()>.9

def test_views_are_shared_and_another_teacher_adds_only_its_answers(faces, tmp_path):
    a,b = create_model('nano'),create_model('nano')
    fitted(faces, 0, cbs=[Distill([a], views=2, folder=tmp_path)])
    files = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    fitted(faces, 1, cbs=[Distill([a,b], views=2, folder=tmp_path)])
    now = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert len(files)==2 and len(now)==3 and files.items()<=now.items()

def test_a_killed_run_leaves_no_half_file(faces, tmp_path):
    class Broken(torch.nn.Module):
        calls = 0
        def forward(self, x):
            self.calls += 1
            if self.calls==3: # the first asks for the classes, the second answers for a view
                assert list(tmp_path.glob('*.part')) # half of the answers are there
                raise RuntimeError('out of power')
            return torch.zeros(len(x), 7)
    broken = Broken()
    broken.weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(RuntimeError, match='out of power'):
        fitted(faces, 0, cbs=[Distill([broken], views=2, folder=tmp_path)])
    assert [p.name.startswith('views-') for p in tmp_path.iterdir()]==[True] # the views are whole

def test_views_continue_bit_for_bit(faces, tmp_path):
    "A run that is continued sees the views that it would have seen"
    teacher = create_model('nano')
    def run(folder, cbs=()):
        distill = Distill([teacher], views=2, folder=tmp_path/'views')
        args = dict(epochs=3, bs=64, seed=0, cbs=[distill, *cbs])
        return fit_recipe(faces, 'nano', tmp_path/folder, **args).model.state_dict()
    class Stop(Callback):
        def before_epoch(self):
            if self.epoch==2: raise KeyboardInterrupt
    whole = run('a')
    with pytest.raises(KeyboardInterrupt): run('b', [Stop()])
    again = run('b')
    assert all(torch.equal(v, again[k]) for k,v in whole.items())

@pytest.mark.parametrize('views', [-1, 1.5, True, '3'])
def test_views_must_be_a_number(views):
    with pytest.raises(ValueError, match='expected a whole number, 0 for none'):
        Distill([create_model('nano')], views=views)

def test_views_and_mixup_exclude_each_other(faces, tmp_path):
    with pytest.raises(ValueError, match='nobody has answered for a blend'):
        fitted(faces, 0, mixup=.4, cbs=[Distill([create_model('nano')], views=2, folder=tmp_path)])
