"""Multiply-accumulates of a graph, and what can't be counted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.convert.inspection.graph import Operator, Tensor

__all__ = ["ONNX_WEIGHTS", "TFLITE_WEIGHTS", "macs_of"]

# operator: (input that holds the weights, axis of its output channels)
TFLITE_WEIGHTS = {
    "CONV_2D": (1, 0),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 0),
    "TRANSPOSE_CONV": (1, 0),
    "CONV_3D": (1, 4),
}
ONNX_WEIGHTS = {
    "Conv": (1, 0),
    "ConvInteger": (1, 0),
    "QLinearConv": (3, 0),
    "ConvTranspose": (1, 1),
    "Gemm": (1, 1),
    "MatMul": (1, -1),
    "MatMulInteger": (1, -1),
    "QLinearMatMul": (3, -1),
    "com.microsoft.DynamicQuantizeMatMul": (1, -1),
    "com.microsoft.FusedConv": (1, 0),
    "com.microsoft.FusedGemm": (1, 1),
    "com.microsoft.FusedMatMul": (1, -1),
    "com.microsoft.MatMulIntegerToFloat": (1, -1),
    "com.microsoft.QGemm": (3, 1),
}
# Each output element is a sum over the convolution's window, which the weights' other axes span.
_WINDOWS = frozenset({"CONV_2D", "CONV_3D", "FULLY_CONNECTED", "Conv", "ConvInteger", "QLinearConv", "Gemm"}) | {
    "com.microsoft.FusedConv",
    "com.microsoft.FusedGemm",
    "com.microsoft.QGemm",
}
# Each output element is a sum over the last axis of the first factor.
_PRODUCTS = frozenset({"BATCH_MATMUL", "MatMul", "MatMulInteger", "QLinearMatMul"}) | {
    "com.microsoft.DynamicQuantizeMatMul",
    "com.microsoft.FusedMatMul",
    "com.microsoft.MatMulIntegerToFloat",
}
# These multiply too, each in a way of its own that is not counted here.
_UNCOUNTED = frozenset(
    (  # noqa: SIM905 - one name a line would fill a screen
        "LSTM RNN SVDF UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_LSTM "
        "BIDIRECTIONAL_SEQUENCE_RNN STABLEHLO_CONVOLUTION STABLEHLO_DOT_GENERAL "
        "GRU Einsum Attention DeformConv DFT STFT com.microsoft.Attention com.microsoft.MultiHeadAttention "
        "com.microsoft.GroupQueryAttention com.microsoft.QAttention com.microsoft.DynamicQuantizeLSTM "
        "com.microsoft.QLinearConv com.microsoft.NhwcFusedConv"
    ).split()
)


def macs_of(operator: Operator) -> int | None:
    """Multiply-accumulates of one operator, free axes taken as 1.

    Returns:
        0 for an operator that does not multiply; None for one that does and whose number can't be told.
    """
    if operator.name in _UNCOUNTED or operator.custom:
        return None
    count = _COUNTS.get(operator.name)
    return count(operator) if count and operator.outputs else 0


def _times(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one * other


def _elements(tensor: Tensor | None) -> int | None:
    return tensor.elements if tensor is not None and tensor.ranked else None


def _packed(operator: Operator) -> int | None:
    """A product whose weights are packed: their lengths stand beside them."""
    taken = _elements(operator.input(0))
    return _times(taken, operator.columns or None)


def _inner(operator: Operator) -> int | None:
    """Length of the axis that a product sums over."""
    second = operator.input(3 if operator.name == "QLinearMatMul" else 1)
    first = operator.input(0)
    if first is not None and first.shape and first.shape[-1] is not None:
        at = -2 if operator.turned and len(first.shape) > 1 else -1
        return first.shape[at]
    if second is None or not second.shape:
        return None
    return second.shape[-2 if len(second.shape) > 1 and not operator.transposed else -1]


def _product(operator: Operator) -> int | None:
    return _times(_elements(operator.outputs[0]), _inner(operator))


def _window(operator: Operator) -> int | None:
    """Output elements times the weights of one output channel."""
    index, axis = (TFLITE_WEIGHTS | ONNX_WEIGHTS)[operator.name]
    weights = operator.input(index)
    if weights is None or len(weights.shape) < 2 or None in weights.shape:
        return None
    channels = weights.shape[0 if operator.transposed else axis] or 1
    return _times(_elements(operator.outputs[0]), weights.elements // channels)


def _filter(operator: Operator, axes: slice) -> int | None:
    weights = operator.input(1)
    if weights is None or not weights.shape or None in weights.shape:
        return None
    return math.prod(n or 0 for n in weights.shape[axes])


def _depthwise(operator: Operator) -> int | None:
    """Each output element is a sum over the window of its own channel."""
    return _times(_elements(operator.outputs[0]), _filter(operator, slice(0, -1)))


def _transposed(operator: Operator) -> int | None:
    """Each input element is multiplied with all that its channel's filters hold."""
    onnx = operator.name == "ConvTranspose"
    source = operator.input(0 if onnx else 2)
    return _times(_elements(source), _filter(operator, slice(1, None) if onnx else slice(0, -1)))


_COUNTS: dict[str, Callable[[Operator], int | None]] = {
    **dict.fromkeys(_WINDOWS, _window),
    **dict.fromkeys(_PRODUCTS, _product),
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "ConvTranspose": _transposed,
    "com.microsoft.MatMulNBits": _packed,
}
