"""The proof of an artifact whose model is too large to be run: tensor by tensor, from what was written.

Every operator of the artifact is one of the source's, or multiplies by the same weight in blocks; every constant that
was kept has the same bytes; and every weight in blocks, multiplied out again, lies within half a step of what it was.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.external_data import StoredTensor, read_graph, stored_tensors
from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.blockwise import Blocks, Packed, unpack
from tinsmith.convert.quantization.nbits import DOMAIN
from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["WeightProof", "prove_weights"]

_NEEDED_FOR = "the proof of weights in blocks"
# Scales are float32, and are divided by.
_HALF_STEP = 0.5 + 1e-3
# A symmetric grid has one step less on one side: what lies there is cut off by a step at most.
_END_STEP = 1.0 + 1e-3
_PORTION = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightProof:
    """A proof that held.

    Attributes:
        weights: How many matrices are in blocks.
        parameters: How many numbers are in them.
        kept: How many constants are the source's, byte by byte.
        largest_steps: The largest rounding error, in steps of its block.
    """

    weights: int
    parameters: int
    kept: int
    largest_steps: float

    def __str__(self) -> str:
        return (
            f"{self.weights} matrices of {self.parameters:,} numbers within {self.largest_steps:.3f} steps of theirs, "
            f"{self.kept} constants the same"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A MatMulNBits and the weight that it must hold."""

    node: Any
    weight: str
    transposed: bool


def prove_weights(source: Path, artifact: Path) -> WeightProof:
    """Hold the file that was written against the float32 model it was made from.

    Args:
        source: An .onnx file.
        artifact: The same with weights in blocks.

    Raises:
        VerificationError: The two do not compute the same, but for rounding.
        ModelLoadError: One of them can't be read.
    """
    before, after = _Side(source), _Side(artifact)
    _hold_ends(before.model.graph, after.model.graph)
    pairs = list(_paired(before, after))
    by_weight = {pair.weight: pair for pair in pairs}
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        largest = list(pool.map(lambda pair: _largest_error(before, after, pair), by_weight.values()))
    kept = [name for name in before.stored if name in after.stored]
    for name in kept:
        _hold_bytes(before.stored[name], after.stored[name])
    return WeightProof(
        weights=len(by_weight),
        parameters=sum(int(np.prod(before.stored[name].proto.dims)) for name in by_weight),
        kept=len(kept),
        largest_steps=max(largest, default=0.0),
    )


class _Side:
    """One of the two models."""

    def __init__(self, path: Path) -> None:
        self.model = read_graph(path)
        everything = list(stored_tensors(self.model, path.parent))
        constants = {id(tensor) for tensor in self.model.graph.initializer}
        self.stored = {t.proto.name: t for t in everything if id(t.proto) in constants}
        self.makers = {name: node for node in self.model.graph.node for name in node.output if name}


def _hold_ends(before: Any, after: Any) -> None:
    for ends in ("input", "output"):
        one, other = ([value.SerializeToString() for value in getattr(graph, ends)] for graph in (before, after))
        if one != other:
            raise _broken(f"its {ends}s are not those of its source")


def _paired(before: _Side, after: _Side) -> Iterator[_Pair]:
    """Walk the source; each of its operators must be there, or stand as MatMulNBits."""
    seen: set[str] = set()
    for node in before.model.graph.node:
        other = after.makers.get(node.output[0])
        if other is None and node.op_type == "Transpose":
            continue  # of a weight; its reader is held against it
        if other is None:
            raise _broken(f"nothing computes {node.output[0]!r} any more")
        seen.add(other.output[0])
        if other.SerializeToString() == node.SerializeToString():
            continue
        product = other
        if node.op_type == "Gemm" and other.op_type == "Add" and list(other.input)[1:] == list(node.input)[2:]:
            product = after.makers[other.input[0]]
            seen.add(product.output[0])
        yield _pair(before, node, product)
    extra = [node.output[0] for node in after.model.graph.node if node.output[0] not in seen]
    if extra:
        raise _broken(f"it computes {extra[0]!r}, which its source does not")


def _pair(before: _Side, node: Any, product: Any) -> _Pair:
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    fits = node.op_type in ("MatMul", "Gemm") and (product.op_type, product.domain) == ("MatMulNBits", DOMAIN)
    if not fits or product.input[0] != node.input[0]:
        raise _broken(f"{node.op_type} {node.output[0]!r} became {product.op_type}, which is something else")
    name = node.input[1]
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    if name not in before.stored:
        name, transposed = before.makers[name].input[0], not transposed
    said = {a.name: onnx.helper.get_attribute_value(a) for a in product.attribute}
    shape = [said["K"], said["N"]]
    if list(before.stored[name].proto.dims) != (shape[::-1] if transposed else shape):
        raise _broken(f"MatMulNBits {product.output[0]!r} has {shape[0]} x {shape[1]} weights, unlike {name!r}")
    return _Pair(node=product, weight=name, transposed=transposed)


def _largest_error(before: _Side, after: _Side, pair: _Pair) -> float:
    """The largest error of one weight, in steps; raises where it is more than rounding."""
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    said = {a.name: onnx.helper.get_attribute_value(a) for a in pair.node.attribute}
    symmetric = len(pair.node.input) == 3
    blocks = Blocks(bits=said["bits"], block_size=said["block_size"], symmetric=symmetric)
    packed = _read_packed(after, pair.node)
    original, largest = before.stored[pair.weight], 0.0
    unit = 1 if pair.transposed else blocks.block_size * 2
    step = max(1, _PORTION // (int(original.proto.dims[1]) * unit)) * unit
    for start in range(0, int(original.proto.dims[0]), step):
        rows = original.rows(start, min(start + step, int(original.proto.dims[0])))
        part = _part(packed, start, len(rows), blocks, transposed=pair.transposed)
        wanted = rows if pair.transposed else rows.T
        largest = max(largest, _error(wanted, part, blocks))
    if largest > (_END_STEP if symmetric else _HALF_STEP):
        raise _broken(f"the weight {pair.weight!r} lies up to {largest:.3g} steps from what it was")
    return largest


def _error(wanted: Any, part: Packed, blocks: Blocks) -> float:
    """The largest difference of [N, K] weights and their blocks, in steps of the block."""
    columns, count = part.scales.shape
    off = unpack(part, blocks, wanted.shape[1])
    off -= wanted
    np.abs(off, out=off)
    whole = count * blocks.block_size
    if whole != off.shape[1]:
        off = np.pad(off, ((0, 0), (0, whole - off.shape[1])))
    worst = off.reshape(columns, count, blocks.block_size).max(axis=2)
    steps = np.abs(part.scales)
    tiny = np.finfo(np.float32).tiny
    return float(np.max(worst / np.maximum(steps, tiny), initial=0.0))


def _part(packed: Packed, start: int, length: int, blocks: Blocks, *, transposed: bool) -> Packed:
    if transposed:
        rows = slice(start, start + length)
        points = None if packed.zero_points is None else packed.zero_points[rows]
        return Packed(weights=packed.weights[rows], scales=packed.scales[rows], zero_points=points)
    first, count = start // blocks.block_size, blocks.along(length)
    points = packed.zero_points
    if points is not None:
        points = points[:, first * blocks.bits // 8 : -(-(first + count) * blocks.bits // 8)]
    along = slice(first, first + count)
    return Packed(weights=packed.weights[:, along], scales=packed.scales[:, along], zero_points=points)


def _read_packed(after: _Side, node: Any) -> Packed:
    parts = [after.stored[name] for name in node.input[1:]]
    kinds = (np.uint8, np.float32, np.uint8)
    arrays: list[Any] = []
    for part, kind in zip(parts, kinds, strict=False):
        content = b"".join(part.chunks())
        arrays.append(np.frombuffer(content, kind).reshape([int(n) for n in part.proto.dims]))
    return Packed(weights=arrays[0], scales=arrays[1], zero_points=arrays[2] if len(arrays) > 2 else None)


def _hold_bytes(one: StoredTensor, other: StoredTensor) -> None:
    same = list(one.proto.dims) == list(other.proto.dims) and one.nbytes == other.nbytes
    if not same or any(bytes(a) != bytes(b) for a, b in zip(one.chunks(), other.chunks(), strict=True)):
        raise _broken(f"the constant {one.proto.name!r} is not that of its source")


def _broken(why: str) -> VerificationError:
    return VerificationError(
        f"the artifact does not compute what its source does: {why}",
        hint="this is a defect of tinsmith; please report it",
    )
