"Loaders: what a batch holds, which faces are left out, and how new faces are read"
import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('fastai')
from fer_nbdev.core import EMOTIONS, FIVE, Faces
from fer_nbdev.loaders import FaceDL, _FaceData, face_dls
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.train import fer_learner


@pytest.fixture(scope='module')
def faces():
    f = synthetic_faces(400, random_state=0)
    return f[f.split!='test']


def test_sampler_balances(faces):
    dls = face_dls(faces, bs=32, balance_power=1., augment=None)
    labels = torch.cat([y for _ in range(20) for _,y in dls.train])
    share = torch.bincount(labels.as_subclass(torch.Tensor), minlength=7)/len(labels)
    assert (share-1/7).abs().max()<.05


def test_each_epoch_sees_each_face_once(faces):
    data = _FaceData(faces.images, np.arange(len(faces))%7, split_idx=0)
    dl = FaceDL(data, bs=50, shuffle=True)
    seen = torch.cat([dl.ix for _ in dl])
    assert sorted(seen.tolist())==list(range(len(faces)))


def test_a_batch_is_the_faces_that_ix_names(faces):
    dl = face_dls(faces, bs=32, augment=None).train
    x,y = dl.one_batch()
    train = faces.subset('train')
    assert np.allclose(x[:,0]*255, train.images[dl.ix]) and (y.numpy()==train.labels[dl.ix]).all()


def test_no_face_is_left_out(faces, capsys):
    info = pd.DataFrame(dict(not_a_face=np.arange(len(faces))<10))
    split = ['train']*300+['valid']*(len(faces)-300)
    f = Faces(faces.images, faces.labels, split, info=info)
    assert len(face_dls(f, bs=32).train_ds)==290
    assert 'Left out of training: 10 rows that are not a face' in capsys.readouterr().out


def test_labels_are_read_by_name(faces):
    learn = fer_learner(faces, 'nano', bs=64)
    turned = faces.with_classes(EMOTIONS[::-1])
    dl = learn.dls.test_dl(turned)
    assert [EMOTIONS[i] for i in dl.dataset.labels]==turned.emotions.tolist()
    five = fer_learner(faces.with_classes(FIVE), 'nano', bs=64)
    known = faces[np.isin(faces.emotions, FIVE)] # the names of seven classes, faces of five
    dl = five.dls.test_dl(known)
    assert [FIVE[i] for i in dl.dataset.labels]==known.emotions.tolist()
    assert five.get_preds(dl=dl)[0].shape==(len(known),5)


def test_batches_show_themselves_without_the_learner(faces):
    "`face_dls` alone is enough for fastai's show_batch, with its names as titles"
    import subprocess, sys
    code = ("import matplotlib; matplotlib.use('agg'); import matplotlib.pyplot as plt\n"
            "from fer_nbdev.synthetic import synthetic_faces\n"
            "from fer_nbdev.loaders import face_dls\n"
            "f = synthetic_faces(200, random_state=0)\n"
            "face_dls(f[f.split!='test'], bs=32).show_batch(max_n=4, nrows=1)\n"
            "print([ax.get_title() for ax in plt.gcf().axes])")
    out = subprocess.run([sys.executable,'-c',code], capture_output=True, text=True, check=True)
    titles = eval(out.stdout.splitlines()[-1])
    assert len(titles)==4 and set(titles)<=set(EMOTIONS)
