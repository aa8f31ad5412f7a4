"""The proof finds what differs, and says what became of the batch axis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.convert.comparison import Samples, compare_outputs, compare_predictors, seeded_feeds
from tinsmith.convert.parity import FLOAT16, FLOAT32, INTEGER, prove
from tinsmith.convert.predictors import class_scores, run_samples
from tinsmith.runtime.errors import DataError, ModelError, VerificationError
from tinsmith.runtime.tensors import Quantization, TensorSpec


class Linear:
    """Answers 2x, plus what a test asks for; its batch axis is free, or fixed."""

    def __init__(self, *, batch=None, plus=0.0, names=("x",), outputs=("y",)):
        self.inputs = tuple(TensorSpec(name=n, dtype="float32", shape=(batch, 3)) for n in names)
        self.outputs = tuple(TensorSpec(name=n, dtype="float32", shape=(batch, 3)) for n in outputs)
        self.batch, self.plus, self.seen = batch, plus, []

    def run(self, feeds):
        (x,) = (feeds[spec.name] for spec in self.inputs)
        assert self.batch in (None, len(x))
        self.seen.append(len(x))
        return {spec.name: (2 * x + self.plus + i).astype(np.float32) for i, spec in enumerate(self.outputs)}


FEEDS = {"x": np.random.default_rng(0).random((10, 3)).astype(np.float32)}


def proof(reference, artifact, tolerance=FLOAT32):
    return prove(reference, artifact, Samples(feeds=FEEDS, origin="a test"), tolerance=tolerance)


def test_equal_answers_are_proven_equal():
    found = proof(Linear(), Linear())

    assert (found.largest, found.agreement, found.samples, found.batch) == (0.0, 1.0, 10, "free")
    assert found.differences[0].snr_db is None


@pytest.mark.parametrize(("plus", "tolerance"), [(3e-4, FLOAT32), (0.2, FLOAT16), (10.0, INTEGER)])
def test_a_difference_beyond_the_tolerance_is_refused(plus, tolerance):
    with pytest.raises(VerificationError, match="output 'y'") as caught:
        proof(Linear(), Linear(plus=plus), tolerance)

    assert caught.value.exit_code == 6
    assert "--force parity" in caught.value.hint


@pytest.mark.parametrize(("plus", "tolerance"), [(1e-5, FLOAT32), (1e-2, FLOAT16), (0.3, INTEGER)])
def test_a_difference_within_the_tolerance_is_kept_and_told(plus, tolerance):
    assert proof(Linear(), Linear(plus=plus), tolerance).largest == pytest.approx(plus, rel=0.02)


def test_nan_is_never_within_a_tolerance():
    with pytest.raises(VerificationError, match="NaN"):
        proof(Linear(), Linear(plus=np.nan), INTEGER)


def test_a_fixed_batch_is_run_in_its_own_steps_and_filled_up():
    fixed = Linear(batch=4)

    found = proof(Linear(), fixed)

    assert set(fixed.seen) == {4}
    assert found.batch == "free before, fixed at 4 now"


def test_a_free_batch_must_give_a_sample_alone_the_same_answer():
    class Leaky(Linear):
        def run(self, feeds):
            answers = super().run(feeds)
            return {"y": answers["y"] + feeds["x"].mean() / len(feeds["x"])} if len(feeds["x"]) == 1 else answers

    with pytest.raises(VerificationError):
        proof(Linear(), Leaky())


def test_outputs_are_matched_by_name_when_a_converter_sorted_them():
    class Sorted(Linear):
        def __init__(self):
            super().__init__(outputs=("b", "a"))
            self.outputs = tuple(sorted(self.outputs, key=lambda spec: spec.name))

        def run(self, feeds):
            x = feeds["x"]
            return {"b": 2 * x, "a": 2 * x + 1}

    assert proof(Linear(outputs=("b", "a")), Sorted()).largest == 0


def test_inputs_that_a_converter_renamed_are_matched_by_order():
    assert proof(Linear(), Linear(names=("serving_default_x:0",))).largest == 0


def test_another_number_of_inputs_is_a_data_error():
    two = Linear(names=("a", "b"))

    with pytest.raises(DataError, match="2 inputs"):
        run_samples(two, FEEDS)


def test_an_output_without_the_batch_in_front_is_named():
    class Summed(Linear):
        def run(self, feeds):
            return {"y": super().run(feeds)["y"].sum(axis=0)}

    with pytest.raises(ModelError, match="first axis is not the batch"):
        run_samples(Summed(), FEEDS)


@given(st.integers(1, 70), st.sampled_from([None, 1, 4, 7]))
def test_samples_come_back_in_order_whatever_the_batch(samples, batch):
    x = np.random.default_rng(samples).random((samples, 3)).astype(np.float32)

    (answers,) = run_samples(Linear(batch=batch), {"x": x})

    np.testing.assert_array_equal(answers, 2 * x)


@given(st.integers(1, 40), st.integers(0, 40))
def test_agreement_counts_the_samples_with_the_same_class(samples, changed):
    before, after = Answers(samples), Answers(samples, changed)

    found, _ = compare_predictors(before, after, Samples(feeds={"x": np.arange(samples)}, origin="a test"))

    assert found.agreement == pytest.approx(1 - min(changed, samples) / samples)


class Answers:
    """Names class i % 3 for sample i, and another one for the first ``changed``."""

    inputs = (TensorSpec(name="x", dtype="int64", shape=(None,)),)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(None, 3)),)

    def __init__(self, samples, changed=0):
        self.scores = np.eye(3)[np.arange(samples) % 3]
        self.scores[:changed] = np.roll(self.scores[:changed], 1, axis=1)

    def run(self, feeds):
        return {"y": self.scores[feeds["x"]]}


def test_scores_of_one_probability_are_two_classes_and_other_shapes_are_none():
    np.testing.assert_allclose(class_scores([np.array([[0.2], [0.9]])]), [[0.8, 0.2], [0.1, 0.9]])
    assert class_scores([np.array([[2.0]])]) is None
    assert class_scores([np.ones((2, 4, 4, 3))]) is None
    assert class_scores([np.ones((2, 1, 1, 3))]).shape == (2, 3)
    assert class_scores([np.ones((2, 3)), np.ones((2, 3))]) is None


def test_compare_refuses_other_shapes_and_numbers_of_outputs():
    with pytest.raises(VerificationError, match="shape"):
        compare_outputs(["y"], [np.ones((2, 3))], [np.ones((2, 4))])
    with pytest.raises(VerificationError, match="outputs"):
        compare_outputs(["y"], [np.ones(2)], [])


def test_seeded_feeds_repeat_and_respect_types():
    inputs = (
        TensorSpec(name="f", dtype="float32", shape=(None, 2)),
        TensorSpec(name="i", dtype="int32", shape=(1, None)),
        TensorSpec(name="q", dtype="int8", shape=(1, 2), quantization=Quantization(scale=(1.0,), zero_point=(0,))),
    )

    one, two = (seeded_feeds(inputs, samples=5, seed=3) for _ in range(2))

    assert {name: (a.dtype.name, a.shape) for name, a in one.items()} == {
        "f": ("float32", (5, 2)),
        "i": ("int32", (5, 1)),
        "q": ("float32", (5, 2)),
    }
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    assert set(np.unique(one["i"])) <= {0, 1}
