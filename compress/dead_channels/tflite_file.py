"""Dead channels of a float .tflite file."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.dead_channels.analysis import find_dead
from tinsmith.compress.dead_channels.cuts import Place, constants_after
from tinsmith.compress.dead_channels.outcome import Outcome, artifact_sizes
from tinsmith.compress.dead_channels.tflite_nodes import Contents
from tinsmith.compress.dead_channels.tflite_reading import TfliteReading
from tinsmith.convert.slimming.attached import split_attached
from tinsmith.convert.slimming.reading import read_content, read_model
from tinsmith.convert.slimming.writing import write_model
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.analysis import Removal
    from tinsmith.compress.dead_channels.outcome import Limits

__all__ = ["write_without"]

_BIAS = 2  # the slot in which convolutions and dense layers read it


def write_without(path: Path, output: Path, limits: Limits) -> Outcome:
    """Read a file, and write it without its dead channels; where there are none, nothing is written.

    Raises:
        UnsupportedOperatorError: It is quantized.
        ModelError: It can't be read, or not be written again.
    """
    content = read_content(path)
    attached = split_attached(content)
    model = read_model(content, path.name)
    contents = Contents(model, path.name)
    reading = TfliteReading(contents, limits.largest_input)
    graph = reading.graph()
    removal = find_dead(graph, limits.bound)
    if removal.removed:
        _carry_out(model, contents, reading, removal)
        written = write_model(model)
        write_bytes(output, written + attached.moved_to(len(written)))
    size = artifact_sizes(path, output if removal.removed else path)
    return Outcome(removal=removal, not_followed=graph.not_followed(), size=size)


def _carry_out(model: Any, contents: Contents, reading: TfliteReading, removal: Removal) -> None:
    """Change a ``ModelT``."""
    graph = model.subgraphs[0]

    def stored(place: Place) -> NDArray[Any]:
        array = contents.constant(int(graph.operators[place.operator].inputs[place.slot]))
        assert array is not None
        return array

    constants = dict(constants_after(reading.cuts, removal, stored))
    for name, bias in removal.biases.items():
        constants[Place(reading.layers[name], _BIAS)] = bias.astype(np.float32)
    for place, array in constants.items():
        _store(model, place, array)
    for target in reading.targets:
        _aim(model, target.place, target.axis, len(removal.kept[target.value]))
    for value, axis in reading.draft.axes.items():
        if value.isdecimal() and len(removal.kept[value]) < removal.widths[value]:
            _shrink(graph.tensors[int(value)], axis, len(removal.kept[value]))


def _store(model: Any, place: Place, array: NDArray[Any]) -> None:
    """Give an operator another constant; one that others read as well is left to them."""
    graph = model.subgraphs[0]
    operator = graph.operators[place.operator]
    operator.inputs = np.append(operator.inputs, [-1] * (place.slot + 1 - len(operator.inputs))).astype(np.int32)
    index = int(operator.inputs[place.slot])
    data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    if index >= 0 and _readers(model, graph.tensors[index].buffer) == 1:
        tensor = graph.tensors[index]
        model.buffers[tensor.buffer].data = data
    else:
        like = graph.tensors[index if index >= 0 else int(operator.inputs[1])]
        tensor = copy.copy(like)
        tensor.name = b"%s/%d" % (like.name or b"", len(graph.tensors))
        tensor.buffer = _new_buffer(model, data)
        operator.inputs[place.slot] = len(graph.tensors)
        graph.tensors.append(tensor)
    tensor.shape, tensor.shapeSignature = np.array(array.shape, np.int32), None


def _readers(model: Any, buffer: int) -> int:
    """How often operators, signatures and outputs read what a buffer holds."""
    count = sum(1 for entry in model.metadata or [] if entry.buffer == buffer)
    for graph in model.subgraphs:
        own = {at for at, tensor in enumerate(graph.tensors) if tensor.buffer == buffer}
        read = [graph.outputs, *(operator.inputs for operator in graph.operators or [])]
        count += sum(1 for vector in read if vector is not None for index in vector if int(index) in own)
    return count


def _new_buffer(model: Any, data: NDArray[Any]) -> int:
    buffer = copy.copy(model.buffers[0])
    buffer.data = data
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _aim(model: Any, place: Place, axis: int, length: int) -> None:
    """Name another length in the shape that a reshape makes; one that it works out itself is left to it."""
    graph = model.subgraphs[0]
    operator = graph.operators[place.operator]
    options = operator.builtinOptions
    if options is not None and options.newShape is not None:
        options.newShape = _replaced(options.newShape, axis, length)
    if len(operator.inputs) > place.slot:
        tensor = graph.tensors[int(operator.inputs[place.slot])]
        shape = np.frombuffer(model.buffers[tensor.buffer].data.tobytes(), np.int32)
        if (shape != _replaced(shape, axis, length)).any():
            _store(model, place, _replaced(shape, axis, length))


def _replaced(shape: NDArray[Any], axis: int, length: int) -> NDArray[Any]:
    changed = np.array(shape, np.int32)
    if changed[axis] > 0:
        changed[axis] = length
    return changed


def _shrink(tensor: Any, axis: int, length: int) -> None:
    tensor.shape = _replaced(tensor.shape, axis, length)
    if tensor.shapeSignature is not None:
        tensor.shapeSignature = _replaced(tensor.shapeSignature, axis, length)
