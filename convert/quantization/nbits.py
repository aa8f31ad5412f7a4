"""Which weights of an .onnx graph can be stored in blocks, and the operators that then take their place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.external_data import graphs_of
from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tinsmith.convert.quantization.blockwise import Blocks

__all__ = ["DOMAIN", "BlockedWeight", "block_weights", "put_in_blocks"]

DOMAIN = "com.microsoft"
_NEEDED_FOR = "block-wise weights"
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedWeight:
    """A float32 matrix that is to be stored in blocks.

    Attributes:
        name: Of the constant.
        depth: What is summed over (K of MatMulNBits).
        columns: Results a row (N).
        transposed: Whether it is stored as [columns, depth].
        uses: The outputs of the MatMul and Gemm nodes that multiply by it.
        turns: The outputs of Transpose nodes between; they go.
    """

    name: str
    depth: int
    columns: int
    transposed: bool
    uses: tuple[str, ...]
    turns: tuple[str, ...] = ()

    def parts(self, blocks: Blocks) -> tuple[str, ...]:
        """The names of the constants that take its place, as onnxruntime's quantizer gives them."""
        known = (f"{self.name}_Q{blocks.bits}", f"{self.name}_scales")
        return known if blocks.symmetric else (*known, f"{self.name}_zero_points")


def block_weights(model: Any, blocks: Blocks, *, kept: Collection[str] = ()) -> tuple[BlockedWeight, ...]:
    """Find the constants that only MatMul and Gemm multiply by, and that get smaller.

    A matrix that something else reads too (an embedding that is the last layer as well) would have to stay beside its
    blocks, and the file would grow; it is left alone.

    Args:
        model: A ``ModelProto``, weights read or not.
        blocks: How they are to be stored.
        kept: Names of outputs of operators whose weights stay as they are.
    """
    return tuple(_found(_Reading(model), blocks, frozenset(kept)))


def _found(reading: _Reading, blocks: Blocks, kept: frozenset[str]) -> Iterator[BlockedWeight]:
    float32 = reading.onnx.TensorProto.FLOAT
    for tensor in reading.graph.initializer:
        if tensor.data_type != float32 or len(tensor.dims) != 2 or not all(tensor.dims):
            continue
        weight = reading.weight(tensor)
        if weight is None or not kept.isdisjoint(weight.uses):
            continue
        if blocks.packed_bytes(weight.depth, weight.columns) < _FLOAT_BYTES * weight.depth * weight.columns:
            yield weight


class _Reading:
    """Who reads what in the main graph; readers in loops and branches count, but nothing there is changed."""

    def __init__(self, model: Any) -> None:
        self.onnx = require("onnx", needed_for=_NEEDED_FOR)
        self.graph = model.graph
        self._readers: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)
        inner = list(graphs_of(self.graph))[1:]
        self._bound = {value.name for value in (*self.graph.output, *self.graph.input)}
        self._bound |= {name for graph in inner for node in graph.node for name in node.input}
        self._bound |= {value.name for graph in inner for value in graph.output}

    def weight(self, tensor: Any) -> BlockedWeight | None:
        """The constant as a weight in blocks; None where something reads it that can't read blocks."""
        readers = self._readers.get(tensor.name, [])
        if not readers or tensor.name in self._bound:
            return None
        turns = [node for node in readers if self._turns(node)]
        uses = [(node, tensor.name, False) for node in readers if node not in turns]
        uses += [(node, turn.output[0], True) for turn in turns for node in self._readers.get(turn.output[0], [])]
        ways = {self._way(node, name, turned) for node, name, turned in uses}
        if len(ways) != 1 or None in ways or any(turn.output[0] in self._bound for turn in turns):
            return None
        transposed = bool(ways.pop())
        depth, columns = (int(n) for n in (reversed(tensor.dims) if transposed else tensor.dims))
        return BlockedWeight(
            name=tensor.name,
            depth=depth,
            columns=columns,
            transposed=transposed,
            uses=tuple(node.output[0] for node, _, _ in uses),
            turns=tuple(turn.output[0] for turn in turns),
        )

    def _way(self, node: Any, name: str, turned: bool) -> bool | None:
        """Whether a node multiplies by the constant as [columns, depth]; None where it does something else with it."""
        if list(node.input).count(name) != 1 or len(node.input) < 2 or node.input[1] != name:
            return None
        if node.op_type == "MatMul" and node.domain in ("", "ai.onnx"):
            return turned
        if node.op_type != "Gemm" or node.domain not in ("", "ai.onnx"):
            return None
        said = {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}
        if said.get("alpha", 1.0) != 1.0 or said.get("beta", 1.0) != 1.0 or said.get("transA", 0):
            return None
        return bool(said.get("transB", 0)) != turned

    def _turns(self, node: Any) -> bool:
        """Whether a node transposes a matrix."""
        if node.op_type != "Transpose" or node.domain not in ("", "ai.onnx"):
            return False
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [1, 0])
        return order == [1, 0]


def put_in_blocks(model: Any, weights: Collection[BlockedWeight], blocks: Blocks) -> None:
    """Replace the operators that multiply by these weights, and leave all others as they are.

    MatMul becomes MatMulNBits; Gemm becomes MatMulNBits and, where it has a bias, Add. The constants are not touched.

    Args:
        model: The ``ModelProto``; it is changed.
        weights: From ``block_weights`` of the same model.
        blocks: How they are stored.
    """
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    by_use = {use: weight for weight in weights for use in weight.uses}
    turns = {turn for weight in weights for turn in weight.turns}
    names = Counter(name for node in model.graph.node for name in node.output)
    nodes = []
    for node in model.graph.node:
        weight = by_use.get(node.output[0]) if node.output else None
        if weight is not None:
            nodes += _replaced(onnx, node, weight, blocks, names)
        elif not node.output or node.output[0] not in turns:
            nodes.append(node)
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    gone = turns | {name for weight in weights for name in (weight.name,)}
    known = [value for value in model.graph.value_info if value.name not in gone]
    del model.graph.value_info[:]
    model.graph.value_info.extend(known)
    if weights and DOMAIN not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))


def _replaced(onnx: Any, node: Any, weight: BlockedWeight, blocks: Blocks, names: Counter[str]) -> list[Any]:
    helper = onnx.helper
    biased = node.op_type == "Gemm" and len(node.input) > 2 and node.input[2]
    product = _free(f"{node.output[0]}_product", names) if biased else node.output[0]
    made = helper.make_node(
        "MatMulNBits",
        [node.input[0], *weight.parts(blocks)],
        [product],
        name=f"{node.name}_Q{blocks.bits}" if node.name else "",
        domain=DOMAIN,
        K=weight.depth,
        N=weight.columns,
        bits=blocks.bits,
        block_size=blocks.block_size,
    )
    if not biased:
        return [made]
    name = f"{node.name}_bias" if node.name else ""
    return [made, helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=name)]


def _free(name: str, names: Counter[str]) -> str:
    while names[name]:
        name += "_"
    names[name] += 1
    return name
