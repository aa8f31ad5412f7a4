"""What an operator really computes in, read from the types of its tensors; names are not believed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tinsmith.convert.inspection.sources import UNPACKING, trace
from tinsmith.runtime.artifact import OperatorUse

if TYPE_CHECKING:
    from tinsmith.convert.inspection.graph import Graph, Operator, Tensor
    from tinsmith.convert.inspection.sources import Source

__all__ = ["Precisions", "count_uses"]

_PACKING = frozenset({"QUANTIZE", "QuantizeLinear", "com.microsoft.QuantizeLinear", "DynamicQuantizeLinear"})
# Operators that only move data, shape it or change its type.
_MOVES = frozenset(
    (  # noqa: SIM905 - one name a line would fill two screens
        "RESHAPE TRANSPOSE PAD PADV2 MIRROR_PAD SLICE STRIDED_SLICE SPLIT SPLIT_V SQUEEZE EXPAND_DIMS GATHER GATHER_ND "
        "PACK UNPACK SHAPE CONCATENATION TILE FILL RANGE BROADCAST_TO REVERSE_V2 SPACE_TO_DEPTH DEPTH_TO_SPACE "
        "SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND WHILE IF CALL CALL_ONCE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE CAST "
        "Reshape Transpose Pad Slice Split Squeeze Unsqueeze Gather GatherND Concat Shape Expand Tile Flatten Identity "
        "Constant ConstantOfShape Loop If Scan SpaceToDepth DepthToSpace Dropout Range Cast CastLike"
    ).split()
    + sorted(UNPACKING | _PACKING)
)
_DYNAMIC = frozenset(
    {"MatMulInteger", "ConvInteger", "com.microsoft.DynamicQuantizeMatMul", "com.microsoft.MatMulIntegerToFloat"}
)
_PACKED_WEIGHTS = frozenset({"com.microsoft.MatMulNBits", "com.microsoft.GatherBlockQuantized"})
# onnxruntime fuses these with the unpacking before them although nothing packs their result again.
_FUSED_ALONE = frozenset({"MatMul", "Gemm"})
# onnxruntime folds these into the operator before them.
_FOLDED = frozenset({"Relu", "Clip"})
_INTEGERS = frozenset({"int32", "int64", "bool", "uint32", "uint64"})
_SMALL = frozenset({"int8", "uint8", "int4", "uint4", "int2", "uint2"})
_HALVES = frozenset({"int16", "uint16"})
_FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})


class Precisions:
    """Tells the precision of each operator of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._producers = graph.producers()
        self._consumers = graph.consumers()
        self._packed: dict[tuple[int, bool], bool] = {}

    def of(self, operator: Operator) -> str:
        """One of the words that ``OperatorUse.precision`` lists, or ``unknown`` where the file names no types."""
        if operator.name in _MOVES or not operator.outputs:
            return "-"
        if operator.name in _DYNAMIC:
            return "dynamic-int8"
        if operator.name in _PACKED_WEIGHTS:
            return f"weight-only-int{operator.bits or 4}"
        if folding := self._folding(operator):
            return self.of(folding)
        computed, weight = self._inputs(operator)
        activation = self._activation(operator, computed, weight)
        return _word(activation, weight)

    def _folding(self, operator: Operator) -> Operator | None:
        """The integer operator that an activation function disappears in, if it does."""
        first = operator.input(0)
        before = self._producers.get(id(first)) if operator.name in _FOLDED else None
        if before is None or before.name in _FOLDED | _MOVES or not self._is_packed_again(operator):
            return None
        return before

    def _inputs(self, operator: Operator) -> tuple[list[Source], Source | None]:
        """The inputs that are computed, and the first constant of more than one real number."""
        sources = [trace(tensor, self._producers) for tensor in operator.inputs if tensor is not None]
        computed = [source for source in sources if source.tensor.stored is None]
        constants = [s for s in sources if s.tensor.stored is not None and s.tensor.elements > 1]
        return computed, next((s for s in constants if s.dtype not in _INTEGERS), None)

    def _activation(self, operator: Operator, computed: list[Source], weight: Source | None) -> str:
        """The type that the operator computes in as far as its activations say."""
        direct = [self._direct(source) for source in computed]
        seen = next((dtype for dtype in direct if dtype in _FLOATS | _SMALL | _HALVES), "")
        given = operator.outputs[0].dtype
        if seen in _FLOATS or (not seen and given in _FLOATS):
            fused = computed[0].dtype if computed and self._is_fused(operator, computed, weight) else ""
            return fused or seen or given
        return seen or next((dtype for dtype in (*direct, given) if dtype), "")

    @staticmethod
    def _direct(source: Source) -> str:
        """The type that reaches the operator."""
        return source.unpacking.outputs[0].dtype or "float32" if source.unpacking else source.dtype

    def _is_fused(self, operator: Operator, computed: list[Source], weight: Source | None) -> bool:
        """Whether an engine turns unpack, compute, pack into one integer operator.

        TFLite never does: what stands behind its DEQUANTIZE is a float operator.
        """
        if self._graph.format != "onnx" or any(s.unpacking is None for s in computed if s.dtype not in _INTEGERS):
            return False
        if weight is not None and weight.unpacking is None:
            return False
        return operator.name in _FUSED_ALONE or self._is_packed_again(operator)

    def _is_packed_again(self, operator: Operator) -> bool:
        """Whether all that read its results quantize them, straight or behind an activation function."""
        return all(self._is_only_packed(tensor, folds=operator.name not in _FOLDED) for tensor in operator.outputs)

    def _is_only_packed(self, tensor: Tensor, *, folds: bool) -> bool:
        known = self._packed.get((id(tensor), folds))
        if known is not None:
            return known
        readers = self._consumers.get(id(tensor), [])
        if folds and len(readers) == 1 and readers[0].name in _FOLDED:
            found = self._is_packed_again(readers[0])
        else:
            found = bool(readers) and all(reader.name in _PACKING for reader in readers)
        self._packed[id(tensor), folds] = found
        return found


def _word(activation: str, weight: Source | None) -> str:
    if activation in _SMALL:
        return _bits(weight.dtype) if weight and _bits(weight.dtype) in ("int4", "int2") else "int8"
    if activation in _HALVES:
        return "int16x8"
    if activation in _FLOATS:
        return _of_floats(activation, weight)
    return "integer" if activation in _INTEGERS else "-" if activation else "unknown"


def _bits(dtype: str) -> str:
    return dtype.removeprefix("u")


def _of_floats(activation: str, weight: Source | None) -> str:
    if weight is not None and weight.dtype in _SMALL:
        way = "weight-only" if weight.unpacking or weight.cast else "dynamic"
        return f"{way}-{_bits(weight.dtype)}"
    return "float16" if "float16" in (activation, weight.dtype if weight else "") else activation


def count_uses(graph: Graph) -> tuple[OperatorUse, ...]:
    """Operators by name, version and precision, the most frequent first."""
    precisions = Precisions(graph)
    counts = Counter((o.name, o.version, precisions.of(o), o.custom) for o in graph.operators)
    return tuple(
        OperatorUse(name=name, version=version, count=count, precision=precision, custom=custom)
        for (name, version, precision, custom), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
