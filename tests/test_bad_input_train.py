"What goes wrong before or during a run, and the one sentence that says so"
import errno, os

import numpy as np
import pytest

torch = pytest.importorskip('torch')
from fer_nbdev.core import Faces
from fer_nbdev.losses import FocalLoss
from fer_nbdev.models import create_model, load_weights, save_weights
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.train import Checkpoint, Distill, face_dls, fer_learner, get_recipe, predict_faces, atomic_save, fit_recipe

@pytest.fixture(scope='module')
def drawn(): return synthetic_faces(300, random_state=0)
@pytest.fixture(scope='module')
def faces(drawn): return drawn[drawn.split!='test']

TABLE = {
    'test rows': (lambda f,d: fer_learner(d), "of 'test' given to a learner; leave them out"),
    'no valid rows': (lambda f,d: fer_learner(f.subset('train')), "no face in split 'valid'"),
    'no train rows': (lambda f,d: fer_learner(f.subset('valid')), "no face in split 'train'"),
    'batch larger than data': (lambda f,d: fer_learner(f, bs=4096), "bs=4096 is larger than the training data"),
    'unknown model': (lambda f,d: fer_learner(f, 'nanno'), "did you mean ['nano'"),
    'unknown timm network': (lambda f,d: create_model('timm:resnet81'), "unknown timm network 'resnet81'"),
    'unknown loss': (lambda f,d: fer_learner(f, loss='focl'), "; did you mean 'focal'?"),
    'unknown recipe': (lambda f,d: get_recipe('smal'), "unknown recipe 'smal', did you mean ['small']"),
    'unknown weights': (lambda f,d: create_model('nano', weights='fre'), "expected None, 'fer' or 'imagenet'"),
    'no packaged weights': (lambda f,d: create_model('cifar_cnn', weights='fer'), "no packaged weights for 'cifar_cnn'"),
    'votes without a head': (lambda f,d: fer_learner(Faces(f.images, f.labels, f.split, votes=np.ones((len(f),10))), 'cifar_cnn', vote_weight=.5, bs=64).fit(1), "has no `head`"),
    'early stop of a one-cycle run': (lambda f,d: fit_recipe(f, 'nano', '/nowhere', patience=2), "patience=2: stopping early would cut a 'one_cycle' schedule short"),
    'votes and mixup': (lambda f,d: fer_learner(f, vote_weight=.5, mixup=.2), "vote_weight and mixup: a blend of two faces"),
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

def test_checkpoint_of_a_pupil_of_other_teachers(faces, tmp_path):
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
    with pytest.raises(ValueError, match='not a checkpoint, cut short.*; delete it to start anew'): fit_recipe(faces, 'nano', tmp_path, epochs=1, bs=64)

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

def test_weights_cut_short(tmp_path):
    save_weights(create_model('nano'), tmp_path/'a.safetensors', 'nano')
    data = (tmp_path/'a.safetensors').read_bytes()
    (tmp_path/'a.safetensors').write_bytes(data[:1000])
    with pytest.raises(ValueError, match='not a safetensors file, or cut short'): load_weights(create_model('nano'), tmp_path/'a.safetensors')
    with pytest.raises(FileNotFoundError, match='no weights at'): load_weights(create_model('nano'), tmp_path/'b.safetensors')

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
