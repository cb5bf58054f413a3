"What a camera does to a face: each fault is what it says, for the share of faces asked for"
import io

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('fastai')
from PIL import Image
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.loaders import (AUGMENT, Augment, _TensorFace, _jpeg_copy, _random_blur,
                               _random_jpeg, _random_lowres, _random_noise)

FAULTS = dict(noise=_random_noise, blur=_random_blur, lowres=_random_lowres, jpeg=_random_jpeg)


@pytest.fixture(scope='module')
def images(): return synthetic_faces(120, random_state=0).images


@pytest.fixture(scope='module')
def x(images): return torch.tensor(images[:,None]).float()/255


def pillow(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'jpeg', quality=quality)
    return np.array(Image.open(file))


@pytest.mark.parametrize('quality', [1,5,10,20,35,49,50,51,75,90,100])
def test_jpeg_is_pillows(images, x, quality):
    "Far nearer to Pillow's JPEG than JPEG is to the picture; the rest is libjpeg's whole numbers"
    ours = (_jpeg_copy(x, torch.full((len(x),), quality))*255).round().numpy()[:,0]
    theirs = np.stack([pillow(im, quality) for im in images]).astype(float)
    apart,changed = np.abs(ours-theirs).mean(),np.abs(theirs-images).mean()
    assert apart<max(.1*changed, .5), (apart, changed)
    assert (np.abs(ours-theirs)<=1).mean()>.85


@pytest.mark.parametrize('h, w', [(48,40),(50,61),(8,8),(5,7)])
def test_jpeg_of_other_sizes(h, w):
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.linspace(0,120,h), np.linspace(20,130,w))+rng.normal(0,4,(h,w))
    image = smooth.clip(0,255).astype(np.uint8)
    x = torch.tensor(image)[None,None]/255
    ours = (_jpeg_copy(x, torch.tensor([50]))*255).round().numpy()[0,0]
    assert ours.shape==(h,w) and np.abs(ours-pillow(image, 50)).mean()<1


def test_one_quality_for_each_face(x):
    both = _jpeg_copy(x[:2], torch.tensor([5,90]))
    for i,q in enumerate((5,90)):
        assert torch.equal(both[i:i+1], _jpeg_copy(x[i:i+1], torch.tensor([q])))


@pytest.mark.parametrize('name', FAULTS)
def test_share_and_range(x, name):
    torch.manual_seed(0)
    many = x.repeat(10,1,1,1)
    before = many.clone()
    y = FAULTS[name](many, p=.3)
    assert torch.equal(many, before) # nothing in place
    assert y.shape==many.shape and y.min()>=0 and y.max()<=1 and y.isfinite().all()
    share = (y!=many).flatten(1).any(1).float().mean()
    assert .25<share<.35, share


@pytest.mark.parametrize('name', FAULTS)
def test_no_face_and_every_face(x, name):
    torch.manual_seed(0)
    assert torch.equal(FAULTS[name](x, p=0), x)
    assert (FAULTS[name](x, p=1.1)!=x).flatten(1).any(1).float().mean()>.95
    assert FAULTS[name](x[:0], p=.5).shape==(0,1,48,48)


@pytest.mark.parametrize('name', FAULTS)
def test_same_seed_same_faces(x, name):
    "All randomness is torch's own, which a checkpoint keeps"
    runs = []
    for _ in range(2):
        torch.manual_seed(7)
        runs.append(FAULTS[name](x, p=.5))
    assert torch.equal(*runs)


def test_strength_of_noise_and_blur(x):
    torch.manual_seed(0)
    grey = torch.full((3000,1,24,24), .5)
    deviation = (_random_noise(grey, .1, p=1.1)-.5).flatten(1).std(1)
    assert deviation.max()<.12 and abs(deviation.mean()-.05)<.005 # from 0 to .1
    def detail(x): return x.diff(dim=-1).abs().mean()
    assert detail(_random_blur(x, 2., p=1.1))<detail(_random_blur(x, .5, p=1.1))<detail(x)
    assert detail(_random_lowres(x, .8, p=1.1))<detail(x)
    assert torch.allclose(_random_blur(grey, 2., p=1.1), grey, atol=1e-5) # no dark border


@pytest.mark.parametrize('name, strength', dict(noise=.1, blur=1.5, lowres=.6, jpeg=20).items())
def test_augment_takes_each_alone(x, name, strength):
    torch.manual_seed(0)
    y = Augment(**{name:strength}, degrade=.5)(_TensorFace(x), split_idx=0)
    assert .35<(y!=x).flatten(1).any(1).float().mean()<.65
    assert isinstance(y, _TensorFace)


def test_augment_of_nothing_is_nothing(x):
    assert torch.equal(Augment()(_TensorFace(x), split_idx=0), _TensorFace(x))
    assert torch.equal(Augment(**AUGMENT)(_TensorFace(x), split_idx=1), _TensorFace(x)) # valid
