"""What computes what in an artifact: the same for TFLite and ONNX, without what is only stored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.generic]

__all__ = ["DEQUANTIZING", "QUANTIZING", "Grid", "Node", "Value", "Wiring"]

QUANTIZING = frozenset({"QUANTIZE", "QuantizeLinear"})
DEQUANTIZING = frozenset({"DEQUANTIZE", "DequantizeLinear"})
_REAL = frozenset({"float32", "float16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How the integers of a computed tensor stand for real numbers: ``real = scale * (integer - zero_point)``.

    Attributes:
        scale: Positive; one for the whole tensor.
        zero_point: The integer that stands for 0.
        dtype: numpy's name of the integers.
    """

    scale: float
    zero_point: int
    dtype: str

    @property
    def least(self) -> int:
        """The first integer of the grid."""
        return int(np.iinfo(self.dtype).min)

    @property
    def greatest(self) -> int:
        """The last integer of the grid."""
        return int(np.iinfo(self.dtype).max)

    def real(self, integers: Array) -> NDArray[np.float32]:
        """The numbers that integers stand for."""
        shifted = integers.astype(np.float32)
        shifted -= np.float32(self.zero_point)
        shifted *= np.float32(self.scale)
        return shifted


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor that is fed or computed.

    Attributes:
        name: Unique in its model.
        dtype: numpy's name; empty where the file does not say.
        shape: None where an axis is free; empty where the file does not say.
        grid: None for real numbers.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] = ()
    grid: Grid | None = None

    @property
    def stands_for_reals(self) -> bool:
        """Whether an error can be measured on it."""
        return self.grid is not None or self.dtype in _REAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator, with the tensors that are fed to it and those that it computes.

    Attributes:
        operator: As its format names it.
        inputs: Without what is stored in the file.
        outputs: In order.
        weights: What is stored of its second factor, by the name of the tensor; None for operators without.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: str | None = None

    @property
    def only_changes_numbers(self) -> bool:
        """Whether it turns real numbers into integers or back, and is no layer of the model."""
        return self.operator in QUANTIZING or self.operator in DEQUANTIZING


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """One graph, in the order in which it runs.

    Attributes:
        format: Of the file.
        nodes: In that order; none that computes constants.
        values: By name.
        inputs: What is fed, in order.
        outputs: What is answered, in order.
    """

    format: Literal["tflite", "onnx"]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """What computes a tensor."""
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, list[Node]]:
        """What a tensor is fed to."""
        found: defaultdict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for name in node.inputs:
                found[name].append(node)
        return found

    @property
    def layers(self) -> tuple[Node, ...]:
        """Every node that is no mere change of the numbers' format."""
        return tuple(node for node in self.nodes if not node.only_changes_numbers)

    def face(self, name: str) -> str:
        """The tensor that later layers really get for this one: the integers, where it is rounded to some."""
        producer = self.producers.get(name)
        if producer is not None and producer.operator in DEQUANTIZING and producer.inputs:
            return producer.inputs[0]
        takers = self.consumers.get(name, [])
        if len(takers) == 1 and takers[0].operator in QUANTIZING:
            return takers[0].outputs[0]
        return name

    def chain(self, name: str, stops: frozenset[str]) -> tuple[tuple[Node, ...], tuple[str, ...]]:
        """The nodes between a tensor and the nearest ones that it is computed from.

        Args:
            name: The tensor.
            stops: Where to stop; inputs of the model are stops as well.

        Returns:
            The nodes in the order in which they run, and the stops that they start from.
        """
        nodes: list[Node] = []
        sources: list[str] = []
        for found in self._upstream(name, stops):
            if isinstance(found, Node):
                nodes.append(found)
            else:
                sources.append(found)
        ran = {id(node): at for at, node in enumerate(self.nodes)}
        return tuple(sorted(nodes, key=lambda node: ran[id(node)])), tuple(sources)

    def _upstream(self, name: str, stops: frozenset[str]) -> Iterator[Node | str]:
        waiting, seen = [name], {name}
        while waiting:
            at = waiting.pop()
            if at not in self.producers or (at in stops and at != name):
                yield at
                continue
            node = self.producers[at]
            if node.outputs[0] == at or not seen & set(node.outputs) - {at}:
                yield node
            fresh = [given for given in dict.fromkeys(node.inputs) if given not in seen]
            seen.update(fresh)
            waiting += fresh
