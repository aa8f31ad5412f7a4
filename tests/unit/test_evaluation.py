"""Evaluation on a predictor that is arithmetic: no engine, no framework."""

import json

import numpy as np
import pytest

from tinsmith.convert.data import open_dataset
from tinsmith.convert.evaluation import evaluate
from tinsmith.convert.metrics import metric_named
from tinsmith.runtime.errors import DataError, ModelError
from tinsmith.runtime.tensors import TensorSpec


class Echo:
    """Answers with what it is fed."""

    def __init__(self, numbers):
        self.inputs = (TensorSpec(name="x", dtype="float32", shape=(None, numbers)),)
        self.outputs = (TensorSpec(name="y", dtype="float32", shape=(None, numbers)),)

    def run(self, feeds):
        return {"y": feeds["x"]}


def dataset(tmp_path, x, y=None, names=None):
    np.savez(tmp_path / "d.npz", x=np.asarray(x, dtype=np.float32), **({} if y is None else {"y": np.asarray(y)}))
    if names is None:
        return open_dataset(tmp_path / "d.npz", Echo(np.shape(x)[1]).inputs)
    (tmp_path / "data.yaml").write_text(f"source: d.npz\nlabels: [{', '.join(names)}]\n")
    return open_dataset(tmp_path / "data.yaml", Echo(np.shape(x)[1]).inputs)


def test_each_class_is_counted_and_the_worst_comes_first(tmp_path):
    named = [0, 0, 0, 1, 1, 0, 3, 3, 3, 3]
    labels = [0, 0, 1, 1, 1, 1, 3, 3, 3, 0]
    found = evaluate(Echo(4), dataset(tmp_path, np.eye(4)[named], labels, ["a", "b", "c", "d"]))

    assert (found.samples, found.correct, found.score, found.accuracy) == (10, 7, 0.7, 0.7)
    assert found.answers == tuple(named)
    assert [(c.number, c.name, c.samples, c.correct) for c in found.classes] == [
        (0, "a", 3, 2), (1, "b", 4, 2), (3, "d", 3, 3),
    ]  # fmt: skip
    assert [c.name for c in found.worst_classes] == ["b", "a", "d"]
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["classes"][1] == {"class": 1, "name": "b", "samples": 4, "correct": 2, "accuracy": 0.5}
    assert document["accuracy"] == document["score"] == 0.7
    assert "answers" not in document


def test_of_classes_that_are_equally_bad_the_larger_one_comes_first(tmp_path):
    found = evaluate(Echo(3), dataset(tmp_path, np.eye(3)[[1, 2, 2]], [0, 1, 1]))

    assert [c.name for c in found.worst_classes] == ["1", "0"]


def test_batches_add_up(tmp_path):
    rng = np.random.default_rng(0)
    x, labels = rng.random((150, 5)), rng.integers(0, 5, 150)
    found = evaluate(Echo(5), dataset(tmp_path, x, labels), metric_named("top-2"))

    expected = np.mean([label in np.argsort(row)[-2:] for row, label in zip(x, labels, strict=True)])
    assert found.score == pytest.approx(expected)
    assert found.accuracy == pytest.approx(np.mean(x.argmax(axis=1) == labels))
    assert sum(c.samples for c in found.classes) == 150
    assert found.text.startswith(f"{expected:.2%} ± ")


def test_numbers_are_judged_without_classes(tmp_path):
    data = dataset(tmp_path, [[0.5, 1.0], [2.0, 3.0]], [[0.0, 1.0], [2.5, 3.0]])
    found = evaluate(Echo(2), data, metric_named("mae"))

    assert (found.score, found.samples, found.correct, found.classes, found.answers) == (0.25, 2, None, (), ())
    assert "accuracy" not in found.to_json()
    with pytest.raises(DataError, match="no agreement"):
        found.agreement(found)
    with pytest.raises(DataError, match="no accuracy"):
        _ = found.accuracy


def test_labels_beyond_the_models_classes_are_no_classes_for_other_metrics(tmp_path):
    found = evaluate(Echo(1), dataset(tmp_path, [[0.5], [70.0]], [1, 70]), metric_named("mae"))

    assert (found.score, found.classes) == (0.25, ())


def test_two_models_agree_where_they_name_the_same_class(tmp_path):
    one = evaluate(Echo(2), dataset(tmp_path, np.eye(2)[[0, 1, 1, 1]], [0, 1, 1, 0]))
    other = evaluate(Echo(2), dataset(tmp_path, np.eye(2)[[0, 1, 0, 1]], [0, 1, 1, 0]))

    assert one.agreement(other) == 0.75


def test_answers_that_are_no_numbers_are_an_error(tmp_path):
    class Broken(Echo):
        def run(self, feeds):
            return {"y": feeds["x"] * np.float32("nan")}

    with pytest.raises(ModelError, match="NaN"):
        evaluate(Broken(1), dataset(tmp_path, [[0.5], [1.5]], [0.1, 0.2]), metric_named("mae"))


def test_a_model_that_answers_nan_is_judged_by_no_metric(tmp_path):
    class Broken(Echo):
        def run(self, feeds):
            answers = feeds["x"].copy()
            answers[1] = np.nan
            return {"y": answers}

    for metric in ("accuracy", "auc", "mae"):
        with pytest.raises(ModelError, match="answers 1 samples"):
            evaluate(Broken(2), dataset(tmp_path, np.eye(2)[[0, 1, 1]], [0, 1, 1]), metric_named(metric))
