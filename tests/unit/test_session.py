"""A session turns real numbers into stored ones and back, and checks what it is fed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinsmith.runtime.errors import DataError, ModelLoadError, UnsupportedOperatorError, UsageError
from tinsmith.runtime.session import Session, artifact_format, dequantize, open_session, quantize
from tinsmith.runtime.tensors import Quantization, TensorSpec

UINT8 = Quantization(scale=(0.5,), zero_point=(10,))


class Echo:
    """An engine whose output is its stored input."""

    name, version, accelerator = "echo", "0", "cpu"

    def __init__(self, dtype="uint8", shape=(None, 2), quantization=UINT8):
        self.inputs = (TensorSpec(name="in", dtype=dtype, shape=shape, quantization=quantization),)
        self.outputs = (TensorSpec(name="out", dtype=dtype, shape=shape, quantization=quantization),)

    def run(self, feeds):
        return [feeds[0].copy()]

    def close(self):
        pass


@given(
    hnp.arrays(np.float32, (3, 2), elements=st.floats(-4, 100, width=32)),
    st.sampled_from(["uint8", "int8", "int16"]),
    st.floats(0.01, 1.0),
    st.integers(-5, 5),
)
def test_a_number_on_the_grid_comes_back_within_half_a_step(values, dtype, scale, zero_point):
    quantization = Quantization(scale=(scale,), zero_point=(zero_point,))
    limits = np.iinfo(dtype)

    stored = quantize(values, quantization, np.dtype(dtype))
    real = dequantize(stored, quantization)

    low, high = (limits.min - zero_point) * scale, (limits.max - zero_point) * scale
    np.testing.assert_allclose(real, np.clip(values, low, high), atol=scale * 0.501 + 1e-4)


@pytest.mark.parametrize(("value", "stored"), [(1e9, 255), (-1e9, 0), (np.inf, 255)])
def test_values_beyond_the_grid_saturate_instead_of_wrapping(value, stored):
    assert quantize(np.array([value]), UINT8, np.dtype("uint8"))[0] == stored


def test_floats_go_in_and_come_out_of_a_quantized_model():
    answer = Session(Echo()).run({"in": np.array([[1.0, 2.26]])})

    np.testing.assert_array_equal(answer["out"], np.array([[1.0, 2.5]], np.float32))


def test_integers_of_the_stored_type_are_taken_as_they_are():
    answer = Session(Echo()).run({"in": np.array([[12, 14]], np.uint8)})

    np.testing.assert_array_equal(answer["out"], [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("dtype", "quantization", "fed"),
    [("int8", UINT8, np.uint8(200)), ("int16", None, np.int64(40_000)), ("int8", None, np.uint8(200))],
)
def test_integers_that_would_become_others_are_refused(dtype, quantization, fed):
    with pytest.raises(DataError, match="does not convert"):
        Session(Echo(dtype=dtype, quantization=quantization)).run({"in": np.full((1, 2), fed)})


def test_integers_that_fit_are_taken():
    answer = Session(Echo(dtype="int32", quantization=None)).run({"in": np.full((1, 2), 7, np.int64)})

    assert answer["out"].dtype == np.int32
    np.testing.assert_array_equal(answer["out"], [[7, 7]])


def test_raw_runs_convert_nothing():
    session = Session(Echo())

    answer = session.run_raw({"in": np.array([[12, 14]], np.uint8)})

    np.testing.assert_array_equal(answer["out"], [[12, 14]])
    with pytest.raises(DataError, match="stores uint8, not float32"):
        session.run_raw({"in": np.ones((1, 2), np.float32)})


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({"other": np.ones((1, 2))}, "inputs are \\['in'\\]"),
        ({}, "inputs are"),
        ({"in": np.ones((1, 3))}, "shape \\[1, 3\\], but the model takes \\[\\?, 2\\]"),
        ({"in": np.ones(2)}, "shape \\[2\\]"),
        ({"in": np.ones((1, 2), complex)}, "complex128 does not convert"),
        ({"in": np.array([["a", "b"]])}, "does not convert"),
        ({"in": np.ones((1, 2), np.int64)}, "int64 does not convert"),
    ],
)
def test_feeds_that_do_not_fit_are_refused_with_the_reason(feeds, said):
    with pytest.raises(DataError, match=said):
        Session(Echo()).run(feeds)


def test_a_shape_is_checked_again_after_another_one_was_accepted():
    session = Session(Echo())
    session.run({"in": np.ones((1, 2))})
    session.run({"in": np.ones((5, 2))})

    with pytest.raises(DataError):
        session.run({"in": np.ones((5, 1))})


def test_a_model_of_strings_is_refused_by_name():
    with pytest.raises(UnsupportedOperatorError, match="in holds strings"):
        Session(Echo(dtype="str", quantization=None))


def test_content_decides_the_format_before_the_name_does(golden, tmp_path):
    odd = tmp_path / "model.bin"
    odd.write_bytes((golden / "dense.tflite").read_bytes())

    assert artifact_format(odd) == "tflite"
    assert artifact_format(golden / "dense.onnx") == "onnx"
    with pytest.raises(ModelLoadError, match="cannot read"):
        artifact_format(tmp_path / "none.tflite")
    (tmp_path / "notes.bin").write_text("no model")
    with pytest.raises(ModelLoadError, match=r"no \.tflite or \.onnx"):
        artifact_format(tmp_path / "notes.bin")
    with pytest.raises(UsageError, match="trained model"):
        artifact_format(golden / "cnn.keras")


def test_a_session_opens_only_what_a_child_has_run_before(golden):
    with open_session(golden / "cnn.tflite") as session:
        assert session.run({"image": np.ones((2, 8, 8, 1))})["score"].shape == (2, 3)
