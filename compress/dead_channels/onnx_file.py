"""Dead channels of a float .onnx file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.dead_channels.analysis import find_dead
from tinsmith.compress.dead_channels.cuts import Place, constants_after
from tinsmith.compress.dead_channels.onnx_nodes import Contents, load_float, read_names
from tinsmith.compress.dead_channels.onnx_reading import OnnxReading
from tinsmith.compress.dead_channels.outcome import Outcome, artifact_sizes
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import ModelError
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.analysis import Removal
    from tinsmith.compress.dead_channels.outcome import Limits

__all__ = ["write_without"]

_LARGEST_BYTES = (1 << 31) - 1  # of a protobuf message
_BIAS = 2  # the slot in which convolutions and Gemm read it


def write_without(path: Path, output: Path, limits: Limits) -> Outcome:
    """Read a file, and write it without its dead channels, in one file; where there are none, nothing is written.

    Raises:
        UnsupportedOperatorError: It is quantized.
        ModelError: It can't be read, or is too large for one file.
    """
    model = load_float(path)
    contents = Contents(model)
    reading = OnnxReading(contents, limits.largest_input)
    graph = reading.graph()
    removal = find_dead(graph, limits.bound)
    if removal.removed:
        _Carrying(model, contents, reading).out(removal)
        if model.ByteSize() > _LARGEST_BYTES:
            raise ModelError(f"{path.name} has more than 2 GiB of weights, which one .onnx file can't hold")
        write_bytes(output, model.SerializeToString(deterministic=True))
    size = artifact_sizes(path, output if removal.removed else path)
    return Outcome(removal=removal, not_followed=graph.not_followed(), size=size)


class _Carrying:
    """Changes a ``ModelProto``."""

    def __init__(self, model: Any, contents: Contents, reading: OnnxReading) -> None:
        self._onnx = require("onnx", needed_for="writing .onnx files")
        self._model, self._contents, self._reading = model, contents, reading
        self._nodes = list(model.graph.node)
        names = (name for node in self._nodes for name in (*node.input, *node.output))
        self._taken = {*names, *(constant.name for constant in model.graph.initializer)}

    def out(self, removal: Removal) -> None:
        """Take the channels out."""
        for place, array in constants_after(self._reading.cuts, removal, self._stored):
            self._store(place, array)
        for name, bias in removal.biases.items():
            self._fold(name, bias)
        for target in self._reading.targets:
            self._aim(target.place, target.axis, len(removal.kept[target.value]))
        for number, value in self._reading.groups.items():
            self._set(self._nodes[number], "group", len(removal.kept[value]))
        del self._model.graph.value_info[:]
        self._drop_unread()

    def _stored(self, place: Place) -> NDArray[Any]:
        array = self._contents.constant(self._nodes[place.operator].input[place.slot])
        assert array is not None
        return array

    def _store(self, place: Place, array: NDArray[Any]) -> None:
        """Give a node another constant."""
        node = self._nodes[place.operator]
        while len(node.input) <= place.slot:
            node.input.append("")
        name = self._fresh(node.input[place.slot] or f"{node.output[0]}_bias")
        self._model.graph.initializer.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        node.input[place.slot] = name

    def _fold(self, name: str, bias: NDArray[np.float64]) -> None:
        """Write a layer's new bias; a product without one gets an addition behind it."""
        operator = self._reading.layers[name]
        if operator.kind != "MatMul":
            self._store(Place(operator.number, _BIAS), (bias / self._reading.factors.get(name, 1.0)).astype(np.float32))
            return
        node = self._nodes[operator.number]
        given, before = node.output[0], self._fresh(f"{node.output[0]}_product")
        node.output[0] = before
        constant = self._fresh(f"{given}_bias")
        self._model.graph.initializer.append(self._onnx.numpy_helper.from_array(bias.astype(np.float32), constant))
        at = next(i for i, other in enumerate(self._model.graph.node) if other.output[:1] == [before])
        self._model.graph.node.insert(at + 1, self._onnx.helper.make_node("Add", [before, constant], [given]))

    def _aim(self, place: Place, axis: int, length: int) -> None:
        """Name another length in the shape that a reshape makes; what it works out itself is left to it."""
        shape = self._stored(place)
        if shape[axis] > 0 and shape[axis] != length:
            changed = shape.copy()
            changed[axis] = length
            self._store(place, changed)

    def _set(self, node: Any, name: str, value: int) -> None:
        for attribute in node.attribute:
            if attribute.name == name:
                attribute.i = value

    def _drop_unread(self) -> None:
        """Constants that no node reads any more; they were cut, and stand elsewhere."""
        graph = self._model.graph
        for node in [n for n in graph.node if self._contents.constant(n.output[0]) is not None][::-1]:
            if node.output[0] not in read_names(graph):
                graph.node.remove(node)
        read = read_names(graph)
        for constant in [c for c in graph.initializer if c.name not in read]:
            graph.initializer.remove(constant)
            for value in [v for v in graph.input if v.name == constant.name]:
                graph.input.remove(value)

    def _fresh(self, name: str) -> str:
        unique, number = name, 0
        while unique in self._taken:
            number += 1
            unique = f"{name}_{number}"
        self._taken.add(unique)
        return unique
