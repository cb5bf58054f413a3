"What goes wrong before or during a run, and the one sentence that says so"
import os

import numpy as np
import pytest

torch = pytest.importorskip('torch')
from fer_nbdev.losses import FocalLoss
from fer_nbdev.models import create_model, load_weights, save_weights
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.runs import Checkpoint, _atomic_save, fit_recipe, _locked
from fer_nbdev.teachers import Distill, VoteHead
from fer_nbdev.train import fer_learner
from fastai.callback.core import Callback

@pytest.fixture(scope='module')
def faces():
    f = synthetic_faces(300, random_state=0)
    return f[f.split!='test']

def run(faces, recipe='nano', **changes): return fit_recipe(faces, recipe, '/nowhere', **changes)
def voted(faces): return faces.replace(votes=np.ones((len(faces),10)))
def two_teachers(): return [create_model('nano'), create_model('nano', n_classes=5)]
def broken_teacher():
    model = create_model('nano')
    model.head.bias.data[2] = float('nan')
    return model
def five_class_teacher(): return Distill([create_model('nano', n_classes=5)])

TABLE = {
    'votes without a head': (
        lambda f: fer_learner(voted(f), 'cifar_cnn', cbs=[VoteHead(.5)]).fit(1),
        "has no `head`"),
    'early stop of a one-cycle run': (
        lambda f: run(f, patience=2),
        "patience=2: stopping early would cut a 'one_cycle' schedule short"),
    'a teacher for other classes': (
        lambda f: fer_learner(f, bs=64, cbs=[five_class_teacher()]).fit(1),
        "teacher 1 of 1 answers for 5 classes, the network for 7"),
    'two teachers, one of them for other classes': (
        lambda f: fer_learner(f, bs=64, cbs=[Distill(two_teachers(), views=2)]).fit(1),
        "teacher 2 of 2 answers for 5 classes, the network for 7"),
    'a teacher that answers NaN': (
        lambda f: fer_learner(f, bs=64, cbs=[Distill([broken_teacher()])]).fit(1),
        "teacher 1 of 1 answers NaN"),
    'no teacher': (lambda f: Distill([]), "0 teachers with a weight of 0.7"),
    'misspelt setting': (
        lambda f: run(f, epoch=3),
        "; did you mean 'epochs'?"),
    'a loss that is no name': (lambda f: run(f, loss=FocalLoss()), "such as loss='focal'"),
    'recipe without epochs': (
        lambda f: run(f, dict(model='nano', lr=1e-3, schedule='flat')),
        "the recipe lacks 'epochs'"),
    'unknown schedule': (lambda f: run(f, schedule='cosine'), "expected 'flat' or 'one_cycle'"),
    'no epoch': (lambda f: run(f, epochs=0), "epochs=0: expected a whole number, 1 or more"),
    'epochs below 0': (lambda f: run(f, epochs=-1), "epochs=-1: expected a whole number"),
    'half an epoch': (lambda f: run(f, epochs=2.5), "epochs=2.5: expected a whole number"),
    'epochs not given': (lambda f: run(f, epochs=None), "epochs=None: expected a whole number"),
    'epochs as text': (lambda f: run(f, epochs='3'), "epochs='3': expected a whole number"),
    'lr below 0': (lambda f: run(f, lr=-1e-3), "lr=-0.001: expected a number, 0.0 or more"),
    'lr is nan': (lambda f: run(f, lr=float('nan')), "lr=nan: expected a number"),
    'lr is infinite': (lambda f: run(f, lr=float('inf')), "lr=inf: expected a number"),
    'lr as text': (lambda f: run(f, lr='high'), "lr='high': expected a number"),
    'patience of 0': (lambda f: run(f, 'emojify', patience=0), "patience=0: expected a whole"),
    'seed below 0': (lambda f: run(f, seed=-1), "seed=-1: expected a whole number, from 0 to"),
    'a recipe that is a list': (lambda f: run(f, ['nano']), "unknown recipe ['nano']"),
}

@pytest.mark.parametrize('case', TABLE)
def test_one_clear_error(case, faces):
    f,message = TABLE[case]
    with pytest.raises(ValueError) as e: f(faces)
    assert message in str(e.value)

CHANGES = [(dict(epochs=3),'recipe'), (dict(model='small'),'recipe'), (dict(seed=1),'seed')]
@pytest.mark.parametrize('change,key', CHANGES)
def test_checkpoint_of_another_run(faces, tmp_path, change, key):
    args = dict(recipe='nano', path=tmp_path, epochs=1, bs=64)
    fit_recipe(faces, **args)
    with pytest.raises(ValueError, match=f'belongs to another run: its {key}'):
        fit_recipe(faces, **{**args,**change})

def test_checkpoint_of_a_student_of_other_teachers(faces, tmp_path):
    a,b = create_model('nano'),create_model('nano')
    args = dict(recipe='nano', path=tmp_path, epochs=1, bs=64)
    fit_recipe(faces, cbs=[Distill([a])], **args)
    fit_recipe(faces, cbs=[Distill([a])], **args) # finished, and found so
    for cbs in ([Distill([b])], [Distill([a], weight=.5)], []):
        with pytest.raises(ValueError, match='belongs to another run: its callbacks'):
            fit_recipe(faces, cbs=cbs, **args)

def test_checkpoint_of_other_data(faces, tmp_path):
    fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)
    with pytest.raises(ValueError, match='belongs to another run: its fingerprint'):
        fit_recipe(faces[:-1], 'nano', tmp_path, epochs=1, bs=64)

def test_checkpoint_of_the_same_faces_with_other_votes(faces, tmp_path):
    fit_recipe(faces.replace(votes=np.eye(10)[faces.labels]), 'nano', tmp_path, epochs=1, bs=64)
    with pytest.raises(ValueError, match='belongs to another run: its votes'):
        fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)

def test_cut_short_checkpoint(faces, tmp_path):
    fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)
    whole = (tmp_path/'checkpoint.pt').read_bytes()
    (tmp_path/'checkpoint.pt').write_bytes(whole[:len(whole)//2])
    message = r'not a checkpoint \(cut short.*; delete it to start anew'
    with pytest.raises(ValueError, match=message):
        fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)

def test_damaged_checkpoint(faces, tmp_path):
    "One flipped bit, wherever it is"
    fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)
    path = tmp_path/'checkpoint.pt'
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 20).tolist()+[0,len(whole)-1]:
        data = bytearray(whole)
        data[at] ^= 1<<at%8
        path.write_bytes(data)
        with pytest.raises(ValueError, match='checkpoint.pt: not a checkpoint.*damaged'):
            Checkpoint(path, {}).load()

JUNK = dict(
    empty=lambda p: p.write_bytes(b''),
    folder=lambda p: p.mkdir(),
    list=lambda p: _atomic_save([1,2], p),
    missing=lambda p: _atomic_save(dict(record={}, epoch=1), p),
    object=lambda p: _atomic_save(dict(record=FocalLoss()), p),
    other=lambda p: torch.save(dict(record={}, epoch=1), p), # without a digest
)
@pytest.mark.parametrize('what', JUNK)
def test_junk_for_a_checkpoint(faces, tmp_path, what):
    JUNK[what](tmp_path/'checkpoint.pt')
    message = r'checkpoint\.pt: not a checkpoint .*delete it to start anew'
    with pytest.raises(ValueError, match=message):
        fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)

@pytest.mark.parametrize('text', [None,'','epoch\n','epoch\n1,2\n','\0\0junk'])
def test_log_that_does_not_fit_its_checkpoint(faces, tmp_path, text):
    args = dict(recipe='nano', path=tmp_path, bs=64, epochs=1)
    fit_recipe(faces, **args)
    log = tmp_path/'history.csv'
    log.unlink() if text is None else log.write_text(text)
    message = r'history\.csv: expected the epochs 0 to 0 in its first column'
    with pytest.raises(ValueError, match=message):
        fit_recipe(faces, **args)

class Poison(Callback):
    "A weight that is not a number, once"
    order = 200
    def __init__(self, epoch, iter): self.at = epoch,iter
    def after_batch(self):
        if self.training and (self.epoch,self.iter)==self.at:
            with torch.no_grad(): self.model.head.weight[0,0] = float('nan')

BROKEN = [(0,'its loss is nan'), (2,"its weights 'head.weight' are not finite")]
@pytest.mark.parametrize('iter,what', BROKEN)
def test_diverged(faces, tmp_path, iter, what):
    "The error comes as we wrote it; what was good stays, what is not is never written"
    args = dict(recipe='nano', path=tmp_path, epochs=4, bs=64)
    with pytest.raises(ValueError) as e: fit_recipe(faces, cbs=[Poison(2, iter)], **args)
    assert str(e.value).startswith(f'the run diverged in epoch 2: {what}')
    assert 'a lower lr' in str(e.value)
    written = sorted(p.name for p in tmp_path.iterdir())
    assert written==['checkpoint.pt','history.csv','record.json']
    assert torch.load(tmp_path/'checkpoint.pt')['epoch']==2
    learn = fit_recipe(faces, **args) # nobody poisons it now: it goes on
    assert all(v.isfinite().all() for v in learn.model.state_dict().values())

def test_rate_that_is_too_high(faces, tmp_path):
    with pytest.raises(ValueError, match=r'the run diverged in epoch \d: .* at a rate of 1e\+30'):
        fit_recipe(faces, 'nano', tmp_path, epochs=2, bs=64, lr=1e30, schedule='flat')
    assert not list(tmp_path.glob('*.safetensors'))

@pytest.mark.parametrize('value', [1e5,float('nan'),float('-inf')])
def test_weights_beyond_half_precision(tmp_path, value):
    model = create_model('nano')
    with torch.no_grad(): model.head.bias[3] = value
    with pytest.raises(ValueError, match=r"w\.safetensors not written: 'head.bias' holds values"):
        save_weights(model, tmp_path/'w.safetensors', 'nano')
    assert not list(tmp_path.iterdir())

def test_folders_that_cannot_be_written(faces, tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError, match='file/run: no run can be written here .*choose another path'):
        fit_recipe(faces, 'nano', tmp_path/'file/run', epochs=1, bs=64)
    with pytest.raises(OSError, match=r'none/w\.safetensors not written .*its folder exists'):
        save_weights(create_model('nano'), tmp_path/'none/w.safetensors', 'nano')

def test_weights_that_cannot_be_written(faces, tmp_path):
    "The training is not lost: started again, the run writes them"
    args = dict(recipe='nano', path=tmp_path, epochs=1, bs=64)
    (tmp_path/'model.safetensors.part').mkdir()
    with pytest.raises(OSError, match=r'model\.safetensors not written .*there is none yet'):
        fit_recipe(faces, **args)
    (tmp_path/'model.safetensors.part').rmdir()
    fit_recipe(faces, **args)
    assert (tmp_path/'model.safetensors').exists()

class Fails(Callback):
    def before_epoch(self): raise KeyError('the callback of a user')

def test_one_run_in_a_folder(faces, tmp_path):
    args = dict(recipe='nano', path=tmp_path, epochs=1, bs=64)
    with _locked(tmp_path):
        with pytest.raises(RuntimeError, match=f'process {os.getpid()} on .* is training here'):
            fit_recipe(faces, **args)
        assert [p.name for p in tmp_path.iterdir()]==['lock'] # it touched nothing
    with pytest.raises(KeyError): fit_recipe(faces, cbs=[Fails()], **args)
    assert not (tmp_path/'lock').exists() # freed, also after an error
    (tmp_path/'lock').write_text('process 1 on a machine that lost its power')
    fit_recipe(faces, **args)
    assert not (tmp_path/'lock').exists()

def test_weights_cut_short(tmp_path):
    save_weights(create_model('nano'), tmp_path/'a.safetensors', 'nano')
    data = (tmp_path/'a.safetensors').read_bytes()
    (tmp_path/'a.safetensors').write_bytes(data[:1000])
    model = create_model('nano')
    with pytest.raises(ValueError, match='not a safetensors file, or cut short'):
        load_weights(model, tmp_path/'a.safetensors')
    with pytest.raises(FileNotFoundError, match='no weights at'):
        load_weights(model, tmp_path/'b.safetensors')
    with pytest.raises(ValueError, match='not a safetensors file'): load_weights(model, tmp_path)

@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full on this system')
def test_disk_full_keeps_the_old_checkpoint(tmp_path):
    path = tmp_path/'checkpoint.pt'
    _atomic_save(dict(a=1), path)
    (tmp_path/'checkpoint.pt.part').symlink_to('/dev/full')
    message = 'not written .*No space left.*the one from before is kept'
    with pytest.raises(OSError, match=message): _atomic_save(dict(a=torch.zeros(10**6)), path)
    assert torch.load(path)==dict(a=1)

def test_read_only_folder_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path/'checkpoint.pt'
    _atomic_save(dict(a=1), path)
    if os.geteuid()==0: # root may write anywhere: a folder in the way fails for everyone
        (tmp_path/'checkpoint.pt.part').mkdir()
    else: tmp_path.chmod(0o500)
    with pytest.raises(OSError, match='the one from before is kept'):
        _atomic_save(dict(a=2), path)
    tmp_path.chmod(0o700)
    assert torch.load(path)==dict(a=1)
