"""Where sums saturate on x86 CPUs without VNNI: the products of unsigned activations and signed weights.

These CPUs multiply bytes with ``vpmaddubsw`` only: products of neighbours along the summed axis, 0 and 1, 2 and 3, are
added in 16 bits, and what does not fit is clipped, without a word (onnxruntime#5849, #6004). Which pairs can reach that
depends on the weights alone, so it can be read from the file: with activations up to 255 a pair overflows where its
positive weights, or its negative ones, sum up to more than 128 in magnitude.

Depthwise convolutions are multiplied one by one, in 32 bits; weights in 7 bits, unsigned weights and signed activations
never overflow; nor does anything in a .tflite, whose kernels widen to 16 bits first. All this was seen under
``qemu-x86_64-static -cpu Haswell`` with onnxruntime 1.32 and LiteRT 2.3: `python -m benchmarks arithmetic`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.inspection.precision import Precisions
from tinsmith.convert.inspection.sources import trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tinsmith.convert.inspection.graph import Graph, Operator
    from tinsmith.convert.inspection.sources import Source

__all__ = ["SaturatingOperator", "Saturation", "find_saturation", "overflowing_pairs"]

_LARGEST_ACTIVATION = 255
_INT16 = np.iinfo(np.int16)

# Operators on integers, and where their weights stand.
_WEIGHTS = {
    "MatMulInteger": (1,),
    "QLinearMatMul": (3,),
    "QLinearConv": (3,),
    "com.microsoft.QGemm": (3,),
    "com.microsoft.QLinearConv": (3,),
    "com.microsoft.MatMulIntegerToFloat": (1,),
    "com.microsoft.QAttention": (1,),
    "com.microsoft.DynamicQuantizeMatMul": (1,),
    "com.microsoft.DynamicQuantizeLSTM": (1, 2),
}
# These round their float activations to uint8 themselves.
_ROUNDING = ("com.microsoft.DynamicQuantizeMatMul", "com.microsoft.DynamicQuantizeLSTM")
# Operators on real numbers that onnxruntime fuses with the unpacking around them.
_FUSED = ("Conv", "Gemm", "MatMul")
# TFLite's, whose kernels widen to 16 bits before they multiply.
_WIDENING = ("BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_CONVOLUTIONS = ("Conv", "QLinearConv", "com.microsoft.QLinearConv")


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturatingOperator:
    """One operator in which a sum of two products can overflow 16 bits.

    Attributes:
        name: Of the first tensor that it computes.
        operator: Its kind.
        share: Of the pairs of weights that can, above 0 and up to 1; None where the weights are not in the file.
    """

    name: str
    operator: str
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """What can saturate in an artifact on an x86 CPU without VNNI.

    Attributes:
        operators: Those that can, in the order of the file.
        products: How many operators multiply integers at all.
    """

    operators: tuple[SaturatingOperator, ...]
    products: int

    @property
    def said(self) -> str:
        """In one line."""
        if not self.operators:
            return f"nothing can saturate in {self.products} operators that multiply integers"
        return f"can saturate in {len(self.operators)} of {self.products} operators that multiply integers"

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {"operators": [asdict(operator) for operator in self.operators], "products": self.products}


def find_saturation(graph: Graph) -> Saturation:
    """Look at each product of integers in an artifact."""
    producers, precisions = graph.producers(), Precisions(graph)
    found, products = [], 0
    for operator in graph.operators:
        places = _weights_of(operator, precisions)
        products += places is not None
        if not places or not _is_unsigned(operator, producers):
            continue
        weights = [trace(tensor, producers) for at in places if (tensor := operator.input(at)) is not None]
        share = _share(operator, [source for source in weights if source.dtype == "int8"])
        if share != 0:
            found.append(SaturatingOperator(name=operator.outputs[0].name, operator=operator.name, share=share))
    return Saturation(operators=tuple(found), products=products)


def overflowing_pairs(weights: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which pairs of neighbours can overflow 16 bits.

    Args:
        weights: [K, N], K the axis that is summed over; padded with a zero where K is odd.

    Returns:
        [K / 2 rounded up, N]: whether some activations from 0 to 255 make the sum of the two products overflow.
    """
    wide = weights.astype(np.int32)
    pairs = np.concatenate([wide, np.zeros((len(wide) % 2, wide.shape[1]), np.int32)]).reshape(-1, 2, wide.shape[1])
    largest = _LARGEST_ACTIVATION * np.maximum(pairs, 0).sum(axis=1)
    least = _LARGEST_ACTIVATION * np.minimum(pairs, 0).sum(axis=1)
    found: NDArray[np.bool_] = (largest > _INT16.max) | (least < _INT16.min)
    return found


def _weights_of(operator: Operator, precisions: Precisions) -> tuple[int, ...] | None:
    """Where the weights stand that can take part in a sum that saturates; None for what multiplies no integers."""
    if operator.name in _WEIGHTS:
        return _WEIGHTS[operator.name]
    precision = precisions.of(operator)
    if operator.name in _FUSED and precision == "int8":
        return (1,)
    return () if operator.name in _WIDENING and precision in ("int8", "dynamic-int8") else None


def _is_unsigned(operator: Operator, producers: Mapping[int, Operator]) -> bool:
    """Whether the activations are uint8 when they are multiplied."""
    activations = operator.input(0)
    if operator.name in _ROUNDING or activations is None:
        return True
    return trace(activations, producers).dtype == "uint8"


def _share(operator: Operator, weights: list[Source]) -> float | None:
    """Of the pairs that can overflow, over all weights of an operator; None where they are not in the file."""
    if any(source.tensor.stored is None for source in weights):
        return None
    counted = [overflowing_pairs(columns) for source in weights for columns in _columns(operator, source)]
    pairs = sum(found.size for found in counted)
    return sum(int(found.sum()) for found in counted) / pairs if pairs else 0.0


def _columns(operator: Operator, source: Source) -> list[NDArray[np.int8]]:
    """The weights as onnxruntime multiplies them: matrices [K, N] with K the axis that is summed over."""
    stored = source.tensor.stored
    assert stored is not None
    weights = np.asarray(stored).view(np.int8)
    if operator.name in _CONVOLUTIONS:
        if _is_depthwise(operator, weights.shape):
            return []
        return [np.moveaxis(weights, 1, -1).reshape(len(weights), -1).T]
    if weights.ndim < 2:
        return [weights.reshape(-1, 1)]
    if source.turned != operator.transposed:
        weights = np.swapaxes(weights, -1, -2)
    return list(weights.reshape(-1, *weights.shape[-2:]))


def _is_depthwise(operator: Operator, shape: tuple[int, ...]) -> bool:
    """Whether each channel has a filter of its own; a file that names no shapes gets the benefit of no doubt."""
    given = operator.input(0)
    channels = given.shape[1] if given is not None and len(given.shape) == len(shape) else None
    return shape[1] == 1 and channels == shape[0]
