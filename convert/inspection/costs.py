"""Multiply-accumulates, parameters, zeros and dead channels of a graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.convert.inspection.graph import Graph, Operator, Tensor

__all__ = ["Weights", "macs_of", "weigh"]

# A weight this small can't move a float32 output; weight decay leaves 1e-30 rather than 0.
AS_GOOD_AS_ZERO = 1e-6

# operator: (input that holds the weights, axis of its output channels)
_TFLITE_WEIGHTS = {
    "CONV_2D": (1, 0),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 0),
    "TRANSPOSE_CONV": (1, 0),
    "CONV_3D": (1, 4),
}
_ONNX_WEIGHTS = {
    "Conv": (1, 0),
    "ConvInteger": (1, 0),
    "QLinearConv": (3, 0),
    "ConvTranspose": (1, 1),
    "Gemm": (1, 1),
    "MatMul": (1, -1),
    "MatMulInteger": (1, -1),
    "QLinearMatMul": (3, -1),
    "com.microsoft.DynamicQuantizeMatMul": (1, -1),
}
_PRODUCTS = {"BATCH_MATMUL"}
_NO_PARAMETER = {"int32", "int64", "bool", "str", "uint32", "uint64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a graph stores.

    Attributes:
        parameters: Numbers that were trained: weights and biases, no shapes and indices.
        constant_bytes: All that is stored in tensors.
        zeros: Share of the weights that are exactly zero, 0 to 1.
        near_zeros: Share of the weights that are zero or too small to move an output (below 1e-6).
        channels: Output channels of layers with weights.
        dead_channels: How many of them have no weight that could move an output.
    """

    parameters: int
    constant_bytes: int
    zeros: float
    near_zeros: float
    channels: int
    dead_channels: int


def macs_of(graph: Graph, operator: Operator) -> int:
    """Multiply-accumulates of one operator for one sample; 0 for those that do not multiply."""
    if operator.name in _PRODUCTS and operator.inputs[0] is not None:
        return operator.outputs[0].elements * (operator.inputs[0].shape[-1] or 1)
    place = _place(graph, operator)
    weights = _input(operator, place[0]) if place else None
    if place is None or weights is None or not weights.shape or not operator.outputs:
        return 0
    lengths = [1 if n is None else n for n in weights.shape]
    channels = lengths[place[1]] or 1
    if operator.name in ("TRANSPOSE_CONV", "ConvTranspose"):
        return _moved_backwards(operator, lengths)
    if operator.name == "DEPTHWISE_CONV_2D":
        return operator.outputs[0].elements * math.prod(lengths[:-1])
    if operator.name in ("MatMul", "MatMulInteger", "QLinearMatMul", "com.microsoft.DynamicQuantizeMatMul"):
        return operator.outputs[0].elements * lengths[-2] if len(lengths) > 1 else 0
    return operator.outputs[0].elements * (math.prod(lengths) // channels)


def weigh(graph: Graph) -> Weights:
    """Count what is stored, and how much of it does nothing."""
    trained = [t for t in graph.constants if _is_trained(t)]
    weights = [tensor for tensor, _ in _weighted(graph)]
    sizes = sum(t.stored.size for t in weights if t.stored is not None) or 1
    exact = sum(int(np.count_nonzero(_zero(t, threshold=0.0))) for t in weights)
    near = sum(int(np.count_nonzero(_zero(t, threshold=AS_GOOD_AS_ZERO))) for t in weights)
    channels = [_dead(tensor, axis) for tensor, axis in _weighted(graph)]
    return Weights(
        parameters=sum(t.elements for t in trained),
        constant_bytes=sum(t.stored.nbytes for t in graph.constants if t.stored is not None),
        zeros=exact / sizes,
        near_zeros=near / sizes,
        channels=sum(total for total, _ in channels),
        dead_channels=sum(dead for _, dead in channels),
    )


def _place(graph: Graph, operator: Operator) -> tuple[int, int] | None:
    """Which input holds the weights, and along which axis its output channels lie."""
    place = (_TFLITE_WEIGHTS if graph.format == "tflite" else _ONNX_WEIGHTS).get(operator.name)
    return (place[0], 0) if place and operator.transposed else place


def _input(operator: Operator, index: int) -> Tensor | None:
    return operator.inputs[index] if index < len(operator.inputs) else None


def _moved_backwards(operator: Operator, lengths: list[int]) -> int:
    """A transposed convolution multiplies each input element with the filters of its channel."""
    if operator.name == "TRANSPOSE_CONV":
        source = _input(operator, 2)
        return (source.elements if source else 0) * math.prod(lengths[:-1])
    source = _input(operator, 0)
    return (source.elements if source else 0) * math.prod(lengths[1:])


def _is_trained(tensor: Tensor) -> bool:
    return tensor.dtype not in _NO_PARAMETER or (tensor.dtype == "int32" and tensor.quantization is not None)


def _weighted(graph: Graph) -> Iterator[tuple[Tensor, int]]:
    """Each stored weight once, behind its Q/DQ pair, with the axis of its output channels."""
    producers = graph.producers()
    seen: set[int] = set()
    for operator in graph.operators:
        place = _place(graph, operator)
        tensor = _input(operator, place[0]) if place else None
        while tensor is not None and tensor.stored is None and id(tensor) in producers:
            unpacking = producers[id(tensor)]
            if unpacking.name not in ("DEQUANTIZE", "DequantizeLinear", "com.microsoft.DequantizeLinear", "Cast"):
                break
            tensor = unpacking.inputs[0]
        if place and tensor is not None and _countable(tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor, place[1]


def _countable(tensor: Tensor) -> bool:
    """Whether the elements lie there one by one; packed 4-bit weights do not."""
    stored = tensor.stored
    return stored is not None and stored.dtype.kind in "fiu" and stored.shape == tensor.shape and stored.size > 0


def _zero(tensor: Tensor, *, threshold: float) -> Any:
    stored = tensor.stored
    if stored is None:
        return np.zeros(0, bool)
    if stored.dtype.kind == "f":
        return np.less_equal(np.abs(stored), threshold)
    points = np.asarray(tensor.quantization.zero_point if tensor.quantization else (0,))
    if len(points) > 1 and tensor.quantization and tensor.quantization.axis is not None:
        shape = [1] * stored.ndim
        shape[tensor.quantization.axis] = len(points)
        return np.equal(stored, points.reshape(shape))
    return np.equal(stored, points[0])


def _dead(tensor: Tensor, axis: int) -> tuple[int, int]:
    """Output channels, and how many of them hold nothing."""
    zero = _zero(tensor, threshold=AS_GOOD_AS_ZERO)
    if zero.ndim < 2:
        return 0, 0
    others = tuple(i for i in range(zero.ndim) if i != axis % zero.ndim)
    empty = zero.all(axis=others)
    return empty.size, int(np.count_nonzero(empty))
