"""What an operator really computes in, read from the types of its tensors; names are not believed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from tinsmith.runtime.artifact import OperatorUse

if TYPE_CHECKING:
    from tinsmith.convert.inspection.graph import Graph, Operator, Tensor

__all__ = ["Precisions", "count_uses"]

_UNPACK = {"DEQUANTIZE", "DequantizeLinear", "com.microsoft.DequantizeLinear", "Cast", "CAST"}
_PACK = {"QUANTIZE", "QuantizeLinear", "com.microsoft.QuantizeLinear", "DynamicQuantizeLinear"}
# Operators that only move data, shape it or change its type.
_MOVES = frozenset(
    (  # noqa: SIM905 - one name a line would fill two screens
        "RESHAPE TRANSPOSE PAD PADV2 MIRROR_PAD SLICE STRIDED_SLICE SPLIT SPLIT_V SQUEEZE EXPAND_DIMS GATHER GATHER_ND "
        "PACK UNPACK SHAPE CONCATENATION TILE FILL RANGE BROADCAST_TO REVERSE_V2 SPACE_TO_DEPTH DEPTH_TO_SPACE "
        "SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND WHILE IF CALL CALL_ONCE VAR_HANDLE READ_VARIABLE "
        "Reshape Transpose Pad Slice Split Squeeze Unsqueeze Gather GatherND Concat Shape Expand Tile Flatten Identity "
        "Constant ConstantOfShape Loop If Scan SpaceToDepth DepthToSpace Dropout Range"
    ).split()
    + sorted(_UNPACK | _PACK)
)
_DYNAMIC = {"MatMulInteger", "ConvInteger", "com.microsoft.DynamicQuantizeMatMul", "com.microsoft.MatMulIntegerToFloat"}
_FEW_BITS = {"com.microsoft.MatMulNBits": "int4", "com.microsoft.GatherBlockQuantized": "int4"}
_INTEGERS = {"int32", "int64", "bool", "uint32", "uint64", ""}
_SMALL = {"int8", "uint8", "int4", "uint4", "int2"}


class Precisions:
    """Tells the precision of each operator of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._producers = graph.producers()

    def of(self, operator: Operator) -> str:  # noqa: PLR0911 - one return a kind of operator
        """One of the words that ``OperatorUse.precision`` lists."""
        if operator.name in _MOVES or not operator.outputs:
            return "-"
        if operator.name in _DYNAMIC:
            return "dynamic-int8"
        if operator.name in _FEW_BITS:
            return _FEW_BITS[operator.name]
        activation, weight, unpacked = self._types(operator)
        if activation in _SMALL:
            return "int4" if weight in ("int4", "uint4", "int2") else "int8"
        if activation in ("int16", "uint16"):
            return "int16x8"
        if activation in ("float32", "float16", "bfloat16", "float64"):
            return _of_floats(activation, weight, unpacked=unpacked)
        return "integer" if activation in _INTEGERS else "-"

    def _types(self, operator: Operator) -> tuple[str, str, bool]:
        """Types of the first activation and of the first weight, behind their Q/DQ pairs.

        Returns:
            Both as they are stored, and whether the weight is unpacked to floats before the operator sees it.
        """
        activation, weight, unpacked = "", "", False
        for tensor in operator.inputs:
            if tensor is None:
                continue
            origin, through = self._origin(tensor)
            if origin.stored is None:
                activation = activation or origin.dtype
            elif not weight and origin.elements > 1 and origin.dtype not in _INTEGERS:
                weight, unpacked = origin.dtype, through
        return activation or self._given(operator), weight, unpacked

    def _origin(self, tensor: Tensor) -> tuple[Tensor, bool]:
        """The tensor before an unpacking operator, and whether there was one."""
        producer = self._producers.get(id(tensor))
        if producer is None or producer.name not in _UNPACK or not producer.inputs or producer.inputs[0] is None:
            return tensor, False
        packed, point = producer.inputs[0], producer.inputs[2] if len(producer.inputs) > 2 else None
        # onnx infers no types through com.microsoft's Q/DQ; the zero point has the type of what it belongs to.
        return (packed if packed.dtype or point is None else replace(packed, dtype=point.dtype)), True

    @staticmethod
    def _given(operator: Operator) -> str:
        return operator.outputs[0].dtype


def _of_floats(activation: str, weight: str, *, unpacked: bool) -> str:
    if weight in _SMALL:
        bits = "int8" if weight in ("int8", "uint8") else weight.removeprefix("u")
        return f"weight-only-{bits}" if unpacked else f"dynamic-{bits}"
    return "float16" if "float16" in (activation, weight) else activation


def count_uses(graph: Graph) -> tuple[OperatorUse, ...]:
    """Operators by name, version and precision, the most frequent first."""
    precisions = Precisions(graph)
    counts = Counter((o.name, o.version, precisions.of(o)) for o in graph.operators)
    return tuple(
        OperatorUse(name=name, version=version, count=count, precision=precision)
        for (name, version, precision), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
