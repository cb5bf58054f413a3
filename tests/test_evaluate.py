"Edges of the metrics that a reader of 05 need not see"
import json
import numpy as np
import pytest
from sklearn import metrics as skm
from sklearn.calibration import calibration_curve
from fer_nbdev import evaluate as ev
from fer_nbdev.core import EMOTIONS, FIVE, Faces


def toy(n=900, k=7, seed=0, strength=1.5):
    rng = np.random.default_rng(seed)
    y = rng.choice(k, n, p=rng.dirichlet(np.full(k, 3.)))
    z = np.exp(rng.normal(size=(n, k)) + strength*np.eye(k)[y])
    return y, z/z.sum(1, keepdims=True)


@pytest.mark.parametrize('k', [2, 3, 5, 7, 10])
@pytest.mark.parametrize('seed', [0, 1])
def test_equal_to_sklearn(k, seed):
    y, p = toy(k=k, seed=seed)
    m, pred, labels = ev.classification_metrics(y, p), p.argmax(1), range(k)
    assert m['accuracy'] == pytest.approx(skm.accuracy_score(y, pred))
    assert m['balanced_accuracy'] == pytest.approx(skm.balanced_accuracy_score(y, pred))
    assert m['macro_f1'] == pytest.approx(skm.f1_score(y, pred, average='macro', labels=labels))
    assert m['log_loss'] == pytest.approx(skm.log_loss(y, p, labels=labels))
    assert m['brier'] == pytest.approx(((p-np.eye(k)[y])**2).sum(1).mean())
    if k > 2:
        assert m['top2'] == pytest.approx(skm.top_k_accuracy_score(y, p, k=2, labels=labels))
        assert m['brier'] == pytest.approx(skm.brier_score_loss(y, p, labels=labels))
    P, R, F, S = skm.precision_recall_fscore_support(y, pred, labels=labels, zero_division=np.nan)
    np.testing.assert_allclose(ev.per_class(y, p, n=2)[['precision', 'recall', 'f1', 'faces']].values, np.stack([P, R, F, S], 1))


def test_calibration_error_from_sklearns_curve():
    y, p = toy()
    right, conf = p.argmax(1) == y, p.max(1)
    acc, mean = calibration_curve(right, conf, n_bins=15, strategy='quantile')
    assert ev.classification_metrics(y, p)['ece'] == pytest.approx(abs(acc-mean).mean())


def test_log_loss_of_a_certain_mistake_is_finite_as_in_sklearn():
    y, p = np.array([0, 1]), np.array([[1., 0], [1, 0]])
    assert ev.classification_metrics(y, p)['log_loss'] == pytest.approx(skm.log_loss(y, p))


def test_order_of_faces_does_not_matter():
    y, p = toy()
    i = np.random.default_rng(5).permutation(len(y))
    assert ev.classification_metrics(y, p) == pytest.approx(ev.classification_metrics(y[i], p[i]))


def test_half_precision_and_lists_are_fine():
    y, p = toy()
    m = ev.classification_metrics(y, p)
    assert ev.classification_metrics(y.tolist(), p.astype(np.float16)) == pytest.approx(m, abs=2e-3)
    assert ev.classification_metrics(y.astype(np.int8), p.tolist()) == pytest.approx(m)


def test_ties_go_to_the_first_class_and_share_a_bin():
    y, p = np.array([0, 1, 2, 0]), np.full((4, 3), 1/3)
    m = ev.classification_metrics(y, p)
    assert m['accuracy'] == .5 and m['top2'] == .75
    assert m['ece'] == pytest.approx(.5-1/3)


def test_fewer_faces_than_bins():
    y, p = toy(5)
    with pytest.warns(UserWarning): m = ev.classification_metrics(y, p)
    assert 0 <= m['ece'] <= 1


def test_classes_by_default():
    assert list(ev.per_class(*toy(), n=2).index) == list(EMOTIONS)
    assert list(ev.per_class(*toy(k=5), n=2).index) == [f'class {i}' for i in range(5)]
    assert list(ev.per_class(*toy(k=5), FIVE, n=2).index) == list(FIVE)


def test_bootstrap_is_seeded_and_equals_a_plain_loop():
    y, p = toy(120, 3)
    a, b, c = (ev.bootstrap_ci(y, p, n=50, random_state=r) for r in (0, 0, 1))
    assert a == b != c
    W = np.concatenate(list(ev._resamples(y, 50, 0))).astype(int)
    f1 = []
    for w in W:
        i = np.repeat(np.arange(len(y)), w)
        f1.append(skm.f1_score(y[i], p[i].argmax(1), average='macro'))
    assert a['macro_f1'] == pytest.approx(np.quantile(f1, (.025, .975)))


def test_blocks_of_resamples_do_not_change_their_number():
    y = np.zeros(300_000, int)
    assert sum(len(w) for w in ev._resamples(y, 20)) == 20


def test_wider_level_wider_interval_and_more_faces_narrower():
    width = lambda ci: ci['accuracy'][1]-ci['accuracy'][0]
    y, p = toy(400, 3)
    assert width(ev.bootstrap_ci(y, p, level=.5)) < width(ev.bootstrap_ci(y, p, level=.99))
    assert width(ev.bootstrap_ci(*toy(4000, 3))) < width(ev.bootstrap_ci(y, p))


@pytest.mark.parametrize('b,c,expect', [(0, 0, 1), (4, 4, 1), (0, 1, .5), (0, 5, 2*.5**5/2), (1, 9, 0.011719)])
def test_mcnemar_midp(b, c, expect):
    # b+c=n: sum of binomial(n, .5) below min, plus half the mass at min, twice
    y = np.zeros(b+c+3, int)
    A = np.tile([1., 0], (len(y), 1)); B = A.copy()
    B[:b] = A[b:b+c] = (0, 1)
    with pytest.warns(UserWarning): ev.classification_metrics(y, A)
    r = ev.mcnemar_midp(y, A, B)
    assert (r['only_a'], r['only_b']) == (b, c) and r['p'] == pytest.approx(expect, rel=1e-3)
    assert ev.mcnemar_midp(y, B, A)['p'] == pytest.approx(r['p'])


def test_mcnemar_midp_is_fair_when_models_are_equal():
    ps = []
    for s in range(200):
        y, a = toy(150, 4, seed=s)
        rng = np.random.default_rng(900+s)
        z = np.exp(rng.normal(size=a.shape) + 1.5*np.eye(4)[y])
        ps.append(ev.mcnemar_midp(y, a, z/z.sum(1, keepdims=True))['p'])
    assert .01 <= np.mean(np.array(ps) < .05) <= .09


def test_paired_bootstrap_turns_round():
    y, a = toy(300, 4); b = toy(300, 4, seed=0, strength=2.)[1]
    d, e = ev.paired_bootstrap(y, a, b, n=100), ev.paired_bootstrap(y, b, a, n=100)
    np.testing.assert_allclose(d.difference, -e.difference)
    np.testing.assert_allclose(d.low, -e.high, atol=1e-12)


def test_calibration_floor_catches_a_boaster():
    y, p = toy(2000, 5)
    sharp = p**3/(p**3).sum(1, keepdims=True)
    assert ev.classification_metrics(y, sharp)['ece'] > ev.calibration_floor(sharp)[1]


def test_record_metrics_writes_a_line_only_if_asked(tmp_path, monkeypatch):
    y, p = toy(50)
    faces = Faces(np.zeros((50, 4, 4), np.uint8), y, 'valid')
    monkeypatch.delenv('FER_METRICS', raising=False)
    t = ev.record_metrics('a', faces, p, n=20)
    monkeypatch.setenv('FER_METRICS', str(tmp_path/'m.jsonl'))
    for r in ('baseline', 'model'): ev.record_metrics('a', faces, p, role=r, n=20)
    a, b = (json.loads(l) for l in (tmp_path/'m.jsonl').read_text().splitlines())
    assert (a['role'], b['role'], a['n'], a['data']) == ('baseline', 'model', 50, 'faces, valid')
    assert a['metrics']['accuracy']['value'] == pytest.approx(t.value['accuracy'], abs=1e-5)


def test_baselines_give_probabilities_even_for_a_class_they_never_saw():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), rng.choice([0, 3, 6], 60)
    for make in (ev.majority_baseline, ev.eigenface_baseline):
        p = make(Faces(x, y)).predict_proba(x[:5])
        assert p.shape == (5, 7)
        np.testing.assert_allclose(p.sum(1), 1)
        assert (p[:, [1, 2, 4, 5]] == 0).all()


def test_eigenface_weights_repeat_faces():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), rng.choice(3, 60)
    p = lambda **kw: ev.eigenface_baseline(Faces(x, y), n_components=5, **kw).predict_proba(x)
    np.testing.assert_allclose(p(), p(sample_weight=np.ones(60)))
    assert abs(p()-p(class_weight='balanced')).max() > 1e-3


def test_figures_close_and_draw(monkeypatch, capsys):
    import matplotlib; matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    y, p = toy(200, 5)
    ev.report(y, p, FIVE, name='toy', n=20)
    assert 'toy: 200 faces' in capsys.readouterr().out
    ax = ev.plot_confusion(y, p, FIVE)
    assert ax is ev.plot_confusion(y, p, FIVE, ax=ax)
    plt.close('all')


def test_import_is_light(root):
    import subprocess, sys
    heavy = 'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib'
    out = subprocess.run([sys.executable, '-c', f"import sys, fer_nbdev.evaluate; print([m for m in {heavy} if m in sys.modules])"], capture_output=True, text=True, cwd=root)
    assert out.stdout.strip() == '[]', out
