"Edges of what 03 shows, and its bad input"
import json
import numpy as np
import pytest
from fer_nbdev import eda
from fer_nbdev.core import EMOTIONS, Faces


def some(n=60, classes=range(7), split=('train', 'valid'), seed=0, size=12):
    rng = np.random.default_rng(seed)
    y = np.resize(list(classes), n)
    return Faces(rng.integers(0, 256, (n, size, size), dtype=np.uint8), y, rng.choice(split, n))


def test_class_table_has_a_row_for_a_class_without_faces():
    f = some(classes=(0, 3))
    d = eda.class_table(f)
    assert list(d.index) == list(EMOTIONS) and list(d) == ['train', 'valid', 'all']
    assert (d['all'].values == f.counts).all()
    assert (d[['train', 'valid']].sum(axis=1) == d['all']).all()
    assert eda.imbalance_ratio(d['all']) == np.inf


def test_split_test_is_scipys_and_forgives_an_absent_class():
    from scipy.stats import chi2_contingency
    f = some(200, classes=(0, 2, 3))
    t = eda.class_table(f)[['train', 'valid']].values[[0, 2, 3]]
    r = eda.split_test(f)
    assert r['p'] == pytest.approx(chi2_contingency(t).pvalue) and r['dof'] == 2


@pytest.mark.parametrize('f', [some(split=('train',)), some(classes=(3,))])
def test_nothing_to_compare(f):
    with pytest.raises(ValueError, match='two or more of each'): eda.split_test(f)


def test_mean_faces_of_a_missing_class_are_nan():
    mean, dev = eda.mean_faces(some(classes=(0, 3)))
    assert mean.shape == dev.shape == (7, 12, 12)
    assert np.isfinite(mean[[0, 3]]).all() and np.isnan(mean[1]).all() and np.isnan(dev[6]).all()


@pytest.mark.parametrize('use', [
    lambda: eda.eigenfaces(some().images, 60), lambda: eda.eigenfaces(some().images, 0)])
def test_too_many_components(use):
    with pytest.raises(ValueError, match='expected 1 to 59'): use()


@pytest.mark.parametrize('use', [eda.image_stats, eda.flat_images, eda.eigenfaces])
def test_one_image_is_not_a_stack(use):
    with pytest.raises(ValueError, match=r'expected \(N, H, W\)'): use(np.zeros((48, 48), np.uint8))


def test_flat_images_come_flattest_first():
    x = some().images.copy()
    x[7], x[9] = 5, 200
    x[9, 0, 0] = 180
    assert eda.flat_images(x).tolist() == [7, 9]
    assert len(eda.flat_images(some().images)) == 0


def test_eta_squared_of_constants_and_gaps():
    assert eda._eta_squared([2, 2, 2], [0, 1, 2]) == 0
    assert eda._eta_squared([1, 5], [0, 6]) == pytest.approx(1)


def test_entropy_without_votes_is_nan():
    h = eda.vote_entropy(np.array([[0, 0], [3, 0], [1, 1]]))
    assert np.isnan(h[0]) and h[1:].tolist() == [0, 1]


def test_a_plane_needs_three_classes():
    with pytest.raises(ValueError, match='2 classes, expected three or more'):
        eda._class_plane(some(classes=(0, 3)))


def test_the_figure_is_small_and_holds_no_picture():
    f = some(400)
    fig = eda._plot_plane(f, np.random.default_rng(0).normal(size=(400, 2)), n=150)
    d = fig.to_plotly_json()
    assert sum(len(t['x']) for t in d['data']) == 150
    assert [t['name'] for t in d['data']] == list(EMOTIONS)
    assert not d['layout'].get('images') and len(json.dumps(fig.to_dict())) < 30_000
