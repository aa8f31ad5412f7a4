"""Rounding that minds what weights are multiplied with: never worse than to the nearest, and on the engine's grid."""

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.convert.equalization.opening import opened
from tinsmith.convert.equalization.windows import Window
from tinsmith.convert.quantization import Int8, Plan, choose_quantizer
from tinsmith.convert.quantization.grid import FOUR_BITS, Grid
from tinsmith.convert.rounding import exchange, round_weights
from tinsmith.convert.rounding.moments import Moments
from tinsmith.convert.rounding.second_order import added_error, nearest, round_together

onnx = pytest.importorskip("onnx")

EIGHT = Grid(steps=127)


def layer(seed, groups=2, outputs=3, inputs=6, rows=40):
    """Weights, and rows of inputs that go together."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(groups, rows, inputs)) @ rng.normal(size=(groups, inputs, inputs))
    moments = Moments()
    moments.add(mixed.astype(np.float32))
    return rng.normal(size=(groups, outputs, inputs)), moments.covariance()


@settings(deadline=None)
@given(seed=st.integers(0, 1000), grid=st.sampled_from([FOUR_BITS, Grid(steps=63), EIGHT]))
def test_it_is_never_worse_than_to_the_nearest(seed, grid):
    weights, covariance = layer(seed)
    rounded = round_together(weights, covariance, grid)

    # the damping, which is part of what is made small, may cost a little where there is little to win
    ours, plain = (added_error(weights, one, covariance).sum() for one in (rounded, nearest(weights, grid)))
    assert ours <= plain * 1.01


def test_it_leaves_a_small_part_of_the_error_where_inputs_go_together():
    weights, covariance = layer(0, inputs=16, rows=200)
    rounded = round_together(weights, covariance, FOUR_BITS)

    ours, plain = (added_error(weights, one, covariance).sum() for one in (rounded, nearest(weights, FOUR_BITS)))
    assert ours < 0.5 * plain


@given(seed=st.integers(0, 1000))
def test_a_quantizer_finds_the_same_grid_and_rounds_nothing_any_more(seed):
    weights, covariance = layer(seed)
    rounded = round_together(weights, covariance, EIGHT)

    assert np.abs(rounded).max(axis=-1) == pytest.approx(np.abs(weights).max(axis=-1))
    assert nearest(rounded, EIGHT) == pytest.approx(rounded, abs=1e-9)


def test_inputs_that_do_not_go_together_are_rounded_to_the_nearest():
    weights, _ = layer(1)
    alone = np.broadcast_to(np.eye(6), (2, 6, 6))

    assert round_together(weights, alone, EIGHT) == pytest.approx(nearest(weights, EIGHT))


def test_weights_of_zero_stay():
    _, covariance = layer(2)
    assert not round_together(np.zeros((2, 3, 6)), covariance, EIGHT).any()


def test_too_few_rows_tell_little():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1, 4, 100)).astype(np.float32)
    few = Moments()
    few.add(rows)
    covariance = few.covariance()[0]

    own = np.diag(covariance)
    assert own == pytest.approx(rows[0].var(axis=0), rel=1e-4)
    assert np.abs(covariance - np.diag(own)).max() < 0.1 * np.abs(np.cov(rows[0].T, bias=True)).max()


@pytest.mark.parametrize("padding", ["same", ((1, 0), (2, 1))])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_rows_times_matrices_are_the_convolution(padding, groups):
    """Against a convolution spelled out."""
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=(2, 7, 8, 4)), rng.normal(size=(8, 3, 2, 4 // groups))
    window = Window(order=(0, 1, 2, 3), strides=(2, 1), dilations=(1, 2), padding=padding)
    rows = window.rows(image, kernel.shape, groups)
    found = rows @ window.matrices(kernel, groups).transpose(0, 2, 1)

    pads = ((1, 1), (1, 1)) if padding == "same" else padding
    expected = spelled_out(np.pad(image, ((0, 0), *pads, (0, 0))), kernel, groups)
    assert np.concatenate(list(found), axis=-1).reshape(expected.shape) == pytest.approx(expected, abs=1e-4)


def spelled_out(image, kernel, groups):
    n, high, wide, channels = image.shape
    outputs, inputs = len(kernel), channels // groups
    answer = np.zeros((n, (high - 3) // 2 + 1, wide - 2, outputs))
    for at in np.ndindex(*answer.shape):
        first = at[3] // (outputs // groups) * inputs
        seen = image[at[0], at[1] * 2 : at[1] * 2 + 3, at[2] : at[2] + 3 : 2, first : first + inputs]
        answer[at] = (seen * kernel[at[3]]).sum()
    return answer


def test_matrices_and_back():
    window = Window(order=(3, 1, 2, 0))
    weights = np.random.default_rng(0).normal(size=(1, 3, 3, 5)).astype(np.float32)

    assert (window.weights(window.matrices(weights, 5), weights.shape) == weights).all()


def pictures(count=24):
    """Smooth, so that neighbours go together."""
    coarse = np.random.default_rng(0).random((count, 2, 2, 1), np.float32)
    return [{"image": coarse.repeat(4, axis=1).repeat(4, axis=2)}]


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
class TestFiles:
    def test_the_quantizer_finds_the_grid_and_the_answers_are_nearer(self, golden, tmp_path, suffix):
        source, rounded = golden / f"cnn.{suffix}", tmp_path / f"rounded.{suffix}"
        report = round_weights(source, rounded, pictures(), grid=EIGHT)

        assert report.skipped == ()
        assert 0 < report.left < 1
        assert (integers(rounded, tmp_path) == integers(source, tmp_path)).mean() < 1
        with opened(rounded) as file:
            for layer in file.graph().layers:
                matrices = layer.window.matrices(layer.weights, layer.groups)
                assert nearest(matrices, EIGHT) == pytest.approx(matrices, abs=1e-6)

    def test_what_is_kept_gets_its_weights_back(self, golden, tmp_path, suffix):
        source, rounded, mixed = golden / f"cnn.{suffix}", tmp_path / f"r.{suffix}", tmp_path / f"m.{suffix}"
        round_weights(source, rounded, pictures(), grid=EIGHT)
        with opened(source) as file:
            first, *others = file.graph().layers
        exchange(rounded, source, mixed, [first.name])

        with opened(mixed) as file, opened(rounded) as other:
            found, expected = file.graph().layers, other.graph().layers
        assert (found[0].weights == first.weights).all()
        assert len(found) == len(others) + 1
        assert all((a.weights == b.weights).all() for a, b in zip(found[1:], expected[1:], strict=True))


def integers(source, folder):
    """The weights of all layers, as the engine rounds them."""
    small, quantizer = folder / f"small{source.suffix}", choose_quantizer(source.suffix[1:])
    quantizer.quantize(source, small, Plan(scheme=Int8()), quantizer.calibrate(source, pictures()))
    if source.suffix == ".onnx":
        stored = onnx.load(str(small)).graph.initializer
        found = [onnx.numpy_helper.to_array(t) for t in stored if t.data_type == onnx.TensorProto.INT8]
        return np.concatenate([array.reshape(-1) for array in found if array.ndim > 1])
    model = flatbuffer_utils.read_model(str(small))
    tensors = [t for t in model.subgraphs[0].tensors if t.type == 9 and model.buffers[t.buffer].data is not None]
    return np.concatenate([np.frombuffer(bytes(model.buffers[t.buffer].data), np.int8) for t in tensors])
