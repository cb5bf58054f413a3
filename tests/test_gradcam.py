"Heat maps against the package `grad-cam`, and what must hold for any network"
import copy, sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import pytest
torch = pytest.importorskip('torch')
import torch.nn.functional as F
from torch import nn
from fer_nbdev.gradcam import (_activations_and_gradients, cam, grad_cam, grad_cam_plus_plus,
                               hires_cam, hooked_eval, _last_map, _layers_by_size, normalize_map,
                               overlay)
from fer_nbdev.models import create_model

METHODS = {f.__name__: f for f in (cam, grad_cam, hires_cam, grad_cam_plus_plus)}
POOLED = ('nano','small','base')
DENSE = ('emojify_cnn','cifar_cnn')
CASES = [(n,m) for n in POOLED+DENSE for m in METHODS if not (m=='cam' and n in DENSE)]


@pytest.fixture(scope='module')
def nets():
    torch.manual_seed(0)
    d = {n: create_model(n) for n in POOLED+DENSE}
    for m in d.values(): # statistics and scales that differ between channels, as after training
        for b in m.modules():
            if isinstance(b, nn.BatchNorm2d):
                for p in (b.weight, b.running_var): nn.init.uniform_(p, .5, 1.5)
                for p in (b.bias, b.running_mean): nn.init.uniform_(p, -.3, .3)
    return d


@pytest.fixture
def x(): return torch.rand(4,1,48,48, generator=torch.Generator().manual_seed(1))


def package_order(maps, size):
    "Minimum off, scaled, resized, and again: what `grad-cam` does after its ReLU"
    def scale(m):
        m = m-m.amin((1,2), keepdim=True)
        return m/(1e-7+m.amax((1,2), keepdim=True))
    return scale(F.interpolate(scale(F.relu(maps))[:,None], size=size, mode='bilinear')[:,0])


@pytest.mark.parametrize('name', POOLED+DENSE)
@pytest.mark.parametrize('method,theirs', [('grad_cam','GradCAM'), ('hires_cam','HiResCAM'),
                                           ('grad_cam_plus_plus','GradCAMPlusPlus')])
@pytest.mark.parametrize('target', [None, 2, [0,1,2,6]])
def test_equals_package(nets, x, name, method, theirs, target):
    package = pytest.importorskip('pytorch_grad_cam', reason="pip install grad-cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    m = copy.deepcopy(nets[name]).eval()
    if method=='grad_cam_plus_plus': # the package adds 1e-6 to a denominator; make that negligible
        last = [l for l in m.modules() if isinstance(l, nn.Linear)][-1]
        with torch.no_grad(): last.weight.mul_(1e5)
    layer = _last_map(m, x)
    each = [target]*4 if isinstance(target, int) else target
    t = None if target is None else [ClassifierOutputTarget(c) for c in each]
    with getattr(package, theirs)(model=m, target_layers=[layer]) as c:
        wanted = c(input_tensor=x, targets=t)
    ours = package_order(METHODS[method](m, x, target, layer, raw=True), (48,48))
    assert np.abs(ours.numpy()-wanted).max()<3e-5 # its own additions to denominators, and rounding


@pytest.mark.parametrize('name', POOLED+DENSE)
def test_grad_cam_plus_plus_is_its_equation(nets, x, name):
    "Equations 10, 11 and 19 as they stand in the paper, in double precision"
    A,G,*_ = (t.double() for t in _activations_and_gradients(nets[name], x, 2))
    alpha = torch.where(G!=0, G**2/(2*G**2+A.sum((2,3), keepdim=True)*G**3), 0)
    wanted = ((alpha*F.relu(G)).sum((2,3), keepdim=True)*A).sum(1)
    got = grad_cam_plus_plus(nets[name], x, 2, raw=True).double()
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('name', POOLED)
def test_one_map_under_three_names(nets, x, name):
    m,pixels = nets[name],36
    a,b,c = (f(m, x, 3, raw=True) for f in (cam, grad_cam, hires_cam))
    torch.testing.assert_close(b*pixels, a, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(c, b, atol=1e-5, rtol=1e-3)
    logit,bias = _activations_and_gradients(m, x)[3][:,3],m.head.bias[3].detach()
    torch.testing.assert_close(a.mean((1,2))+bias, logit, atol=1e-4, rtol=1e-3)


def test_not_in_training_mode(nets, x):
    "Dropout and batch statistics would make another map: all methods use eval mode"
    m = nets['nano'].train()
    a = grad_cam(m, x, 1)
    assert m.training and m.drop.training
    torch.testing.assert_close(a, grad_cam(m.eval(), x, 1))


@pytest.mark.parametrize('name,method', CASES)
def test_permuted_batch(nets, x, name, method):
    f,m,p = METHODS[method],nets[name],[2,0,3,1]
    torch.testing.assert_close(f(m, x[p], 4), f(m, x, 4)[p], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize('name,method', CASES)
def test_one_by_one(nets, x, name, method):
    f,m,t = METHODS[method],nets[name],[0,6,3,1]
    one = torch.cat([f(m, x[i:i+1], t[i]) for i in range(4)])
    torch.testing.assert_close(f(m, x, torch.tensor(t)), one, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize('name', POOLED)
@pytest.mark.parametrize('method', METHODS)
def test_flipped_face_flipped_map(nets, x, name, method):
    "With symmetric kernels and without strides the network is symmetric: poolings divide 48 evenly"
    f,m = METHODS[method],copy.deepcopy(nets[name])
    with torch.no_grad():
        for c in m.modules():
            if isinstance(c, nn.Conv2d):
                c.stride = (1,1) # 2 keeps the first column and drops the last
                c.weight.copy_((c.weight+c.weight.flip(-1))/2)
    torch.testing.assert_close(f(m, x.flip(-1), 2), f(m, x, 2).flip(-1), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize('name,method', CASES)
def test_in_unit_range(nets, x, name, method):
    maps = METHODS[method](nets[name], x)
    assert maps.shape==(4,48,48) and maps.dtype==torch.float32 and not maps.requires_grad
    assert maps.min()>=0 and maps.max()<=1
    top = maps.amax((1,2))
    assert ((top==1)|(top==0)).all()


@pytest.mark.parametrize('method', METHODS)
def test_zero_map_stays_zero(nets, x, method):
    m = copy.deepcopy(nets['nano'])
    with torch.no_grad(): m.head.weight[5] = 0
    assert METHODS[method](m, x, 5).eq(0).all()
    assert normalize_map(-torch.rand(2,6,6), (48,48)).eq(0).all()


def test_tiny_maps_still_reach_one():
    assert normalize_map(torch.full((1,2,2), 1e-30), (4,4)).eq(1).all()


def test_leaves_no_trace(nets, x):
    m = copy.deepcopy(nets['nano']).train()
    m.features[:2].eval()
    state,modes = copy.deepcopy(m.state_dict()),[k.training for k in m.modules()]
    for f in METHODS.values(): f(m, x)
    assert [k.training for k in m.modules()]==modes
    assert all(torch.equal(v, state[k]) for k,v in m.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in m.parameters())
    for k in m.modules(): assert not (k._forward_hooks or k._backward_hooks or k._forward_pre_hooks)
    assert x.grad is None and not x.requires_grad


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_hooks_released_after_error(nets, x, error):
    m = copy.deepcopy(nets['nano']).train()
    def fail(*_): raise error('stop')
    h = m.head.register_forward_hook(fail) # the user's own hook, which fails and must stay
    with pytest.raises(error): grad_cam(m, x)
    assert m.training and not m.features._forward_hooks and len(m.head._forward_hooks)==1
    h.remove()
    with pytest.raises(error), hooked_eval(m, m.modules(), lambda *_: None): raise error('inside')
    assert m.training and not any(k._forward_hooks for k in m.modules())


def test_any_layer(nets, x):
    m = nets['small']
    for name in ('features.0','features.4.1','features.8.convs.0','features'):
        maps = grad_cam(m, x, layer=name)
        assert maps.shape==(4,48,48)
        assert torch.equal(maps, grad_cam(m, x, layer=m.get_submodule(name)))
    with torch.no_grad(): wanted = m.features[:5](x).shape[2:]
    assert grad_cam(m, x, layer='features.4', raw=True).shape[1:]==wanted


@pytest.mark.parametrize('name', POOLED+DENSE)
def test_layers_by_size(nets, x, name):
    sizes = _layers_by_size(nets[name], x)
    assert list(sizes)==sorted(sizes, reverse=True) and min(sizes)>1
    for side,layer in sizes.items():
        assert grad_cam(nets[name], x, 1, layer, raw=True).shape==(4,side,side)


def at_once(n, f):
    "`f(0)` to `f(n-1)`, each in a thread of its own, with many switches between them"
    start,often = threading.Barrier(n),sys.getswitchinterval()
    def go(i):
        start.wait()
        return f(i)
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(n) as pool: return list(pool.map(go, range(n)))
    finally: sys.setswitchinterval(often)


@pytest.mark.parametrize('method', METHODS)
def test_threads_that_share_a_model(nets, method):
    "Eight threads, one model in training: each gets its own faces' maps, and the modes stay"
    f,m,n = METHODS[method],copy.deepcopy(nets['nano']).train(),8
    m.features[:2].eval()
    modes = [k.training for k in m.modules()]
    faces = torch.rand(n,3,1,48,48, generator=torch.Generator().manual_seed(2))
    wanted = [f(m, faces[i], i%7) for i in range(n)]
    got = at_once(n, lambda i: [f(m, faces[i], i%7) for _ in range(4)])
    for w,maps in zip(wanted, got):
        for g in maps: torch.testing.assert_close(g, w, atol=1e-4, rtol=1e-3)
    assert [k.training for k in m.modules()]==modes
    assert not any(k._forward_hooks for k in m.modules())


def test_a_map_beside_other_uses_of_the_model(nets, x):
    "Another thread's plain pass does not enter the map, and the map does not change it"
    m = nets['nano'].eval()
    wanted,other = grad_cam(m, x, 2),torch.rand(9,1,48,48)
    with torch.no_grad(): answer = m(other)
    def use(i):
        if i%2: return [grad_cam(m, x, 2) for _ in range(8)]
        with torch.no_grad(): return [m(other) for _ in range(8)]
    for i,results in enumerate(at_once(4, use)):
        right = wanted if i%2 else answer
        for r in results: torch.testing.assert_close(r, right, atol=1e-4, rtol=1e-3)


def test_models_are_not_kept_alive(nets, x):
    import gc, weakref
    m = copy.deepcopy(nets['nano'])
    grad_cam(m, x, 2)
    gone = weakref.ref(m)
    del m
    gc.collect()
    assert gone() is None


def test_inplace_activation_does_not_reach_what_was_kept(nets, x):
    "The in-place ReLU overwrites the batch norm's output, not the copy that we keep"
    m = nets['nano'].eval()
    A,*_ = _activations_and_gradients(m, x, layer='features.0.1')
    assert (A<0).any()


@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_inside_no_grad(nets, x, context):
    wanted = grad_cam(nets['nano'], x, 2)
    with context():
        y = x.clone()
        got = grad_cam(nets['nano'], y, 2)
    torch.testing.assert_close(got.clone(), wanted)


def test_frozen_network(nets, x):
    m = copy.deepcopy(nets['nano'])
    for p in m.parameters(): p.requires_grad_(False)
    torch.testing.assert_close(grad_cam(m, x, 2), grad_cam(nets['nano'], x, 2))


def test_bf16(nets, x):
    with torch.autocast('cpu', torch.bfloat16):
        maps = [f(nets['nano'], x, 2) for f in METHODS.values()]
    for m in maps: assert m.dtype==torch.float32 and m.isfinite().all()


def test_odd_sizes(nets): assert grad_cam(nets['nano'], torch.rand(2,1,50,61)).shape==(2,50,61)


@pytest.mark.parametrize('name', ['resnet18','mobilenetv3_small_100','efficientnet_b0'])
def test_timm(name):
    pytest.importorskip('timm')
    m = create_model(f'timm:{name}')
    maps = grad_cam(m, torch.rand(2,1,64,64))
    assert maps.shape==(2,64,64) and maps.isfinite().all()


def test_overlay():
    rng = np.random.default_rng(0)
    grey,colour = (rng.integers(0, 256, s, dtype=np.uint8) for s in ((48,48), (96,80,3)))
    heat = rng.random((6,6))
    assert (overlay(grey, np.zeros((48,48)))==grey[...,None]).all()
    assert (overlay(colour, heat, alpha=0)==colour).all()
    assert overlay(colour, heat).shape==(96,80,3) and overlay(grey, heat).dtype==np.uint8
    assert (overlay(grey, heat)==overlay(grey/255, torch.tensor(heat))).all()
    same = overlay(grey, np.ones((48,48)), alpha=1)
    assert len(np.unique(same.reshape(-1,3), axis=0))==1


def test_imports_nothing_else_of_ours(root):
    "`gradcam` knows tensors and modules; of the package how to word an error, and to hook"
    import re
    source = (root/'fer_nbdev'/'gradcam.py').read_text()
    ours = re.findall(r'^from (?:fer_nbdev)?\.\S* import .*', source, re.M)
    assert ours==['from .core import require, suggest', 'from .models import hooked_eval']
