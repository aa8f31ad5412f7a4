"""Metrics, with scikit-learn as the judge."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.convert.data import Batch, open_dataset
from tinsmith.convert.metrics import metric_for, metric_named
from tinsmith.convert.metrics.counting import ranks
from tinsmith.convert.metrics.ranking import average_precision, roc_area
from tinsmith.runtime.errors import DataError, UsageError


@pytest.fixture(scope="module")
def sklearn():
    """scikit-learn's metrics; an extra of the demo, so the library does without."""
    return pytest.importorskip("sklearn.metrics")


def batch(labels=None, targets=None):
    return Batch(
        feeds={},
        labels=None if labels is None else np.asarray(labels, dtype=np.int64),
        targets=None if targets is None else np.asarray(targets, dtype=np.float32),
    )


def score(name, answers, labels=None, targets=None):
    """All at once, and in two batches, which must be the same."""
    metric, answers = metric_named(name), np.asarray(answers, dtype=np.float32)
    whole = metric.score([answers], batch(labels, targets))
    tally = metric.tally("samples")
    for part in (slice(None, 1), slice(1, None)):
        given_labels = None if labels is None else np.asarray(labels)[part]
        given_targets = None if targets is None else np.asarray(targets)[part]
        tally.update([answers[part]], batch(given_labels, given_targets))
    assert tally.result() == pytest.approx(whole, rel=1e-9, abs=1e-12)
    return whole


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@st.composite
def classified(draw, classes=(2, 6)):
    """Logits in few steps, so that there are ties, and labels of which each class has one at least."""
    n_classes = draw(st.integers(*classes))
    labels = np.concatenate([np.arange(n_classes), draw(st.lists(st.integers(0, n_classes - 1), max_size=30))])
    seed, steps = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([2, 5, 1000]))
    logits = np.random.default_rng(seed).integers(0, steps, (len(labels), n_classes)).astype(np.float32)
    return logits, labels.astype(np.int64)


@given(classified())
def test_accuracy_is_that_of_scikit_learn(sklearn, case):
    logits, labels = case

    assert score("accuracy", logits, labels) == pytest.approx(sklearn.accuracy_score(labels, logits.argmax(axis=1)))


@given(classified(classes=(4, 8)), st.integers(1, 3))
def test_top_k_is_that_of_scikit_learn_where_there_are_no_ties(sklearn, case, k):
    _, labels = case
    logits = np.random.default_rng(len(labels)).permuted(np.arange(labels.size * 9, dtype=np.float32).reshape(-1, 9))
    logits = logits[:, : labels.max() + 1]

    expected = sklearn.top_k_accuracy_score(labels, logits, k=k, labels=np.arange(logits.shape[1]))
    assert score(f"top-{k}", logits, labels) == pytest.approx(expected)


@given(classified())
def test_the_first_of_equal_scores_counts_as_named(case):
    logits, labels = case

    assert ((ranks(logits, labels) == 0) == (logits.argmax(axis=1) == labels)).all()
    places = [ranks(logits, np.full(len(labels), c)) for c in range(logits.shape[1])]
    assert np.sort(np.stack(places, axis=1)).tolist() == [list(range(logits.shape[1]))] * len(labels)


@given(classified(classes=(2, 2)))
def test_the_area_under_the_curve_and_average_precision_are_those_of_scikit_learn(sklearn, case):
    logits, labels = case
    truth = labels == 1

    assert roc_area(logits[:, 0], truth) == pytest.approx(sklearn.roc_auc_score(truth, logits[:, 0]))
    assert average_precision(logits[:, 0], truth) == pytest.approx(sklearn.average_precision_score(truth, logits[:, 0]))


@given(classified(classes=(3, 6)))
def test_of_several_classes_auc_and_map_are_macro_means(sklearn, case):
    logits, labels = case
    scores = softmax(logits).astype(np.float32)

    assert score("map", scores, labels) == pytest.approx(
        np.mean([sklearn.average_precision_score(labels == c, scores[:, c]) for c in range(scores.shape[1])])
    )
    assert score("auc", scores, labels) == pytest.approx(
        np.mean([sklearn.roc_auc_score(labels == c, scores[:, c]) for c in range(scores.shape[1])])
    )


@given(classified(classes=(3, 3)))
def test_auc_is_the_one_that_scikit_learn_calls_ovr(sklearn, case):
    logits, labels = case
    scores = softmax(logits)

    assert score("auc", scores, labels) == pytest.approx(
        sklearn.roc_auc_score(labels, scores.astype(np.float32).astype(np.float64), multi_class="ovr"), abs=1e-6
    )


@given(classified(classes=(2, 2)))
def test_two_classes_have_one_auc_however_the_model_gives_them(sklearn, case):
    logits, labels = case
    second = logits[:, 1] - logits[:, 0]
    expected = sklearn.roc_auc_score(labels, second)

    assert score("auc", second[:, None], labels) == pytest.approx(expected)
    assert score("auc", logits - 5000, labels) == pytest.approx(expected)
    assert score("map", logits - 5000, labels) == pytest.approx(score("map", second[:, None] - 5000, labels))


@given(classified(classes=(3, 6)))
def test_several_truths_a_sample_are_judged_column_by_column(sklearn, case):
    logits, labels = case
    truths = (labels[:, None] >= np.arange(logits.shape[1])).astype(np.float32)
    columns = [c for c in range(logits.shape[1]) if 0 < truths[:, c].sum() < len(truths)]

    assert score("auc", logits, targets=truths) == pytest.approx(
        np.mean([sklearn.roc_auc_score(truths[:, c], logits[:, c]) for c in columns])
    )
    assert score("map", logits, targets=truths) == pytest.approx(
        np.mean([sklearn.average_precision_score(truths[:, c], logits[:, c]) for c in columns])
    )


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32)), min_size=2, max_size=30),
    st.sampled_from([("mae", "mean_absolute_error"), ("mse", "mean_squared_error")]),
)
def test_errors_are_those_of_scikit_learn(sklearn, pairs, names):
    answers, truth = np.array(pairs, dtype=np.float32)[:, :1], np.array(pairs, dtype=np.float32)[:, 1:]
    expected = getattr(sklearn, names[1])(truth.astype(np.float64), answers.astype(np.float64))

    assert score(names[0], answers, targets=truth) == pytest.approx(expected)


def test_errors_say_how_sure_they_are():
    answers, truth = np.array([[1.0], [2.0], [3.0], [7.0]]), np.zeros((4, 1))
    tally = metric_named("mae").tally("samples")
    tally.update([answers[:1]], batch(targets=truth[:1]))
    assert tally.standard_error is None

    tally.update([answers[1:]], batch(targets=truth[1:]))
    assert tally.standard_error == pytest.approx(np.std(answers, ddof=1) / 2)


def test_accuracy_says_how_sure_it_is():
    tally = metric_named("accuracy").tally("samples")
    tally.update([np.eye(3)[[0, 1, 2, 0]]], batch([0, 1, 2, 1]))

    assert tally.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


def test_whole_numbers_are_a_regression_for_a_model_that_gives_one_number():
    assert score("mae", [[1.0], [4.0]], labels=[1, 2]) == 1.0


def test_a_class_without_samples_is_left_out_of_the_mean():
    scores = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]])

    assert score("auc", scores, labels=[0, 0, 1, 1]) == pytest.approx((0.5 + 0.5) / 2)


@pytest.mark.parametrize(
    ("name", "answers", "truth", "said"),
    [
        ("accuracy", [[1, 2]], {}, "no labels"),
        ("accuracy", [[1, 2]], {"labels": [2]}, "label 2"),
        ("accuracy", [[7.5]], {"labels": [0]}, "class scores"),
        ("accuracy", [[1, 2]], {"targets": [[0.5, 0.5]]}, "numbers and no class labels"),
        ("top-5", [[1, 2, 3]], {"labels": [0]}, "always right"),
        ("auc", [[0.1, 0.9], [0.9, 0.1]], {"labels": [1, 1]}, "one class alone"),
        ("auc", [[0.1, 0.9]], {"labels": [2]}, "label 2"),
        ("auc", np.zeros((1, 4, 4, 3)), {"labels": [2]}, "class scores"),
        ("map", [[0.1, 0.9]], {"targets": [[1, 0, 1]]}, "3 truths"),
        ("map", [[0.1, 0.9]], {"targets": [[1, 0.5]]}, "0 and 1"),
        ("map", [[0.1, 0.9]], {}, "no labels"),
        ("mae", [[0.1, 0.9]], {"labels": [1]}, "compares numbers"),
        ("mse", [[0.1, 0.9]], {"targets": [[1.0]]}, "1 numbers a sample"),
        ("mse", [[0.1, 0.9]], {}, "no labels"),
    ],
)
def test_what_does_not_fit_is_said(name, answers, truth, said):
    with pytest.raises(DataError, match=said):
        metric_named(name).score([np.asarray(answers, dtype=np.float32)], batch(**truth))


@pytest.mark.parametrize("name", ["accuracy", "auc", "mae"])
def test_several_outputs_need_a_function_of_ones_own(name):
    with pytest.raises(DataError, match="one output"):
        metric_named(name).score([np.ones((1, 2)), np.ones((1, 2))], batch([0]))


def test_an_unknown_name_lists_the_known_ones():
    for name in ("acuracy", "top-0", "top-x", ""):
        with pytest.raises(UsageError) as caught:
            metric_named(name)
        for known in ("accuracy", "top-K", "auc", "map", "mae", "mse", "module:function"):
            assert known in caught.value.hint


OWN = """
def median_error(answers, truth):
    return abs(answers[:, 0] - truth[:, 0]).sum()
median_error.more_is_better = False
def pair(answers, truth):
    assert isinstance(answers, list) and truth.dtype == "int64"
    return len(answers)
def broken(answers, truth):
    raise KeyError("x")
def nothing(answers, truth):
    return float("nan")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's in the present folder."""
    (tmp_path / "own_metric.py").write_text(OWN)
    monkeypatch.delitem(__import__("sys").modules, "own_metric", raising=False)
    return "own_metric"


def test_a_function_of_the_users_judges(own):
    metric = metric_named(f"{own}:median_error")

    assert (metric.more_is_better, metric.merit(2.0)) == (False, -2.0)
    assert score(metric.name, [[1.0], [2.0]], targets=[[0.0], [0.5]]) == 2.5
    assert metric_named(f"{own}:pair").score([np.ones((2, 1)), np.ones((2, 1))], batch([0, 1])) == 2


def test_a_function_that_is_missing_or_fails_is_said(own):
    for name, said in ((f"{own}:none", "no function"), ("no_such_module_x:f", "can't be imported")):
        with pytest.raises(UsageError, match=said):
            metric_named(name)
    for name, said in ((f"{own}:broken", "KeyError"), (f"{own}:nothing", "no score")):
        with pytest.raises(DataError, match=said):
            score(name, [[1.0], [1.0]], labels=[0, 1])
    with pytest.raises(DataError, match="nothing to judge by"):
        metric_named(f"{own}:broken").score([np.ones((1, 1))], batch())


def test_scores_are_shown_as_people_read_them():
    with warnings.catch_warnings():
        assert metric_named("accuracy").text(0.8615) == "86.15%"
        assert metric_named("top-5").text(1.0) == "100.00%"
        assert metric_named("auc").text(0.98765) == "0.9877"
        assert metric_named("mse").text(1234567.0) == "1.235e+06"


@pytest.mark.parametrize(
    ("y", "usual"),
    [
        (np.arange(12) % 3, "accuracy"),
        (np.linspace(-1, 1, 12), "mae"),
        (np.array([[1, 1, 0], [0, 1, 1]] * 6, np.float32), "map"),
        (np.eye(3, dtype=np.float32)[np.arange(12) % 3], "accuracy"),
    ],
)
def test_the_usual_metric_follows_from_what_is_right(tmp_path, y, usual):
    np.savez(tmp_path / "d.npz", x=np.zeros((12, 2), np.float32), y=y)
    samples = open_dataset(tmp_path / "d.npz", None)
    assert metric_for(None, samples).name == usual
    assert metric_for("mse", samples).name == "mse"
