"What is asked of a map: its shares add up, its truth is read as it is meant"
import numpy as np
import pytest
torch = pytest.importorskip('torch')
from fer_nbdev.faithfulness import centre_blob, class_means, heat_in_mask, region_shares

MAPS = torch.rand(3,48,48, generator=torch.Generator().manual_seed(0))
MASKS = torch.rand(3,48,48, generator=torch.Generator().manual_seed(1))>.7


@pytest.mark.parametrize('kind', [bool, int, np.uint8, np.float32])
def test_masks_of_0_and_1_are_read_as_bool(kind):
    masks = MASKS.numpy().astype(kind)
    wanted = (MAPS*MASKS).sum((1,2))/MAPS.sum((1,2))
    torch.testing.assert_close(heat_in_mask(MAPS, masks), wanted)


def test_shares_of_a_mask_and_the_rest_sum_to_one():
    s = heat_in_mask(MAPS, MASKS)+heat_in_mask(MAPS, ~MASKS)
    torch.testing.assert_close(s, torch.ones(3))
    assert heat_in_mask(MAPS*0, MASKS).isnan().all()


def test_region_shares():
    m = torch.zeros(3,48,48)
    m[0,:16] = 1
    m[1,40:] = 2
    s = region_shares(m)
    assert s[:2].tolist()==[[1,0,0],[0,0,1]] and s[2].isnan().all()
    torch.testing.assert_close(region_shares(torch.ones(1,48,48)), torch.full((1,3), 1/3))
    torch.testing.assert_close(region_shares(MAPS, 7).sum(1), torch.ones(3))


def test_blob_looks_at_nothing():
    blob = centre_blob((48,48))
    assert blob.max()<=1 and blob.min()>0
    torch.testing.assert_close(blob, blob.flip(0))
    torch.testing.assert_close(blob, blob.T)
    assert (blob.diff(dim=1)[:,:23]>0).all()


def test_class_means():
    labels = np.array([2,0,2])
    means = class_means(MAPS, labels, 4)
    torch.testing.assert_close(means[0], MAPS[1])
    torch.testing.assert_close(means[2], (MAPS[0]+MAPS[2])/2)
    assert means[1].isnan().all() and means[3].isnan().all()


def test_imports(root):
    "`faithfulness` builds on core, gradcam and evaluate only"
    import re
    source = (root/'fer_nbdev'/'faithfulness.py').read_text()
    ours = set(re.findall(r'^from (?:fer_nbdev)?\.(\w+) import', source, re.M))
    assert ours<={'core','gradcam','evaluate'}
