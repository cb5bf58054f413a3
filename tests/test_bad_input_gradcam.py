"Bad input to heat maps: each error says what is wrong, where, and how to mend it"
import numpy as np
import pytest
torch = pytest.importorskip('torch')
from torch import nn
from fer_nbdev.faithfulness import class_means, heat_in_mask, region_shares
from fer_nbdev.gradcam import (_activations_and_gradients, cam, grad_cam, grad_cam_plus_plus,
                               hires_cam, normalize_map, overlay)
from fer_nbdev.models import create_model


class Tokens(nn.Module):
    "Convolution, then tokens, then a linear layer; `unused` is never called, `idle` has no say"
    def __init__(self):
        super().__init__()
        self.conv,self.tokens,self.head = nn.Conv2d(1,4,3,padding=1),nn.Flatten(2),nn.Linear(4,7)
        self.unused,self.idle = nn.Conv2d(1,4,3),nn.Conv2d(1,4,3)
        self.two = nn.LSTM(4,4,batch_first=True)
    def forward(self, x):
        self.idle(x)
        return self.head(self.two(self.tokens(self.conv(x)).transpose(1,2))[0].mean(1))


class Nan(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1,7,3)
    def forward(self, x): return self.conv(x).mean((2,3))*float('nan')


class Gives(nn.Module):
    "A model that gives something else than logits"
    def __init__(self, give):
        super().__init__()
        self.conv,self.give = nn.Conv2d(1,7,3),give
    def forward(self, x): return self.give(self.conv(x).mean((2,3)))


torch.manual_seed(0)
nano,tokens,x = create_model('nano'),Tokens(),torch.rand(2,1,48,48)
dense = nn.Sequential(nn.Flatten(), nn.Linear(48*48,7))
other = create_model('nano')
pooled = nn.Sequential(nn.Conv2d(1,7,3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
image,heat = np.zeros((48,48), np.uint8),np.zeros((48,48))

TABLE = {
    'layer that does not exist': (lambda: grad_cam(nano, x, layer='featurs'),
        "layer 'featurs' does not exist in FaceNet, .*; did you mean 'features'"),
    'layer with no near name': (lambda: grad_cam(nano, x, layer='@@@'),
        "does not exist in FaceNet, whose modules begin with norm, features"),
    'layer by number': (lambda: grad_cam(nano, x, layer=3), "layer 3 does not exist in FaceNet"),
    'layer of another model': (lambda: grad_cam(nano, x, layer=other.features),
        "this Sequential is no part of the FaceNet"),
    'layer that is a vector': (lambda: grad_cam(nano, x, layer='head'),
        r"this Linear puts out shape \(2, 7\), expected a map"),
    'layer of one pixel': (lambda: grad_cam(nano, x, layer='pool.0'),
        r"puts out shape \(2, 112, 1, 1\), expected a map \(N, K, h, w\) of more than one pixel"),
    'layer of tokens': (lambda: grad_cam(tokens, x, layer='tokens'),
        r"this Flatten puts out shape \(2, 4, 2304\)"),
    'layer that gives a tuple': (lambda: grad_cam(tokens, x, layer='two'),
        "this LSTM puts out tuple"),
    'layer never called': (lambda: grad_cam(tokens, x, layer='unused'),
        "layer 'unused' is never called"),
    'layer without influence': (lambda: grad_cam(tokens, x, layer='idle'),
        "layer 'idle' has no influence"),
    'model without convolution': (lambda: grad_cam(dense, x), "Sequential has no convolution"),
    'model without convolution, hires': (lambda: hires_cam(dense, x), "has no convolution"),
    'model that puts out maps': (lambda: grad_cam(nano.features, x),
        r"puts out shape \(2, 112, 6, 6\), expected logits"),
    'model that puts out nan': (lambda: grad_cam(Nan(), x), "its logits contain NaN"),
    'model that gives a tuple': (lambda: grad_cam(Gives(lambda y: (y, y)), x),
        r"model: puts out tuple, expected logits \(N, n_classes\); wrap it"),
    'model that gives a dict, hires': (lambda: hires_cam(Gives(lambda y: dict(logits=y)), x),
        "model: puts out dict"),
    'model that gives None, cam': (lambda: cam(Gives(lambda y: None), x),
        "model: puts out NoneType"),
    'model that gives an array': (lambda: grad_cam(Gives(lambda y: y.detach().numpy()), x),
        "model: puts out ndarray"),
    'mask of 0 and 255': (lambda: heat_in_mask(torch.rand(1,4,4), torch.eye(4)[None]*255),
        "masks: values from 0 to 255, expected bool; for a mask of 0 and 255 pass masks>0"),
    'mask of 0 and 255, uint8': (lambda: heat_in_mask(heat[None], image[None]+255),
        "masks: values from 255 to 255"),
    'mask of shares': (lambda: heat_in_mask(torch.rand(1,4,4), torch.full((1,4,4), .5)),
        "masks: values from 0.5"),
    'mask with nan': (lambda: heat_in_mask(torch.rand(1,4,4), torch.full((1,4,4), float('nan'))),
        "masks: values from nan"),
    'batch of zero': (lambda: grad_cam(nano, x[:0]), "a batch of zero images"),
    'batch of zero, cam': (lambda: cam(nano, x[:0]), "a batch of zero images"),
    'one image without batch': (lambda: grad_cam(nano, x[0]),
        r"x: shape \(1, 48, 48\), expected \(N, channels, H, W\)"),
    'array instead of tensor': (lambda: grad_cam(nano, x.numpy()),
        "x: ndarray, expected a float tensor"),
    'uint8 images': (lambda: grad_cam(nano, (x*255).byte()), "divide uint8 by 255"),
    'nan pixel': (lambda: grad_cam(nano, x*float('nan')), "NaN or infinite pixels"),
    'target too large': (lambda: grad_cam(nano, x, target=7),
        "class 7, expected 0 to 6 for 7 classes"),
    'target negative': (lambda: grad_cam(nano, x, target=-1), "class -1, expected 0 to 6"),
    'one target too large': (lambda: grad_cam_plus_plus(nano, x, target=[0,9]),
        "class 9, expected 0 to 6"),
    'too many targets': (lambda: grad_cam(nano, x, target=[0,1,2]),
        r"shape \(3,\), expected one class, or one for each of the 2 images"),
    'float target': (lambda: grad_cam(nano, x, target=1.5),
        "target: torch.float32, expected integer classes"),
    'target by name': (lambda: grad_cam(nano, x, target='happy'), "target: 'happy', expected"),
    'cam without average pooling': (lambda: cam(create_model('emojify_cnn'), x),
        "CAM needs average pooling of `layer` and one linear layer"),
    'cam at another layer': (lambda: cam(nano, x, layer='features.2'), "CAM needs average pooling"),
    'cam without linear layer': (lambda: cam(pooled, x), "CAM needs average pooling"),
    'capture checks as well': (lambda: _activations_and_gradients(nano, x[:0]),
        "a batch of zero images"),
    'masks of another size': (lambda: heat_in_mask(torch.rand(2,48,48), torch.rand(2,6,6)>.5),
        r"shapes \(2, 48, 48\) and \(2, 6, 6\), expected the same"),
    'one map without batch': (lambda: heat_in_mask(heat, heat),
        r"maps: shape \(48, 48\), expected \(N, H, W\)"),
    'raw maps in masks': (lambda: heat_in_mask(-torch.ones(1,4,4), torch.ones(1,4,4)),
        "negative values"),
    'raw maps in regions': (lambda: region_shares(-torch.ones(1,6,6)), "negative values"),
    'one map in regions': (lambda: region_shares(heat),
        r"maps: shape \(48, 48\), expected \(N, H, W\)"),
    'more regions than rows': (lambda: region_shares(torch.ones(1,6,6), 7), "n: 7 bands of 6 rows"),
    'nan map': (lambda: region_shares(torch.full((1,6,6), float('nan'))), "maps: contain NaN"),
    'labels of another length': (lambda: class_means(torch.rand(3,6,6), [0,1]), "2 labels for 3"),
    'label outside the classes': (lambda: class_means(torch.rand(2,6,6), [0,7]),
        "labels: 7, expected 0 to 6"),
    'maps with channels': (lambda: normalize_map(torch.rand(2,3,6,6)),
        r"maps: shape \(2, 3, 6, 6\), expected \(N, h, w\)"),
    'image with four channels': (lambda: overlay(np.zeros((48,48,4), np.uint8), heat),
        r"image: shape \(48, 48, 4\)"),
    'image of floats to 255': (lambda: overlay(np.full((48,48), 255.), heat),
        "floats from 255 to 255, expected"),
    'heat of a batch': (lambda: overlay(image, heat[None]),
        r"heat: shape \(1, 48, 48\), expected one map"),
    'heat above one': (lambda: overlay(image, heat+2), "heat: from 2 to 2, expected"),
    'heat with nan': (lambda: overlay(image, heat*np.nan), "heat: from nan to nan"),
    'alpha above one': (lambda: overlay(image, heat, alpha=2), "alpha: 2, expected 0 to 1"),
    'unknown colours': (lambda: overlay(image, heat, cmap='infernal'),
        "cmap: unknown 'infernal'.*did you mean 'inferno'"),
}


@pytest.mark.parametrize('case', TABLE)
def test_bad_input(case):
    run,message = TABLE[case]
    modes = [m.training for m in nano.modules()]
    with pytest.raises(ValueError, match=message): run()
    for model in (nano, tokens, dense): assert not any(m._forward_hooks for m in model.modules())
    assert [m.training for m in nano.modules()]==modes
