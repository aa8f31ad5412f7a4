"""Take out of a model what no runtime reads."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.slimming.reading import in_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["prune"]

# The converter's version and options. LiteRT, TFLM and their tools run without it; anything else that a file carries
# may be what the user's own tools read.
_DROPPED_METADATA = (b"CONVERSION_METADATA",)
# What converters write into every file about themselves; a description of the user's own stays.
_OWN_DESCRIPTIONS = (b"MLIR Converted.", b"TOCO Converted.")
_EMPTY = hashlib.sha256().digest()


def prune(model: Any) -> None:
    """Change a ``ModelT`` whose indices hold; what can be asked of it by name stays."""
    for index, graph in enumerate(model.subgraphs):
        _drop_unread_tensors(model, graph, index)
        _drop_ranges(graph)
    _shorten_names(model)
    model.description = None if model.description in _OWN_DESCRIPTIONS else model.description
    _merge_operator_codes(model)
    if model.metadata is not None:
        model.metadata = [entry for entry in model.metadata if entry.name not in _DROPPED_METADATA]
    if model.buffers:
        _merge_buffers(model)


def _signature_entries(model: Any, index: int) -> list[Any]:
    signatures = [s for s in model.signatureDefs or [] if s.subgraphIndex == index]
    return [entry for s in signatures for entry in [*(s.inputs or []), *(s.outputs or [])]]


def _signature_tensors(model: Any, index: int) -> set[int]:
    return {entry.tensorIndex for entry in _signature_entries(model, index)}


def _drop_unread_tensors(model: Any, graph: Any, index: int) -> None:
    """Tensors that no operator, input, output, signature or other tensor names; the rest move up."""
    used = _signature_tensors(model, index) | _ends(graph)
    for operator in graph.operators or []:
        for vector in (operator.inputs, operator.outputs, operator.intermediates):
            used |= _members(vector)
    tensors = graph.tensors or []
    used = _with_scales(tensors, used)
    order = [i for i in range(len(tensors)) if i in used]
    if len(order) == len(tensors):
        return
    place = {old: new for new, old in enumerate(order)} | {-1: -1}
    graph.tensors = [tensors[i] for i in order]
    for entry in _signature_entries(model, index):
        entry.tensorIndex = place[entry.tensorIndex]
    for holder in (graph, *(graph.operators or [])):
        holder.inputs = _moved(holder.inputs, place.__getitem__)
        holder.outputs = _moved(holder.outputs, place.__getitem__)
    for operator in graph.operators or []:
        operator.intermediates = _moved(operator.intermediates, place.__getitem__)
    for quantization in filter(None, map(in_tensors, graph.tensors)):
        quantization.scales, quantization.zeroPoints = place[quantization.scales], place[quantization.zeroPoints]


def _with_scales(tensors: list[Any], used: set[int]) -> set[int]:
    """And those that hold their scales and zero points, where LiteRT reads whatever the number leads to."""
    found: set[int] = set()
    left = used - {-1}
    while left:
        found |= left
        quantizations = [in_tensors(tensors[index]) for index in left]
        left = {index for q in quantizations if q for index in (q.scales, q.zeroPoints)} - found - {-1}
    return found


def _shorten_names(model: Any) -> None:
    """Numbers for names, and not nothing: tf2onnx finds constants by name, and Vela decodes whatever stands there."""
    kept = [_ends(graph) | _signature_tensors(model, index) for index, graph in enumerate(model.subgraphs)]
    tensors = [(t, i in ends) for g, ends in zip(model.subgraphs, kept, strict=True) for i, t in _numbered(g)]
    taken = {tensor.name for tensor, stays in tensors if stays}
    free = (name for name in (b"%x" % number for number in itertools.count()) if name not in taken)
    for tensor, stays in tensors:
        if tensor.name and not stays:
            tensor.name = next(free)


def _numbered(graph: Any) -> Iterator[tuple[int, Any]]:
    return enumerate(graph.tensors or [])


def _drop_ranges(graph: Any) -> None:
    """Min and max were the converter's notes; kernels compute with scale and zero point."""
    for tensor in graph.tensors or []:
        if tensor.quantization is not None:
            tensor.quantization.min = tensor.quantization.max = None


def _merge_operator_codes(model: Any) -> None:
    codes = model.operatorCodes or []
    operators = [o for graph in model.subgraphs for o in graph.operators or []]
    place: dict[int, int] = {}
    merged: dict[tuple[Any, ...], int] = {}
    kept: list[Any] = []
    for index in sorted({o.opcodeIndex for o in operators}):
        code = codes[index]
        key = (code.deprecatedBuiltinCode, code.builtinCode, code.customCode, code.version)
        if key not in merged:
            merged[key] = len(kept)
            kept.append(code)
        place[index] = merged[key]
    model.operatorCodes = kept if model.operatorCodes is not None else None
    for operator in operators:
        operator.opcodeIndex = place[operator.opcodeIndex]


def _merge_buffers(model: Any) -> None:
    """Keep one buffer a content, and only those that something names; the first one means `no data` and stays."""
    place = _places(model.buffers, _named_buffers(model))
    kept = sorted({0, *place.values()})
    order = {old: new for new, old in enumerate(kept)}
    for graph in model.subgraphs:
        for tensor in graph.tensors or []:
            tensor.buffer = order[place[tensor.buffer]]
    for entry in model.metadata or []:
        entry.buffer = order[place[entry.buffer]]
    model.metadataBuffer = _moved(model.metadataBuffer, lambda old: order[place[old]])
    model.buffers = [model.buffers[i] for i in kept]


def _places(buffers: list[Any], named: set[int]) -> dict[int, int]:
    """For each named buffer the first one of the same bytes."""
    first: dict[bytes, int] = {}
    if _digest(buffers[0]) == _EMPTY:
        first[_EMPTY] = 0
    return {index: first.setdefault(_digest(buffers[index]), index) if index else 0 for index in sorted(named)}


def _named_buffers(model: Any) -> set[int]:
    tensors = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors or []}
    return tensors | {entry.buffer for entry in model.metadata or []} | _members(model.metadataBuffer)


def _digest(buffer: Any) -> bytes:
    return _EMPTY if buffer.data is None else hashlib.sha256(buffer.data).digest()


def _ends(graph: Any) -> set[int]:
    return _members(graph.inputs) | _members(graph.outputs)


def _members(vector: Any) -> set[int]:
    return set() if vector is None else {int(item) for item in vector}


def _moved(vector: Any, place: Callable[[int], int]) -> Any:
    return None if vector is None else np.array([place(int(item)) for item in vector], dtype=np.int32)
