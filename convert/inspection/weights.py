"""What a graph stores: parameters, zeros and dead channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.inspection.costs import ONNX_WEIGHTS, TFLITE_WEIGHTS
from tinsmith.convert.inspection.sources import UNPACKING, trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tinsmith.convert.inspection.graph import Graph, Operator, Tensor
    from tinsmith.convert.inspection.sources import Source

__all__ = ["Weights", "weigh"]

# A weight this small can't move a float32 output; weight decay leaves 1e-30 rather than 0.
AS_GOOD_AS_ZERO = 1e-6

_NO_PARAMETER = {"int32", "int64", "bool", "str", "uint32", "uint64", ""}
# operator: inputs that say how others are quantized
_GRIDS = {
    "DequantizeLinear": (1, 2),
    "QuantizeLinear": (1, 2),
    "com.microsoft.DequantizeLinear": (1, 2),
    "com.microsoft.QuantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "MatMulInteger": (2, 3),
    "ConvInteger": (2, 3),
    "com.microsoft.DynamicQuantizeMatMul": (2, 3),
    "com.microsoft.MatMulIntegerToFloat": (2, 3, 4, 5),
    "com.microsoft.MatMulNBits": (2, 3, 4),
    "com.microsoft.QLinearAdd": (1, 2, 4, 5, 6, 7),
    "com.microsoft.QLinearMul": (1, 2, 4, 5, 6, 7),
    "com.microsoft.QLinearGlobalAveragePool": (1, 2, 3, 4),
    "com.microsoft.QLinearAveragePool": (1, 2, 3, 4),
    "com.microsoft.QLinearSigmoid": (1, 2, 3, 4),
    "com.microsoft.QLinearSoftmax": (1, 2, 3, 4),
    "com.microsoft.QLinearLeakyRelu": (1, 2, 3, 4),
    "com.microsoft.QGemm": (1, 2, 4, 5, 7, 8),
}
# operator: the input that holds the zero point of its weights
_ZERO_POINTS = {"QLinearConv": 5, "QLinearMatMul": 5, "MatMulInteger": 3, "ConvInteger": 3} | {
    "com.microsoft.DynamicQuantizeMatMul": 3,
    "com.microsoft.MatMulIntegerToFloat": 5,
    "com.microsoft.QGemm": 5,
}
_INTEGER_BIASES = {"QLinearConv": 8, "com.microsoft.QGemm": 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a graph stores.

    Attributes:
        parameters: Numbers that were trained: weights and biases, no shapes, indices, scales, zero points
            and single numbers.
        constant_bytes: All that is stored in tensors.
        zeros: Share of the weights that are exactly zero, 0 to 1; of those that are stored one by one.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weight:
    """One stored weight: its elements, those that stand for zero, and the axis of its output channels, if known."""

    stored: NDArray[Any]
    zero_point: NDArray[Any]
    axis: int | None

    def zeros(self, threshold: float) -> NDArray[np.bool_]:
        """Which elements are zero or as good as zero."""
        found: NDArray[np.bool_] = (
            np.less_equal(np.abs(self.stored), threshold)
            if self.stored.dtype.kind == "f"
            else np.equal(self.stored, self.zero_point)
        )
        return found


def weigh(graph: Graph) -> Weights:
    """Count what is stored, and how much of it does nothing."""
    size = exact = near = channels = dead = 0
    for weight in _weights(graph):
        nearly = weight.zeros(AS_GOOD_AS_ZERO)
        size += nearly.size
        exact += int(np.count_nonzero(weight.zeros(0.0)))
        near += int(np.count_nonzero(nearly))
        if weight.axis is not None:
            empty = nearly.all(axis=tuple(i for i in range(nearly.ndim) if i != weight.axis % nearly.ndim))
            channels += empty.size
            dead += int(np.count_nonzero(empty))
    return Weights(
        parameters=_parameters(graph),
        constant_bytes=sum(t.stored.nbytes for t in graph.constants if t.stored is not None),
        zeros=exact / max(size, 1),
        near_zeros=near / max(size, 1),
        channels=channels,
        dead_channels=dead,
    )


def _parameters(graph: Graph) -> int:
    """Constants that operators compute with, each once."""
    counted: dict[int, int] = {}
    stored = {id(tensor): tensor for tensor in graph.constants}
    for operator in graph.operators:
        grids = _GRIDS.get(operator.name, ())
        for index, tensor in enumerate(operator.inputs):
            if tensor is None or not tensor.shape or id(tensor) not in stored or index in grids:
                continue  # a number without axes is a factor that somebody wrote down
            if tensor.dtype not in _NO_PARAMETER or _is_integer_bias(operator, index, tensor):
                counted[id(tensor)] = _numbers(operator, index, tensor)
    return sum(counted.values())


def _is_integer_bias(operator: Operator, index: int, tensor: Tensor) -> bool:
    """A bias is stored in 32 bits; other tensors of that type are shapes and indices."""
    if tensor.dtype != "int32":
        return False
    unpacked = operator.name in UNPACKING and index == 0
    return tensor.quantization is not None or unpacked or _INTEGER_BIASES.get(operator.name) == index


def _numbers(operator: Operator, index: int, tensor: Tensor) -> int:
    """How many numbers a constant stands for; packed weights say it beside the tensor."""
    if operator.name == "com.microsoft.MatMulNBits" and index == 1:
        return operator.depth * operator.columns
    return tensor.elements


def _weights(graph: Graph) -> Iterator[_Weight]:
    """Each stored weight once, behind what unpacks it; 4-bit weights are left out."""
    producers = graph.producers()
    kept = {id(tensor) for tensor in graph.constants}
    for operator in graph.operators:
        place = (TFLITE_WEIGHTS if graph.format == "tflite" else ONNX_WEIGHTS).get(operator.name)
        tensor = operator.input(place[0]) if place else None
        source = trace(tensor, producers) if tensor is not None else None
        if place is None or tensor is None or source is None or id(source.tensor) not in kept:
            continue
        if _is_countable(source.tensor):
            kept.discard(id(source.tensor))
            yield _weight(operator, source, tensor, 0 if operator.transposed else place[1])


def _is_countable(tensor: Tensor) -> bool:
    """Whether the elements lie there one by one; packed 4-bit weights do not."""
    stored = tensor.stored
    return stored is not None and stored.dtype.kind in "fiu" and stored.shape == tensor.shape and stored.size > 0


def _weight(operator: Operator, source: Source, seen: Tensor, axis: int) -> _Weight:
    """The weight in the shape that its operator sees, as long as only the shape was changed on the way."""
    stored: NDArray[Any] = np.asarray(source.tensor.stored)
    zero_point = _zero_point(operator, source)
    plain = zero_point.ndim == 0 and not source.turned
    if plain and seen.ranked and None not in seen.shape and seen.elements == stored.size:
        stored = stored.reshape([n or 0 for n in seen.shape])
    known = stored.ndim > 1 and not source.turned and stored.shape == seen.shape
    return _Weight(stored=stored, zero_point=zero_point, axis=axis if known else None)


def _zero_point(operator: Operator, source: Source) -> NDArray[Any]:
    """What stands for zero, so shaped that it can be compared with the stored elements."""
    stored: NDArray[Any] = np.asarray(source.tensor.stored)
    grid = source.tensor.quantization
    if grid is not None:
        return _along(np.asarray(grid.zero_point), grid.axis, stored)
    unpacking = source.unpacking
    index = 2 if unpacking else _ZERO_POINTS.get(operator.name)
    tensor = (unpacking or operator).input(index) if index is not None else None
    if tensor is None or tensor.stored is None:
        return np.zeros((), np.int64)
    default = 1 if unpacking else 0 if operator.name in ("QLinearConv", "ConvInteger") else -1
    axis = unpacking.axis if unpacking and unpacking.axis is not None else default
    return _along(np.asarray(tensor.stored), axis, stored)


def _along(points: NDArray[Any], axis: int | None, stored: NDArray[Any]) -> NDArray[Any]:
    points = points.astype(np.int64).ravel()
    if points.size and np.all(points == points[0]):
        return points[0]  # type: ignore[no-any-return]
    if axis is None or not -stored.ndim <= axis < stored.ndim or stored.shape[axis] != points.size:
        return np.zeros((), np.int64)
    shape = [1] * stored.ndim
    shape[axis] = points.size
    return points.reshape(shape)
