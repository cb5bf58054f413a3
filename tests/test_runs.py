"Properties of recorded runs that are not worth a reader's time"
import json

import numpy as np
import pytest

torch = pytest.importorskip('torch')
import torch.nn.functional as F
from fastai.callback.core import Callback, CancelFitException
import fer_nbdev.runs
from fer_nbdev.core import Faces
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.runs import fit_recipe
from fer_nbdev.train import fer_learner, predict_faces

@pytest.fixture(scope='module')
def faces():
    f = synthetic_faces(400, random_state=0)
    return f[f.split!='test']

def with_votes(faces):
    votes = np.random.default_rng(0).integers(0, 4, (len(faces),10))
    return faces.replace(votes=votes)

def state(learn): return {k:v.clone() for k,v in learn.model.state_dict().items()}

def same(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)

class Cut(Callback):
    "End the run after `epoch` epochs, as if the power had gone between two of them"
    order = 100
    def __init__(self, epoch): self.stop = epoch
    def after_epoch(self):
        if self.epoch+1>=self.stop: raise CancelFitException()

def test_trains_on_after_a_run_with_votes(faces, tmp_path):
    learn = fit_recipe(with_votes(faces), 'nano', tmp_path, epochs=1, bs=64)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-4)

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

def without_time(log): return [l.split(',')[:-1] for l in log.read_text().splitlines()]

def test_flat_recipe_stops_early(faces, tmp_path):
    args = dict(recipe='emojify', epochs=6, lr=0., patience=1) # nothing is learnt at a rate of 0
    fit_recipe(faces, path=tmp_path/'whole', **args)
    whole = without_time(tmp_path/'whole/history.csv')
    assert 2<=len(whole)-1<6
    fit_recipe(faces, path=tmp_path/'cut', cbs=[Cut(1)], **args)
    fit_recipe(faces, path=tmp_path/'cut', **args)
    fit_recipe(faces, path=tmp_path/'cut', **args) # once more: it had stopped, and stays so
    assert without_time(tmp_path/'cut/history.csv')==whole

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
    artifacts = {a.path for a in client.list_artifacts(runs.run_id[0])}
    assert artifacts=={'loss.png','confusion.png','model'}

def test_tracked_run_goes_on_after_an_interrupt(faces, tmp_path, monkeypatch):
    "Stopped, then continued with other versions: one record in MLflow; the run's own says which"
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
    assert record['versions']['numpy']==real('numpy')
    assert [(c['epoch'],c['versions']['numpy']) for c in record['continued']]==[(1,'0.0')]
    fit_recipe(faces, **args) # finished: nothing is added
    assert json.loads((tmp_path/'run/record.json').read_text())==record
