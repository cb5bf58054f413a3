"An exported file keeps the answers and class names, and a failed export keeps the old file"
from pathlib import Path
import fer_nbdev
import numpy as np
import onnx
import pytest
import torch
from torch import nn
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev.detect import _yunet_path
from fer_nbdev.export import export_onnx, quantize_onnx, parity, speed_table
from fer_nbdev.gradcam import grad_cam
from fer_nbdev.models import create_model
from fer_nbdev.predict import load_predictor

X = np.random.default_rng(0).integers(0, 256, (9, 48, 48), dtype=np.uint8)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    m = create_model('nano')
    for p in m.parameters(): # large enough for clear answers
        if p.ndim > 1: nn.init.normal_(p, std=.1)
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
    (dict(classes=('happy', 'happy', *'cdefg')), ValueError, 'duplicate'),
    (dict(classes=('', *'bcdefg')), ValueError, 'empty name'),
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


def with_nan(path):
    "The file of a network whose last bias is NaN"
    export_onnx(create_model('nano').eval(), path)
    m = onnx.load(path)
    bias = next(t for t in m.graph.initializer if t.dims==[7])
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(7, np.nan, np.float32), bias.name))
    onnx.save(m, path)


def test_eight_bits_of_what_cannot_have_them(tmp_path):
    "NaN in the calibration, a folder that is missing, a file that has 8 bits already"
    faces = np.random.default_rng(0).integers(0, 256, (64,48,48), np.uint8)
    with_nan(tmp_path/'nan.onnx')
    with pytest.raises(ValueError, match='nan.onnx: gives NaN for these faces.* train it again'):
        quantize_onnx(tmp_path/'nan.onnx', tmp_path/'eight.onnx', faces)
    assert [p.name for p in tmp_path.iterdir()]==['nan.onnx']
    packaged = Path(fer_nbdev.__file__).parent/'weights'
    with pytest.raises(FileNotFoundError, match='none: no such folder to write a.onnx to'):
        quantize_onnx(packaged/'nano.onnx', tmp_path/'none'/'a.onnx', faces)
    with pytest.raises(ValueError, match='nano-int8.onnx: has 8 bits already'):
        quantize_onnx(packaged/'nano-int8.onnx', tmp_path/'a.onnx', faces)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='none: no such folder to write a.onnx'):
        export_onnx(create_model('nano'), tmp_path/'none'/'a.onnx')


def test_parity_notices_another_network(model, path):
    assert max(parity(model, path).values()) < 1e-5
    assert parity(create_model('nano'), path)['probs'] > 1e-3


class Gives(nn.Module):
    "A model that gives something else than logits"
    def __init__(self, give):
        super().__init__()
        self.give = give
    def forward(self, x): return self.give(x.mean((2, 3)).expand(-1, 7))


MODELS = { # model, error, what it says
    'a tuple': (Gives(lambda y: (y, y)), ValueError, 'model: gives tuple for two faces, expected'),
    'a dict': (Gives(lambda y: dict(logits=y)), ValueError, 'model: gives dict'),
    'nothing': (Gives(lambda y: None), ValueError, 'model: gives NoneType'),
    'maps': (Gives(lambda y: y[..., None]), ValueError, r'model: gives \(2, 7, 1\)'),
    'one row': (Gives(lambda y: y[:1]), ValueError, r'model: gives \(1, 7\)'),
    'colour': (create_model('nano', in_channels=3), ValueError, 'model: does not take faces'),
    'a function': (lambda x: x, TypeError, 'model: function, expected a torch module'),
}


@pytest.mark.parametrize('case', MODELS)
def test_a_model_that_does_not_give_logits(tmp_path, path, case):
    bad, error, says = MODELS[case]
    for door in (lambda: export_onnx(bad, tmp_path/'a.onnx'), lambda: parity(bad, path),
                 lambda: speed_table({'bad': (bad, path)})):
        with pytest.raises(error, match=says): door()
    assert not list(tmp_path.iterdir())


def test_parity_of_what_cannot_be_compared(model, path, tmp_path):
    with pytest.raises(FileNotFoundError, match='none.onnx: no such file'):
        parity(model, tmp_path/'none.onnx')
    with pytest.raises(ValueError, match='expected image tensor'):
        parity(model, _yunet_path())
    with pytest.raises(ValueError, match='mine.onnx: 7 classes, but the model has 5'):
        parity(create_model('nano', n_classes=5), path)
    for x in (X/255, X[0], X[:0], [[1]]):
        with pytest.raises(ValueError, match='x: .*, expected uint8'): parity(model, path, x)


def test_eight_bits_leave_the_heat_maps_in_floats(tmp_path):
    "Maps of 8 bits would have at most 256 values"
    onnx, ort = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    faces = np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8)
    path = tmp_path/'nano.onnx'
    export_onnx(create_model('nano').eval(), path)
    quantize_onnx(path, tmp_path/'nano-int8.onnx', faces)
    nodes = onnx.load(tmp_path/'nano-int8.onnx').graph.node
    assert any(n.op_type == 'QuantizeLinear' for n in nodes)
    assert [n.op_type for n in nodes if 'cam' in n.output] == ['Conv']
    maps = ort.InferenceSession(tmp_path/'nano-int8.onnx').run(['cam'], {'image': faces})[0]
    assert len(np.unique(maps)) > 1000
