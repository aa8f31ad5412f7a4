"""A .tflite file taken apart: LiteRT keeps every tensor, and the flatbuffer is rewired to cut it."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.convert.layers.probe import cannot_run
from tinsmith.convert.layers.wiring import Grid, Node, Value, Wiring
from tinsmith.convert.plain_interpreter import plain_interpreter
from tinsmith.convert.quantization.four_bits import unpack
from tinsmith.convert.quantization.tflite_model import is_stored, read_model
from tinsmith.runtime.engines.tflite import TfliteEngine
from tinsmith.runtime.errors import ModelError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.layers.probe import Runner

    Array = NDArray[np.generic]

__all__ = ["TfliteProbe"]

_NEEDED_FOR = "comparing .tflite files layer by layer"
_GRIDS = frozenset({"int8", "uint8", "int16"})
# Where an operator keeps its weights, and the axis of their output channels.
_WEIGHTS = {"CONV_2D": (1, 0), "DEPTHWISE_CONV_2D": (1, 3), "FULLY_CONNECTED": (1, 0), "TRANSPOSE_CONV": (1, 0)}


class TfliteProbe:
    """See ``Probe``.

    Runs on LiteRT's builtin kernels without XNNPACK, which fuses operators and does not compute what lies between: its
    integers may round other ties.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._model = read_model(path)
        self._graph = self._model.subgraphs[0]
        self._names = [tensor.name.decode(errors="replace") for tensor in self._graph.tensors]
        self._index = {name: index for index, name in enumerate(self._names)}
        schema = require("ai_edge_litert.schema_py_generated", needed_for=_NEEDED_FOR)
        self._types = _names_of(schema.TensorType)
        self._operators = _names_of(schema.BuiltinOperator)
        self.wiring = self._wiring()
        self._interpreter = self._opened(path)
        self.inputs = TfliteEngine(self._interpreter, name="litert", version="", accelerator="cpu").inputs

    def observing(self, names: Sequence[str]) -> Runner:
        """See ``Probe.observing``."""
        feeds = [self._index[name] for name in self.wiring.inputs]
        return self._runner(self._interpreter, dict(zip(self.wiring.inputs, feeds, strict=True)), names)

    def apart(self, names: Sequence[str]) -> Runner:
        """See ``Probe.apart``."""
        flatbuffers = require("ai_edge_litert.tools.flatbuffer_utils", needed_for=_NEEDED_FOR)
        model, fed = self._cut(names)
        interpreter = self._opened(bytes(flatbuffers.convert_object_to_bytearray(model)))
        inputs = {name: self._index[name] for name in self.wiring.inputs}
        return self._runner(interpreter, inputs | fed, names)

    def weights(self, name: str) -> tuple[NDArray[np.float32], int] | None:
        """See ``Probe.weights``."""
        node = self.wiring.producers.get(name)
        if node is None or node.weights is None:
            return None
        tensor = self._graph.tensors[self._index[node.weights]]
        dtype = self._types[tensor.type]
        shape, content = tuple(int(n) for n in tensor.shape), bytes(self._model.buffers[tensor.buffer].data)
        stored: NDArray[Any]
        if dtype == "int4":
            stored = unpack(np.frombuffer(content, np.uint8), math.prod(shape)).reshape(shape)
        elif dtype in ("float32", "int8", "uint8"):
            stored = np.frombuffer(content, dtype).reshape(shape)
        else:
            return None
        scales, points = _scales(tensor)
        axis = _WEIGHTS[node.operator][1]
        along = [-1 if n == axis else 1 for n in range(stored.ndim)]
        if len(scales):
            stored = (stored.astype(np.float32) - points.reshape(along)) * scales.reshape(along)
        others = tuple(n for n in range(stored.ndim) if n != axis)
        return np.asarray(np.abs(stored).max(axis=others), np.float32), len(scales)

    def _wiring(self) -> Wiring:
        graph = self._graph
        stored = {index for index, tensor in enumerate(graph.tensors) if is_stored(self._model, tensor)}
        nodes, live = [], set(graph.inputs)
        for operator in graph.operators:
            given = [int(index) for index in operator.inputs if index in live]
            if given:
                nodes.append(self._node(operator, given))
                live.update(int(index) for index in operator.outputs)
        values = {self._names[i]: self._value(i) for i in sorted(live) if i not in stored}
        ends = [tuple(self._names[i] for i in indices) for indices in (graph.inputs, graph.outputs)]
        return Wiring(format="tflite", nodes=tuple(nodes), values=values, inputs=ends[0], outputs=ends[1])

    def _node(self, operator: Any, given: list[int]) -> Node:
        code = self._model.operatorCodes[operator.opcodeIndex]
        name = self._operators.get(code.builtinCode, str(code.builtinCode)).upper()
        if name == "CUSTOM":
            name = (code.customCode or b"CUSTOM").decode(errors="replace")
        place = _WEIGHTS.get(name, (len(operator.inputs), 0))[0]
        weights = int(operator.inputs[place]) if place < len(operator.inputs) else -1
        held = weights >= 0 and is_stored(self._model, self._graph.tensors[weights])
        return Node(
            operator=name,
            inputs=tuple(self._names[i] for i in given),
            outputs=tuple(self._names[int(i)] for i in operator.outputs),
            weights=self._names[weights] if held else None,
            kernel=tuple(int(n) for n in self._graph.tensors[weights].shape) if held else (),
        )

    def _value(self, index: int) -> Value:
        tensor = self._graph.tensors[index]
        dtype = self._types[tensor.type]
        lengths = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
        scales, points = _scales(tensor)
        grid = None
        if len(scales) == 1 and dtype in _GRIDS:
            grid = Grid(scale=float(scales[0]), zero_point=int(points[0]), dtype=dtype)
        shape = tuple(None if n < 0 else int(n) for n in (() if lengths is None else lengths))
        return Value(name=self._names[index], dtype=dtype, shape=shape, grid=grid)

    def _cut(self, names: Sequence[str]) -> tuple[Any, dict[str, int]]:
        """The model, rewired, and the tensors that are fed in place of the named ones."""
        model, graph = copy.copy(self._model), copy.copy(self._graph)
        graph.tensors, fed = list(graph.tensors), {}
        for name in names:
            fed[name] = len(graph.tensors)
            graph.tensors.append(self._fed(name))
        taken = {self._index[name]: at for name, at in fed.items()}
        graph.operators = [_rewired(operator, taken) for operator in graph.operators]
        graph.inputs = [*(int(i) for i in graph.inputs), *fed.values()]
        graph.outputs = [self._index[name] for name in names]
        model.subgraphs, model.signatureDefs = [graph, *self._model.subgraphs[1:]], []
        return model, fed

    def _fed(self, name: str) -> Any:
        tensor = copy.copy(self._graph.tensors[self._index[name]])
        tensor.name, tensor.buffer = f"{name}/fed".encode(), 0
        return tensor

    def _opened(self, model: Path | bytes) -> Any:
        try:
            return plain_interpreter(model, needed_for=_NEEDED_FOR)
        except (RuntimeError, ValueError) as error:
            raise cannot_run(self._path, first_line(error)) from error

    def _runner(self, interpreter: Any, fed: Mapping[str, int], names: Sequence[str]) -> Runner:
        """Feeds and reads by the numbers of tensors, which loading does not change."""
        shapes: dict[str, tuple[int, ...]] = {}

        def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
            try:
                if shapes != {name: feeds[name].shape for name in fed}:
                    for name, index in fed.items():
                        interpreter.resize_tensor_input(index, list(feeds[name].shape))
                        shapes[name] = feeds[name].shape
                    interpreter.allocate_tensors()
                interpreter.reset_all_variables()
                for name, index in fed.items():
                    interpreter.set_tensor(index, feeds[name])
                interpreter.invoke()
                return {name: interpreter.get_tensor(self._index[name]) for name in names}
            except (RuntimeError, ValueError) as error:
                raise ModelError(f"{self._path.name} failed while it ran: {first_line(error)}") from error

        return run


def _rewired(operator: Any, taken: Mapping[int, int]) -> Any:
    rewired = copy.copy(operator)
    rewired.inputs = [taken.get(int(index), int(index)) for index in operator.inputs]
    return rewired


def _scales(tensor: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    scales = np.asarray(quantization.scale, np.float32)
    points = np.zeros(len(scales)) if quantization.zeroPoint is None else np.asarray(quantization.zeroPoint)
    return scales, np.resize(points, len(scales)).astype(np.float32)


def _names_of(enumeration: type) -> dict[int, str]:
    return dict(_pairs(enumeration))


def _pairs(enumeration: type) -> Iterator[tuple[int, str]]:
    for name, code in vars(enumeration).items():
        if isinstance(code, int):
            yield code, name.lower()
