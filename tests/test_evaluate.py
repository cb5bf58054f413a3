"Edges of the metrics that a reader of 05 need not see"
import json, tracemalloc
import numpy as np
import pandas as pd
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
    expected = skm.precision_recall_fscore_support(y, pred, labels=labels, zero_division=np.nan)
    got = ev.per_class(y, p)[['precision', 'recall', 'f1', 'faces']].values
    np.testing.assert_allclose(got, np.stack(expected, 1))


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
    assert list(ev.per_class(*toy()).index) == list(EMOTIONS)
    assert list(ev.per_class(*toy(k=5)).index) == [f'class {i}' for i in range(5)]
    assert list(ev.per_class(*toy(k=5), FIVE).index) == list(FIVE)


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


@pytest.mark.parametrize('intervals', [ev.bootstrap_ci, ev._intervals])
def test_wider_level_wider_interval_and_more_faces_narrower(intervals):
    def width(n, level):
        low, high = intervals(*toy(n, 3), level=level)['accuracy']
        return high-low
    assert width(400, .5) < width(400, .95) < width(400, .99)
    assert width(4000, .95) < width(400, .95)/2.5


# A known truth: toys as in 05, whose rare class (2 %) is found, hardly found, or never

SHARES = np.array([.14, .02, .14, .25, .17, .11, .17])


def known(n, rng, rare, scale=1.8):
    lean = np.array([1.2, rare, .8, 2.6, 1.1, 2.2, 1.6])
    y = np.repeat(np.arange(7), np.round(n*SHARES).astype(int))
    z = rng.normal(size=(len(y), 7))
    z[np.arange(len(y)), y] += lean[y]
    e = np.exp(scale*z)
    return y, e/e.sum(1, keepdims=True)


def share_inside(n, trials, rare, scale, intervals, seed=1):
    "How often `intervals` hold the truth, by metric"
    rng = np.random.default_rng(seed)
    truth = ev._seven(*known(300_000, rng, rare, scale), 15)
    inside = {m: 0 for m in ev._intervals(*known(n, rng, rare, scale))}
    for _ in range(trials):
        for m, (low, high) in intervals(*known(n, rng, rare, scale)).items():
            inside[m] += low <= truth[m] <= high
    return {m: k/trials for m, k in inside.items()}


@pytest.mark.parametrize('rare', [1.6, .6, -.5])
@pytest.mark.parametrize('n,trials,scale', [(300, 1500, 1.8), (500, 1500, 4.), (3600, 400, 1.8)])
def test_intervals_cover(n, trials, scale, rare):
    "95 % intervals of six metrics; .03 is five standard errors of 1,500 trials, three of 400"
    cover = share_inside(n, trials, rare, scale, ev._intervals)
    assert min(cover.values()) > .92 and max(cover.values()) < .99, cover


def test_the_bootstrap_does_not_where_a_class_is_rare():
    "The same check, at the same tolerance, finds fault with the percentile bootstrap: it can fail"
    cover = share_inside(300, 400, 1.6, 1.8, lambda y, p: ev.bootstrap_ci(y, p, n=200))
    assert cover['balanced_accuracy'] < .92 < cover['log_loss'], cover


def test_chance_covers_for_the_seventh():
    "A calibrated model exceeds the 95th percentile of chance in 5 % of cases, at both sizes"
    for n in (500, 3600):
        rng, above = np.random.default_rng(n), 0
        for _ in range(300):
            p = known(n, rng, 1.6)[1]
            y = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
            above += ev._seven(y, p, 15)['ece'] > ev._chance(p, 100, 15, 0)[1]
        assert .02 <= above/300 <= .09, (n, above)


def test_intervals_of_differences_cover():
    "Two models that make mostly the same mistakes; b knows a little more"
    def pair(n, rng):
        y, a = known(n, rng, .6)
        z = np.log(a)/1.8+.5*rng.normal(size=a.shape)
        z[np.arange(n), y] += .1
        e = np.exp(1.8*z)
        return y, a, e/e.sum(1, keepdims=True)
    def difference(y, a, b):
        ma, mb = ev._seven(y, a, 15), ev._seven(y, b, 15)
        return np.array([mb[m]-ma[m] for m in ev.METRICS[:6]])
    rng = np.random.default_rng(2)
    truth, inside = difference(*pair(300_000, rng)), np.zeros(6)
    for _ in range(800):
        trial = pair(500, rng)
        inside += abs(difference(*trial)-truth) <= ev._difference_width(*trial, .95)
    assert (inside/800 > .915).all() and (inside/800 < .985).all(), inside/800


@pytest.mark.parametrize('rare', [1.6, .6])
def test_interval_of_a_rare_class_covers(rare):
    rng = np.random.default_rng(3)
    truth = ev.per_class(*known(300_000, rng, rare)).f1['disgust']
    rows = [ev.per_class(*known(500, rng, rare)).loc['disgust'] for _ in range(300)]
    inside = np.mean([r.low <= truth <= r.high for r in rows])
    assert .91 < inside < .99, inside


def test_a_metric_moves_as_its_slopes_say():
    "Influences against a face really repeated a thousandth time"
    y, p = toy(300, 5)
    terms, faces = ev._terms(y, p), np.bincount(y, minlength=5)
    sums, slopes = terms.sum(0), ev._slopes(terms.sum(0), faces)
    for i in (0, 7, 100):
        moved, before = ev._metrics(sums+terms[i]/1000, faces), ev._metrics(sums, faces)
        got = np.array([moved[m]-before[m] for m in moved])*1000
        np.testing.assert_allclose(got, terms[i]@slopes, rtol=2e-3, atol=1e-6)


def test_a_class_of_which_nothing_was_found_is_not_certain():
    y = np.repeat([0, 1], [500, 8])
    p = np.tile([.9, .1], (508, 1))
    low, high = ev._intervals(y, p)['balanced_accuracy']
    assert high-low > .1


@pytest.mark.parametrize('b,c,expect', [
    (0, 0, 1), (4, 4, 1), (0, 1, .5), (0, 5, 2*.5**5/2), (1, 9, 0.011719)])
def test_mcnemar_midp(b, c, expect):
    # b+c=n: sum of binomial(n, .5) below min, plus half the mass at min, twice
    y = np.zeros(b+c+3, int)
    A = np.tile([1., 0], (len(y), 1))
    B = A.copy()
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


def test_paired_table_turns_round():
    y, a = toy(300, 4)
    b = toy(300, 4, seed=0, strength=2.)[1]
    d, e = ev.paired_table(y, a, b), ev.paired_table(y, b, a)
    np.testing.assert_allclose(d.difference, -e.difference)
    np.testing.assert_allclose(d.low, -e.high, atol=1e-12)
    assert d.loc['ece', ['low', 'high']].isna().all() and d.drop('ece').notna().all(axis=None)


def test_calibration_floor_catches_too_much_confidence():
    y, p = toy(2000, 5)
    sharp = p**3/(p**3).sum(1, keepdims=True)
    assert ev.classification_metrics(y, sharp)['ece'] > ev.calibration_floor(sharp)[1]


def test_a_table_is_read_by_its_names():
    y, p = toy(300)
    m, turned = ev.classification_metrics(y, p), np.argsort(EMOTIONS)
    named = pd.DataFrame(p[:, turned], columns=np.array(EMOTIONS)[turned])
    assert ev.classification_metrics(y, named) == m == ev.classification_metrics(y, named, EMOTIONS)
    assert ev.classification_metrics(y, pd.DataFrame(p)) == m # numbered columns: by position
    assert ev.calibration_floor(named) == ev.calibration_floor(p)
    assert ev.mcnemar_midp(y, p, named)['only_a'] == 0
    five = pd.DataFrame(toy(300, 5)[1], columns=FIVE)
    assert list(ev.per_class(toy(300, 5)[0], five).index) == list(FIVE)


@pytest.mark.parametrize('use', [
    ev.classification_metrics, ev.metrics_table, lambda y, p: ev.bootstrap_ci(y, p, n=20),
    lambda y, p: ev.paired_table(y, p, p)])
def test_memory_with_1000_classes_is_linear(use):
    "Twice the faces, about twice the memory; and a small multiple of the probabilities"
    def peak(n):
        p = np.random.default_rng(0).random((n, 1000))
        p /= p.sum(1, keepdims=True)
        tracemalloc.start()
        use(np.arange(n) % 1000, p)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used, p.nbytes
    (small, _), (large, input) = peak(1000), peak(2000)
    assert large < 2.3*small and large < 20*input, (small/1e6, large/1e6)


def test_figures_of_many_classes_draw():
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    y, p = np.arange(60) % 20, np.full((60, 20), .05)
    ev.plot_confusion(y, p)
    ev.plot_reliability(y, p)
    plt.close('all')


def test_record_metrics_writes_a_line_only_if_asked(tmp_path, monkeypatch):
    y, p = toy(50)
    faces = Faces(np.zeros((50, 4, 4), np.uint8), y, 'valid')
    monkeypatch.delenv('FER_METRICS', raising=False)
    t = ev.record_metrics('a', faces, p)
    monkeypatch.setenv('FER_METRICS', str(tmp_path/'m.jsonl'))
    for r in ('baseline', 'model'): ev.record_metrics('a', faces, p, role=r)
    strict = dict(parse_constant=lambda s: pytest.fail(f'{s} is not json'))
    lines = (tmp_path/'m.jsonl').read_text().splitlines()
    a, b = (json.loads(l, **strict) for l in lines)
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
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    y, p = toy(200, 5)
    ev.report(y, p, FIVE, name='toy')
    assert 'toy: 200 faces' in capsys.readouterr().out
    ax = ev.plot_confusion(y, p, FIVE)
    assert ax is ev.plot_confusion(y, p, FIVE, ax=ax)
    plt.close('all')


def test_import_is_light(root):
    import subprocess, sys
    heavy = 'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib'
    code = f"import sys, fer_nbdev.evaluate; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=root)
    assert out.stdout.strip() == '[]', out
