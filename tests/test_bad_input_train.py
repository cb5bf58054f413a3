"What goes wrong before or during a run, and the one sentence that says so"
import os

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip('torch')
from fer_nbdev.core import FIVE, Faces
from fer_nbdev.losses import FocalLoss
from fer_nbdev.models import create_model, load_weights, save_weights
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.loaders import AUGMENT, face_dls
from fer_nbdev.runs import Checkpoint, atomic_save, fit_recipe, _locked
from fer_nbdev.teachers import Distill, VoteHead
from fer_nbdev.train import fer_learner, get_recipe, predict_faces
from fastai.callback.core import Callback

@pytest.fixture(scope='module')
def drawn(): return synthetic_faces(300, random_state=0)
@pytest.fixture(scope='module')
def faces(drawn): return drawn[drawn.split!='test']

TABLE = {
    'test rows': (lambda f,d: fer_learner(d), "of 'test' given to a learner; leave them out"),
    'no valid rows': (lambda f,d: fer_learner(f.subset('train')), "no face in split 'valid'"),
    'no train rows': (lambda f,d: fer_learner(f.subset('valid')), "no face in split 'train'"),
    'batch larger than data': (lambda f,d: fer_learner(f, bs=4096), "bs=4096 is larger than the training data"),
    'unknown model': (lambda f,d: fer_learner(f, 'nanno'), "; did you mean 'nano'?"),
    'unknown timm network': (lambda f,d: create_model('timm:resnet81'), "unknown timm network 'resnet81'"),
    'unknown loss': (lambda f,d: fer_learner(f, loss='focl'), "; did you mean 'focal'?"),
    'unknown recipe': (lambda f,d: get_recipe('smal'), "unknown recipe 'smal', did you mean ['small']"),
    'unknown weights': (lambda f,d: create_model('nano', weights='fre'), "expected None, 'fer' or 'imagenet'"),
    'no packaged weights': (lambda f,d: create_model('cifar_cnn', weights='fer'), "no packaged weights for 'cifar_cnn'"),
    'votes without a head': (lambda f,d: fer_learner(Faces(f.images, f.labels, f.split, votes=np.ones((len(f),10))), 'cifar_cnn', bs=64, cbs=[VoteHead(.5)]).fit(1), "has no `head`"),
    'early stop of a one-cycle run': (lambda f,d: fit_recipe(f, 'nano', '/nowhere', patience=2), "patience=2: stopping early would cut a 'one_cycle' schedule short"),
    'votes and mixup': (lambda f,d: get_recipe('nano', vote_weight=.5, mixup=.2), "vote_weight and mixup: a blend of two faces"),
    'a teacher for other classes': (lambda f,d: fer_learner(f, bs=64, cbs=[Distill([create_model('nano', n_classes=5)])]).fit(1), "the teachers answer for 5 classes, the network for 7"),
    'no teacher': (lambda f,d: Distill([]), "0 teachers with a weight of 0.7"),
    'misspelt setting': (lambda f,d: fit_recipe(f, 'nano', '/nowhere', epoch=3), "unknown setting 'epoch' in the recipe, did you mean ['epochs'"),
    'a loss that is no name': (lambda f,d: fit_recipe(f, 'nano', '/nowhere', loss=FocalLoss()), "such as loss='focal'"),
    'recipe without epochs': (lambda f,d: fit_recipe(f, dict(model='nano', lr=1e-3, schedule='flat'), '/nowhere'), "the recipe lacks 'epochs'"),
    'unknown schedule': (lambda f,d: fit_recipe(f, 'nano', '/nowhere', schedule='cosine'), "expected 'flat' or 'one_cycle'"),
    'floats to predict_faces': (lambda f,d: predict_faces(create_model('nano'), np.zeros((2,48,48))), "expected uint8 of shape (N, H, W)"),
    'no face to predict': (lambda f,d: predict_faces(create_model('nano'), f.images[:0]), "with at least one face"),
    'floats to predict': (lambda f,d: face_dls(f, bs=32).test_dl(np.zeros((2,48,48))), "expected uint8 of shape (N, H, W)"),
}

def run(faces, recipe='nano', **changes): return fit_recipe(faces, recipe, '/nowhere', **changes)

def no_face(faces):
    "All training faces are marked as no faces"
    info = pd.DataFrame(dict(not_a_face=faces.split=='train'))
    return Faces(faces.images, faces.labels, faces.split, info=info)

def five(faces): return fer_learner(faces.with_classes(FIVE), bs=64).dls

TABLE |= {
    'no epoch': (lambda f,d: run(f, epochs=0), "epochs=0: expected a whole number, 1 or more"),
    'epochs below 0': (lambda f,d: run(f, epochs=-1), "epochs=-1: expected a whole number"),
    'half an epoch': (lambda f,d: run(f, epochs=2.5), "epochs=2.5: expected a whole number"),
    'epochs not given': (lambda f,d: run(f, epochs=None), "epochs=None: expected a whole number"),
    'epochs as text': (lambda f,d: run(f, epochs='3'), "epochs='3': expected a whole number"),
    'lr below 0': (lambda f,d: run(f, lr=-1e-3), "lr=-0.001: expected a number, 0.0 or more"),
    'lr is nan': (lambda f,d: run(f, lr=float('nan')), "lr=nan: expected a number"),
    'lr is infinite': (lambda f,d: run(f, lr=float('inf')), "lr=inf: expected a number"),
    'lr as text': (lambda f,d: run(f, lr='high'), "lr='high': expected a number"),
    'patience of 0': (lambda f,d: run(f, 'emojify', patience=0), "patience=0: expected a whole"),
    'seed below 0': (lambda f,d: run(f, seed=-1), "seed=-1: expected a whole number, from 0 to"),
    'seed as text': (lambda f,d: fer_learner(f, seed='a'), "seed='a': expected a whole number"),
    'bs of 0': (lambda f,d: fer_learner(f, bs=0), "bs=0: expected a whole number, 1 or more"),
    'bs below 0': (lambda f,d: face_dls(f, bs=-5), "bs=-5: expected a whole number, 1 or more"),
    'bs not whole': (lambda f,d: face_dls(f, bs=32.), "bs=32.0: expected a whole number"),
    'bs a truth': (lambda f,d: face_dls(f, bs=True), "bs=True: expected a whole number"),
    'bs not given': (lambda f,d: face_dls(f, bs=None), "bs=None: expected a whole number"),
    'bs of 0 to predict': (lambda f,d: predict_faces(create_model('nano'), f.images, bs=0), "bs=0:"),
    'decay of 1': (lambda f,d: fer_learner(f, ema_decay=1.), "ema_decay=1.0: expected a number, from"),
    'power of 2': (lambda f,d: face_dls(f, balance_power=2), "balance_power=2: expected a number"),
    'votes below 0': (lambda f,d: get_recipe('nano', vote_weight=-1), "vote_weight=-1: expected a number"),
    'mixup as text': (lambda f,d: fer_learner(f, mixup='x'), "mixup='x': expected a number"),
    'wd is nan': (lambda f,d: fer_learner(f, wd=float('nan')), "wd=nan: expected a number"),
    'a misspelt augmentation': (lambda f,d: face_dls(f, 32, dict(rotate=5)), "expected None or a dict"),
    'a recipe that is a list': (lambda f,d: run(f, ['nano']), "unknown recipe ['nano']"),
    'no face to learn from': (lambda f,d: face_dls(no_face(f)), "are marked as no face (info.not_a_face)"),
    'classes unknown to it': (lambda f,d: five(f).test_dl(f), "of the classes ['disgust', 'fear'], which"),
}

@pytest.mark.parametrize('case', TABLE)
def test_one_clear_error(case, faces, drawn):
    f,message = TABLE[case]
    with pytest.raises(ValueError) as e: f(faces, drawn)
    assert message in str(e.value)

@pytest.mark.parametrize('change,key', [(dict(epochs=3),'recipe'), (dict(model='small'),'recipe'), (dict(seed=1),'seed')])
def test_checkpoint_of_another_run(faces, tmp_path, change, key):
    args = dict(recipe='nano', path=tmp_path, epochs=1, bs=64)
    fit_recipe(faces, **args)
    with pytest.raises(ValueError, match=f'belongs to another run: its {key}'): fit_recipe(faces, **{**args,**change})

def test_checkpoint_of_a_student_of_other_teachers(faces, tmp_path):
    a,b = create_model('nano'),create_model('nano')
    args = dict(recipe='nano', path=tmp_path, epochs=1, bs=64)
    fit_recipe(faces, cbs=[Distill([a])], **args)
    fit_recipe(faces, cbs=[Distill([a])], **args) # finished, and found so
    for cbs in ([Distill([b])], [Distill([a], weight=.5)], []):
        with pytest.raises(ValueError, match='belongs to another run: its callbacks'): fit_recipe(faces, cbs=cbs, **args)

def test_checkpoint_of_other_data(faces, tmp_path):
    fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)
    with pytest.raises(ValueError, match='belongs to another run: its fingerprint'): fit_recipe(faces[:-1], 'nano', tmp_path, epochs=1, bs=64)

def test_checkpoint_of_the_same_faces_with_other_votes(faces, tmp_path):
    voted = Faces(faces.images, faces.labels, faces.split, votes=np.eye(10)[faces.labels], info=faces.info, name=faces.name)
    fit_recipe(voted, 'nano', tmp_path, epochs=1, bs=64)
    with pytest.raises(ValueError, match='belongs to another run: its votes'): fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)

def test_cut_short_checkpoint(faces, tmp_path):
    fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)
    whole = (tmp_path/'checkpoint.pt').read_bytes()
    (tmp_path/'checkpoint.pt').write_bytes(whole[:len(whole)//2])
    with pytest.raises(ValueError, match=r'not a checkpoint \(cut short.*; delete it to start anew'): fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)

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
    list=lambda p: atomic_save([1,2], p),
    missing=lambda p: atomic_save(dict(record={}, epoch=1), p),
    object=lambda p: atomic_save(dict(record=FocalLoss()), p),
    other=lambda p: torch.save(dict(record={}, epoch=1), p), # without a digest
)
@pytest.mark.parametrize('what', JUNK)
def test_junk_for_a_checkpoint(faces, tmp_path, what):
    JUNK[what](tmp_path/'checkpoint.pt')
    with pytest.raises(ValueError, match=r'checkpoint\.pt: not a checkpoint .*delete it to start anew'):
        fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)

@pytest.mark.parametrize('text', [None,'','epoch\n','epoch\n1,2\n','\0\0junk'])
def test_log_that_does_not_fit_its_checkpoint(faces, tmp_path, text):
    args = dict(recipe='nano', path=tmp_path, bs=64, epochs=1)
    fit_recipe(faces, **args)
    log = tmp_path/'history.csv'
    log.unlink() if text is None else log.write_text(text)
    with pytest.raises(ValueError, match=r'history\.csv: expected the epochs 0 to 0 in its first column'):
        fit_recipe(faces, **args)

class Poison(Callback):
    "A weight that is not a number, once"
    order = 200
    def __init__(self, epoch, iter): self.at = epoch,iter
    def after_batch(self):
        if self.training and (self.epoch,self.iter)==self.at:
            with torch.no_grad(): self.model.head.weight[0,0] = float('nan')

@pytest.mark.parametrize('iter,what', [(0,'its loss is nan'),(2,"its weights 'head.weight' are not finite")])
def test_diverged(faces, tmp_path, iter, what):
    "The error comes as we wrote it; what was good stays, what is not is never written"
    args = dict(recipe='nano', path=tmp_path, epochs=4, bs=64)
    with pytest.raises(ValueError) as e: fit_recipe(faces, cbs=[Poison(2, iter)], **args)
    assert str(e.value).startswith(f'the run diverged in epoch 2: {what}') and 'a lower lr' in str(e.value)
    assert sorted(p.name for p in tmp_path.iterdir())==['checkpoint.pt','history.csv','record.json']
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
    with pytest.raises(ValueError, match='not a safetensors file, or cut short'): load_weights(create_model('nano'), tmp_path/'a.safetensors')
    with pytest.raises(FileNotFoundError, match='no weights at'): load_weights(create_model('nano'), tmp_path/'b.safetensors')
    with pytest.raises(ValueError, match='not a safetensors file'): load_weights(create_model('nano'), tmp_path)

@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full on this system')
def test_disk_full_keeps_the_old_checkpoint(tmp_path):
    path = tmp_path/'checkpoint.pt'
    atomic_save(dict(a=1), path)
    (tmp_path/'checkpoint.pt.part').symlink_to('/dev/full')
    with pytest.raises(OSError, match='not written .*No space left.*the one from before is kept'): atomic_save(dict(a=torch.zeros(10**6)), path)
    assert torch.load(path)==dict(a=1)

def test_read_only_folder_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path/'checkpoint.pt'
    atomic_save(dict(a=1), path)
    if os.geteuid()==0: # root may write anywhere: a folder in the way fails for everyone
        (tmp_path/'checkpoint.pt.part').mkdir()
    else: tmp_path.chmod(0o500)
    with pytest.raises(OSError, match='the one from before is kept'): atomic_save(dict(a=2), path)
    tmp_path.chmod(0o700)
    assert torch.load(path)==dict(a=1)
