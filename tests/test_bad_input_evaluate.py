"What is not labels and probabilities is refused by one error: what, where, how to mend it"
import numpy as np
import pandas as pd
import pytest
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev import evaluate as ev

y = np.arange(14) % 7
p = np.full((14, 7), 1/7)


def put(a, i, v):
    a = a.copy()
    a[i] = v
    return a


BAD = [ # labels, probabilities, classes, what the message holds
    (put(y, 3, 7), p, None, 'face 3 has label 7, expected 0 to 6'),
    (put(y, 5, -1), p, None, 'face 5 has label -1'),
    (y, p, FIVE, '7 columns for 5 classes'),
    (np.array(EMOTIONS)[y], p, None, 'expected integers 0 to 6'),
    (y.astype(float), p, None, 'expected integers'),
    (np.eye(7)[y], p, None, 'one-hot'),
    (y[:0], p[:0], None, 'no face'),
    (y[:9], p, None, '14 rows for 9 labels'),
    (y, put(p, (4, 2), np.nan), None, 'row 4 holds NaN or infinity (1 of 14'),
    (y, put(p, (4, 2), np.inf), None, 'row 4 holds NaN or infinity'),
    (y, put(p, 6, .5), None, 'row 6 sums to 3.5'),
    (y, put(p, 2, 0), None, 'row 2 sums to 0'),
    (y, put(p, 1, [-.5, 1.5, 0, 0, 0, 0, 0]), None, 'minimum of -0.5'),
    (y, np.log(p), None, 'take the softmax first'),
    (y, y, None, 'expected (N, n_classes)'),
    (y, np.ones((14, 1)), None, 'expected (N, n_classes)'),
    (y, p.astype(str), None, 'expected numbers'),
    (y, pd.DataFrame(p, columns=[*EMOTIONS[:6], 'calm']), EMOTIONS, 'expected the classes'),
    (y, pd.DataFrame(p, columns=[*EMOTIONS[:6], 'sad']), EMOTIONS, 'expected the classes'),
    (y, pd.DataFrame(p, columns=[*FIVE, 'calm', 'sad']), None, 'a name stands twice'),
    (y, pd.DataFrame(p, columns=EMOTIONS), FIVE, '7 columns for 5 classes'),
    (y, pd.DataFrame(np.log(p), columns=EMOTIONS), None, 'take the softmax first'),
    (y, p, (*EMOTIONS[:6], 'sad'), 'a name stands twice'),
]
USES = dict(classification_metrics=ev.classification_metrics, bootstrap_ci=ev.bootstrap_ci,
            metrics_table=ev.metrics_table, _metrics_record=ev._metrics_record,
            per_class=ev.per_class, plot_confusion=ev.plot_confusion,
            plot_reliability=ev.plot_reliability, report=ev.report,
            mcnemar_midp=lambda y, p, c: ev.mcnemar_midp(y, p, p, c),
            paired_table=lambda y, p, c: ev.paired_table(y, p, p, c))


@pytest.mark.parametrize('use', USES)
@pytest.mark.parametrize('labels,probs,classes,says', BAD, ids=[str(b[3]) for b in BAD])
def test_refused(use, labels, probs, classes, says):
    with pytest.raises(ValueError) as e: USES[use](labels, probs, classes)
    assert says in str(e.value)


def test_the_second_model_is_named():
    with pytest.raises(ValueError, match='prob_b: row 0'): ev.mcnemar_midp(y, p, p*2)
    with pytest.raises(ValueError, match='prob_b: 9 rows'): ev.paired_table(y, p, p[:9])
    with pytest.raises(ValueError, match='prob_b: 5 columns for 7 classes'):
        ev.mcnemar_midp(y, p, p[:, :5]*7/5)


def test_missing_classes_warn_and_are_left_out():
    few = y[y < 3]
    with pytest.warns(UserWarning, match='no face of happy, sad, surprise, neutral'):
        m = ev.classification_metrics(few, p[y < 3])
    assert m['balanced_accuracy'] == pytest.approx(1/3) # all are called angry
    assert np.isfinite(list(m.values())).all()
    with pytest.warns(UserWarning, match='no face of'): ev.paired_table(few, p[y < 3], p[y < 3])
    d = ev.per_class(few, p[y < 3])
    assert d.recall.isna().tolist() == [False]*3 + [True]*4
    assert d.precision.isna().tolist() == [False] + [True]*6


def test_only_one_class_is_there():
    with pytest.warns(UserWarning): m = ev.classification_metrics(np.zeros(5, int), p[:5])
    assert m['accuracy'] == m['balanced_accuracy'] == m['macro_f1'] == 1


@pytest.mark.parametrize('level', [0, 1, 95, -.5, np.nan])
@pytest.mark.parametrize('use', ['bootstrap_ci', 'metrics_table', 'per_class', 'paired_table'])
def test_level(use, level):
    args = (y, p, p) if use == 'paired_table' else (y, p)
    with pytest.raises(ValueError, match='level: .*between 0 and 1'):
        getattr(ev, use)(*args, level=level)


@pytest.mark.parametrize('n', [0, -3])
def test_number_of_resamples(n):
    with pytest.raises(ValueError, match='n: .*expected 1 or more'): ev.bootstrap_ci(y, p, n=n)
    with pytest.raises(ValueError, match='n: .*expected 1 or more'): ev.calibration_floor(p, n=n)


def test_bins_must_be_positive():
    with pytest.raises(ValueError, match='n_bins'): ev.classification_metrics(y, p, n_bins=0)
    with pytest.raises(ValueError, match='n_bins'): ev.calibration_floor(p, n_bins=0)


@pytest.mark.parametrize('probs,says', [
    (np.log(p), 'take the softmax first'),
    (put(p, (4, 2), np.nan), 'row 4 holds NaN'),
    (p[0], r'expected \(N, n_classes\)'),
    (p.astype(str), 'expected numbers'),
], ids=['logits', 'nan', 'one row', 'text'])
def test_calibration_floor(probs, says):
    with pytest.raises(ValueError, match=says): ev.calibration_floor(probs)


def test_many_classes_make_a_short_message():
    many = np.full((3, 1000), .001)
    with pytest.raises(ValueError) as e: ev.classification_metrics([0, 1, 1000], many)
    assert 'face 2 has label 1000' in str(e.value) and len(str(e.value)) < 300
    with pytest.warns(UserWarning) as w: ev.classification_metrics([0, 1, 2], many)
    assert 'and 985 more' in str(w[0].message)
