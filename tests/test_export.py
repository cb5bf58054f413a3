"What an exported file must keep: the answers, the class names, the model it came from, and the file that was there before"
import numpy as np
import pytest
import torch
from torch import nn
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev.export import export_onnx, parity
from fer_nbdev.gradcam import grad_cam
from fer_nbdev.models import create_model
from fer_nbdev.predict import load_predictor

X = np.random.default_rng(0).integers(0, 256, (9, 48, 48), dtype=np.uint8)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    m = create_model('nano')
    for p in m.parameters(): nn.init.normal_(p, std=.1) if p.ndim > 1 else None # large enough to have opinions
    return m.eval()


@pytest.fixture(scope='module')
def path(model, tmp_path_factory):
    f = tmp_path_factory.mktemp('onnx')/'mine.onnx'
    export_onnx(model, f, name='mine')
    return f


def test_probabilities_and_metadata(model, path):
    p = load_predictor(path)
    with torch.no_grad(): want = model(torch.tensor(X)[:, None]/255).softmax(1).numpy()
    assert p.classes == EMOTIONS and p.name == 'mine'
    assert np.abs(p.predict_proba(X)-want).max() < 1e-5
    assert want.std(0).max() > 1e-3, 'nothing to compare'


@pytest.mark.parametrize('target', [0, 3, 6])
def test_heat_map_is_grad_cam(model, path, target):
    want = grad_cam(model, torch.tensor(X)[:, None]/255, target=target)
    assert np.abs(load_predictor(path).heat_map(X, target)-np.asarray(want)).max() < 1e-4
    assert want.max() > 0, 'nothing to compare'


def test_any_batch_size(path):
    p = load_predictor(path)
    one = np.concatenate([p.predict_proba(x[None]) for x in X])
    assert np.abs(one-p.predict_proba(X)).max() < 1e-5
    assert p.predict_proba(np.concatenate([X]*60)).shape == (540, 7)


def test_other_classes(tmp_path):
    export_onnx(create_model('nano', n_classes=5), tmp_path/'five.onnx', classes=FIVE)
    assert load_predictor(tmp_path/'five.onnx').classes == FIVE


def test_no_maps_without_features(tmp_path):
    export_onnx(create_model('emojify_cnn'), tmp_path/'e.onnx')
    p = load_predictor(tmp_path/'e.onnx')
    assert p.predict_proba(X).shape == (9, 7)
    with pytest.raises(ValueError, match='e.onnx has no maps'): p.heat_map(X)


def test_the_model_is_left_as_it_was(tmp_path):
    m = create_model('nano').train()
    before = {k: v.clone() for k, v in m.state_dict().items()}
    export_onnx(m, tmp_path/'a.onnx')
    assert m.training and all(mod.training for mod in m.modules())
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())
    assert not any(mod._forward_hooks or mod._forward_pre_hooks for mod in m.modules())


def test_no_notes_on_source_files(path):
    data = path.read_bytes()
    assert not any(w in data for w in (b'.py', b'site-packages', b'fer_nbdev', b'/home'))


@pytest.mark.parametrize('kw,error,says', [
    (dict(classes=('happy', 'sad')), ValueError, '2 names for a model with 7 outputs'),
    (dict(classes=('a,b', *'cdefgh')), ValueError, 'comma'),
    (dict(tol=0.), ValueError, 'differ.*nothing was written'),
])
def test_a_failed_export_leaves_the_old_file(tmp_path, kw, error, says):
    f = tmp_path/'a.onnx'
    f.write_bytes(b'old')
    with pytest.raises(error, match=says): export_onnx(create_model('nano'), f, **kw)
    assert f.read_bytes() == b'old' and [p.name for p in tmp_path.iterdir()] == ['a.onnx']


def test_a_network_that_answers_nan_is_not_written(tmp_path):
    m = create_model('nano')
    m.head.bias.data[2] = torch.nan
    with pytest.raises(ValueError, match='nothing was written'): export_onnx(m, tmp_path/'a.onnx')
    assert not list(tmp_path.iterdir())


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='none: no such folder to write a.onnx'): export_onnx(create_model('nano'), tmp_path/'none'/'a.onnx')


def test_parity_notices_another_network(model, path):
    assert max(parity(model, path).values()) < 1e-5
    assert parity(create_model('nano'), path)['probs'] > 1e-3
