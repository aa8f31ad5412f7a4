"""Take out of a model what no runtime reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["prune"]

# The converter's version and options. LiteRT, TFLM and their tools run without it; anything else that a file carries
# may be what the user's own tools read.
_DROPPED_METADATA = (b"CONVERSION_METADATA",)


def prune(model: Any) -> None:
    """Change a ``ModelT`` whose indices hold; what can be asked of it by name stays."""
    for index, graph in enumerate(model.subgraphs):
        kept = _signature_tensors(model, index)
        _drop_unread_tensors(model, graph, index, kept)
        _drop_names(graph, _signature_tensors(model, index))
        _drop_ranges(graph)
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


def _drop_unread_tensors(model: Any, graph: Any, index: int, kept: set[int]) -> None:
    """Tensors that no operator, input, output or signature names; the rest move up."""
    used = kept | _ends(graph)
    for operator in graph.operators or []:
        for vector in (operator.inputs, operator.outputs, operator.intermediates):
            used |= _members(vector)
    tensors = graph.tensors or []
    order = [i for i in range(len(tensors)) if i in used]
    if len(order) == len(tensors):
        return
    place = {old: new for new, old in enumerate(order)} | {-1: -1}
    graph.tensors = [tensors[i] for i in order]
    for entry in _signature_entries(model, index):
        entry.tensorIndex = place[entry.tensorIndex]
    for holder, fields in [(graph, ("inputs", "outputs"))] + [
        (operator, ("inputs", "outputs", "intermediates")) for operator in graph.operators or []
    ]:
        for name in fields:
            setattr(holder, name, _moved(getattr(holder, name), place.__getitem__))


def _drop_names(graph: Any, kept: set[int]) -> None:
    """An empty name in place of none: readers such as Vela's decode whatever stands there."""
    named = kept | _ends(graph)
    for index, tensor in enumerate(graph.tensors or []):
        if index not in named and tensor.name is not None:
            tensor.name = b""


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
    kept = []
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
    if not _data(buffers[0]):
        first[b""] = 0
    return {index: first.setdefault(_data(buffers[index]), index) if index else 0 for index in sorted(named)}


def _named_buffers(model: Any) -> set[int]:
    tensors = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors or []}
    return tensors | {entry.buffer for entry in model.metadata or []} | _members(model.metadataBuffer)


def _data(buffer: Any) -> bytes:
    return b"" if buffer.data is None else buffer.data.tobytes()


def _ends(graph: Any) -> set[int]:
    return _members(graph.inputs) | _members(graph.outputs)


def _members(vector: Any) -> set[int]:
    return set() if vector is None else {int(item) for item in vector}


def _moved(vector: Any, place: Callable[[int], int]) -> Any:
    return None if vector is None else np.array([place(int(item)) for item in vector], dtype=np.int32)
