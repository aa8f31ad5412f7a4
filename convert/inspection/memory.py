"""How much memory a graph's activations need at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tinsmith.convert.inspection.graph import Graph, Operator, Tensor

__all__ = ["activation_bytes"]

# Packed types, and one that numpy has not.
_BITS = {"int4": 4, "uint4": 4, "int2": 2, "bfloat16": 16}


def activation_bytes(graph: Graph) -> int | None:
    """The most that activations take at once, at batch 1: an estimate of what an engine's arena holds at its fullest.

    Operators run in the order of the file; a tensor lives from the operator that computes it to the last one that reads
    it, inputs from the beginning and outputs to the end. No operator works in place, and scratch memory of kernels is
    not counted. Between a dequantizing and a quantizing operator, numbers take what their integers take, because
    engines fuse the three.

    Returns:
        None where a tensor's shape or dtype is not known.
    """
    births, deaths = _lives(graph)
    fused = _fused(graph)
    sizes: dict[int, int] = {}
    for key, (tensor, _) in births.items():
        size = _bytes(tensor, fused.get(key, tensor.dtype))
        if size is None:
            return None
        sizes[key] = size
    steps = np.zeros(len(graph.operators) + 2, dtype=np.int64)
    for key, (_, birth) in births.items():
        steps[birth] += sizes[key]
        steps[deaths[key] + 1] -= sizes[key]
    return int(np.cumsum(steps).max())


def _lives(graph: Graph) -> tuple[dict[int, tuple[Tensor, int]], dict[int, int]]:
    """When each tensor that is not stored comes and goes, as the number of an operator."""
    births = {id(tensor): (tensor, 0) for tensor in graph.inputs}
    deaths = dict.fromkeys(births, 0)
    for at, operator in enumerate(graph.operators):
        for tensor in operator.outputs:
            if tensor.stored is None:
                births.setdefault(id(tensor), (tensor, at))
                deaths[id(tensor)] = at
        deaths |= {id(tensor): at for tensor in operator.inputs if tensor is not None and id(tensor) in births}
    last = max(0, len(graph.operators) - 1)
    return births, deaths | {id(tensor): last for tensor in graph.outputs if id(tensor) in births}


def _fused(graph: Graph) -> dict[int, str]:
    """The dtype in which engines really keep a tensor that the file holds as real numbers."""
    kept: dict[int, str] = {}
    consumers = graph.consumers()
    for operator in graph.operators:
        source = operator.input(0)
        if source is None or not operator.outputs:
            continue
        result = operator.outputs[0]
        if operator.name == "DequantizeLinear":
            kept[id(result)] = source.dtype
        elif operator.name == "QuantizeLinear" and _only(operator, consumers.get(id(source), [])):
            kept[id(source)] = result.dtype
    return kept


def _only(operator: Operator, readers: list[Operator]) -> bool:
    return len(readers) == 1 and readers[0] is operator


def _bytes(tensor: Tensor, dtype: str) -> int | None:
    if not tensor.ranked:
        return None
    if dtype in _BITS:
        return math.ceil(tensor.elements * _BITS[dtype] / 8)
    try:
        return tensor.elements * np.dtype(dtype).itemsize if dtype not in ("", "str") else None
    except TypeError:
        return None
