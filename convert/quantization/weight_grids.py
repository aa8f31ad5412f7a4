"""The grids of weights that need another one than their largest magnitude gives.

Room for biases: a bias is stored in int32 on the grid ``input scale * weight scale`` of its channel. Where training has
let a channel's weights die away (weight decay leaves 1e-30 and the like), that grid is so fine that the bias overflows,
and ai-edge-quantizer 0.10 then stores the least int32, whatever the bias was. The cure, as in TFLiteConverter and
onnxruntime: a coarser grid for the weights of such a channel, which moves its output by less than 1e-7 of its bias a
weight.

Shared values: see ``codebooks``. Weights in 4 bits: see ``grid``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinsmith.convert.quantization.codebooks import shared_spans
from tinsmith.convert.quantization.grid import FOUR_BITS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from tinsmith.convert.calibration.ranges import Ranges

__all__ = ["spans_of_weights"]

_WEIGHT_STEPS = 127
# Half of int32, because the engine may round the input's scale to another one.
_BIAS_STEPS = 2**30


class _Layout(NamedTuple):
    """Where an operator keeps what: positions among its inputs, and the axis of the output channels."""

    data: int
    weights: int
    bias: int
    axis: int


# By BuiltinOperator of TensorFlow's lite/schema/schema.fbs.
_LAYOUTS = {
    3: _Layout(data=0, weights=1, bias=2, axis=0),  # CONV_2D
    4: _Layout(data=0, weights=1, bias=2, axis=3),  # DEPTHWISE_CONV_2D
    9: _Layout(data=0, weights=1, bias=2, axis=0),  # FULLY_CONNECTED
    67: _Layout(data=2, weights=1, bias=3, axis=0),  # TRANSPOSE_CONV
}


def spans_of_weights(
    model: Any, ranges: Ranges, *, input_steps: int, narrow: Collection[str] = ()
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Find the weights that need a grid of their own: a coarser one, or one that keeps shared values shared.

    Args:
        model: A float ``ModelT``.
        ranges: One for each computed tensor.
        input_steps: How many steps the grid of an activation has.
        narrow: Operators whose weights are to be in 4 bits, by the first tensor that each computes; their integers are
            those of 4 bits, but for what is to be cut off.

    Yields:
        The weight's name, and the greatest magnitude that its grid must span, one a channel and shaped so that it
        broadcasts to the weight.
    """
    graph = model.subgraphs[0]
    for operator in graph.operators:
        layout = _LAYOUTS.get(model.operatorCodes[operator.opcodeIndex].builtinCode)
        if layout is None:
            continue
        weights = graph.tensors[operator.inputs[layout.weights]]
        values = _floats(model, weights)
        if values is None:
            continue
        least = _least_spans(model, operator, layout, ranges, input_steps)
        spans = _spans(values, layout.axis)
        wanted = _wanted_spans(values, layout.axis, is_narrow=_first_output(graph, operator) in narrow)
        if wanted is not None or (spans < least).any():
            yield weights.name.decode(), np.maximum(spans if wanted is None else wanted, least).astype(np.float32)


def _spans(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    others = tuple(n for n in range(values.ndim) if n != axis)
    return np.asarray(np.abs(values).max(axis=others, keepdims=True))


def _wanted_spans(values: NDArray[np.float32], axis: int, *, is_narrow: bool) -> NDArray[np.float64] | None:
    """Other spans than the usual, shaped alike; None where the usual will do."""
    shape = [-1 if n == axis else 1 for n in range(values.ndim)]
    if is_narrow:
        channels = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
        return np.asarray(FOUR_BITS.best_scales(channels).reshape(shape) * _WEIGHT_STEPS)
    shared = shared_spans(values, axis)
    return None if shared is None else np.asarray(shared.reshape(shape), np.float64)


def _least_spans(model: Any, operator: Any, layout: _Layout, ranges: Ranges, input_steps: int) -> NDArray[np.float64]:
    """The least span of each channel's weights on which its bias still fits; 0 where there is no bias."""
    tensors = model.subgraphs[0].tensors
    has_bias = len(operator.inputs) > layout.bias and operator.inputs[layout.bias] >= 0
    offsets = _floats(model, tensors[operator.inputs[layout.bias]]) if has_bias else None
    seen = ranges.get(tensors[operator.inputs[layout.data]].name.decode())
    if offsets is None or seen is None:
        return np.zeros(1)
    step = (max(seen.high, 0.0) - min(seen.low, 0.0)) / input_steps
    shape = [-1 if n == layout.axis else 1 for n in range(len(tensors[operator.inputs[layout.weights]].shape))]
    least = np.abs(offsets.astype(np.float64)) * _WEIGHT_STEPS / (step * _BIAS_STEPS) if step > 0 else 0 * offsets
    return np.asarray(least.reshape(shape), np.float64)


def _first_output(graph: Any, operator: Any) -> str:
    return str(graph.tensors[operator.outputs[0]].name.decode()) if len(operator.outputs) else ""


def _floats(model: Any, tensor: Any) -> NDArray[np.float32] | None:
    """A stored float32 tensor; None where it is computed, or of another type."""
    data = model.buffers[tensor.buffer].data
    if tensor.type != 0 or data is None or not len(data):
        return None
    shape = tuple(int(n) for n in tensor.shape)
    return np.frombuffer(bytes(data), dtype="<f4").reshape(shape)
