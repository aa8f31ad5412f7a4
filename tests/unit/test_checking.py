"""Golden inputs: within tolerance or refused, and the worst is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.bundle.checking import check_golden
from tinsmith.runtime.bundle.golden import Golden
from tinsmith.runtime.errors import VerificationError
from tinsmith.runtime.tensors import TensorSpec

X = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
FREE = [TensorSpec(name="x", dtype="float32", shape=(None, 3))]
FIXED = [TensorSpec(name="x", dtype="float32", shape=(2, 3))]


def golden_of(outputs, tolerance, engine="litert"):
    return Golden(inputs={"x": X}, outputs={engine: outputs}, tolerance={engine: tolerance})


def double(feeds):
    return {"y": 2 * feeds["x"]}


def test_names_the_difference_that_is_nearest_to_its_tolerance():
    outputs = {"y": 2 * X, "z": 3 * X}
    outputs["y"][2, 1] += 0.5
    outputs["z"][3, 0] += 0.75
    golden = golden_of(outputs, {"y": 1.0, "z": 10.0})

    check = check_golden(golden, lambda feeds: {"y": 2 * feeds["x"], "z": 3 * feeds["x"]}, FREE, engine="litert")

    assert (check.output, check.sample, check.difference, check.samples) == ("y", 2, 0.5, 4)


def test_refuses_what_lies_beyond_its_tolerance():
    outputs = {"y": 2 * X}
    outputs["y"][3, 2] -= 0.25

    with pytest.raises(VerificationError, match=r"'y' of golden sample 3 is off by 0\.25, and 0\.125 is allowed"):
        check_golden(golden_of(outputs, {"y": 0.125}), double, FREE, engine="litert")


def test_no_tolerance_means_equal():
    assert check_golden(golden_of({"y": 2 * X}, {"y": 0.0}), double, FREE, engine="litert").difference == 0
    with pytest.raises(VerificationError):
        check_golden(golden_of({"y": 2 * X + np.float32(1e-6)}, {"y": 0.0}), double, FREE, engine="litert")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_never_within_a_tolerance(bad):
    outputs = {"y": 2 * X}
    outputs["y"][1, 1] = bad

    with pytest.raises(VerificationError, match="sample 1 is off by inf"):
        check_golden(golden_of(outputs, {"y": 1e9}), double, FREE, engine="litert")
    with pytest.raises(VerificationError, match="off by inf"):
        check_golden(golden_of({"y": 2 * X}, {"y": 1e9}), lambda feeds: {"y": feeds["x"] * bad}, FREE, engine="litert")
    same = check_golden(
        golden_of({"y": X * bad}, {"y": 0.0}), lambda feeds: {"y": feeds["x"] * bad}, FREE, engine="litert"
    )
    assert same.passed


@given(st.integers(-128, 127), st.integers(-128, 127))
def test_integers_do_not_wrap_around(want, got):
    inputs = [TensorSpec(name="x", dtype="int8", shape=(1,))]
    golden = Golden(
        inputs={"x": np.zeros(1, np.int8)},
        outputs={"e": {"y": np.array([want], np.int8)}},
        tolerance={"e": {"y": 255.0}},
    )

    check = check_golden(golden, lambda feeds: {"y": np.array([got], np.int8)}, inputs, engine="e")

    assert check.difference == abs(want - got)


def test_a_fixed_batch_takes_as_many_samples_at_once():
    sizes = []

    def run(feeds):
        sizes.append(feeds["x"].shape)
        return double(feeds)

    check_golden(golden_of({"y": 2 * X}, {"y": 0.0}), run, FIXED, engine="litert")

    assert sizes == [(2, 3), (2, 3)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, "no output 'y'"),
        ({"y": np.zeros((1, 4), np.float32)}, r"has shape \[1, 4\], and its golden output \[1, 3\]"),
    ],
)
def test_an_output_that_is_missing_or_of_another_shape_is_refused(answer, said):
    with pytest.raises(VerificationError, match=said):
        check_golden(golden_of({"y": 2 * X}, {"y": 1.0}), lambda feeds: answer, FREE, engine="litert")


def test_an_engine_without_golden_outputs_is_held_against_another_one_and_says_so():
    check = check_golden(golden_of({"y": 2 * X}, {"y": 0.0}), double, FREE, engine="tflite-runtime")

    assert check.engine == "litert"
