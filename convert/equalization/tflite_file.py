"""A float .tflite file as a graph of layers, and its new weights written."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.equalization.graph import Dropped, Graph, Layer, Positions, Reshaped, Transposed, Way, along
from tinsmith.convert.equalization.windows import Window
from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.tflite_model import read_float_model
from tinsmith.convert.slimming.attached import split_attached
from tinsmith.convert.slimming.reading import read_content
from tinsmith.convert.slimming.writing import write_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.equalization.graph import Numbers, Step

__all__ = ["TfliteFile"]

_FLOAT32 = 0
_IN_SPACE = (1, 2)
# Where a layer keeps its data and its bias; its weights always come second.
_LAYERS = {"CONV_2D": (0, 2), "DEPTHWISE_CONV_2D": (0, 2), "FULLY_CONNECTED": (0, 2), "TRANSPOSE_CONV": (2, 3)}
# Axes of the weights of convolutions, as a Window wants them.
_ORDERS = {"CONV_2D": (0, 1, 2, 3), "DEPTHWISE_CONV_2D": (3, 1, 2, 0)}
_SAME = 0  # of the schema's Padding
# Channel by channel, and twice as much for twice as much.
_EVERYWHERE = frozenset({"LEAKY_RELU", "PRELU", "RELU"})
_POOLING = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"})
_RESHAPING = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE"})


class TfliteFile:
    """One file, read once.

    Args:
        path: A float .tflite file; it is not changed.

    Raises:
        ModelLoadError: It can't be parsed.
        RecipeError: It is quantized, or its weights are float16.
    """

    def __init__(self, path: Path) -> None:
        schema = require("ai_edge_litert.schema_py_generated", needed_for="changing a .tflite file")
        self._kinds = {code: kind for kind, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        self._fused = {
            code: kind for kind, code in vars(schema.ActivationFunctionType).items() if isinstance(code, int)
        }
        self._buffer = schema.BufferT
        self._attached = split_attached(read_content(path))
        self._model = read_float_model(path)
        self._graph = self._model.subgraphs[0]
        self._names = [tensor.name.decode(errors="replace") for tensor in self._graph.tensors]
        self._operators = {self._names[o.outputs[0]]: o for o in self._graph.operators or [] if len(o.outputs)}
        self._uses = _uses(self._model)

    def graph(self) -> Graph:
        """What can be scaled in it; its values are named as its tensors."""
        readers = defaultdict(list)
        for operator in self._graph.operators or []:
            for index in _indices(operator.inputs):
                readers[self._names[index]].append(self._kind(operator))
        layers = [self._layer(operator) for operator in self._graph.operators or []]
        ways = [self._way(operator) for operator in self._graph.operators or []]
        return Graph(
            layers=tuple(layer for layer in layers if layer is not None),
            ways={way.taken: way for way in ways if way is not None},
            readers={name: tuple(kinds) for name, kinds in readers.items()},
            ends=frozenset(self._names[index] for index in self._ends()),
            shapes={name: self._shape(index) for index, name in enumerate(self._names)},
        )

    def store(self, weights: Mapping[str, NDArray[np.float32]], biases: Mapping[str, NDArray[np.float32]]) -> None:
        """Give layers new weights and biases; a layer without a bias gets one."""
        for name, array in weights.items():
            self._store(self._operators[name], 1, array)
        for name, array in biases.items():
            operator = self._operators[name]
            self._store(operator, _LAYERS[self._kind(operator)][1], array)

    def content(self) -> bytes:
        """The whole file."""
        written = write_model(self._model)
        return written + self._attached.moved_to(len(written))

    def _layer(self, operator: Any) -> Layer | None:
        kind = self._kind(operator)
        if kind not in _LAYERS or len(operator.inputs) <= _LAYERS[kind][0]:
            return None
        data, bias = _LAYERS[kind]
        weights = self._floats(operator.inputs[1])
        offsets = self._floats(operator.inputs[bias]) if self._has(operator, bias) else None
        numbers = None if weights is None else self._numbers(operator, kind, weights.shape)
        if weights is None or numbers is None or (self._has(operator, bias) and offsets is None):
            return None
        stored = [1, bias] if offsets is not None else [1]
        return Layer(
            name=self._names[operator.outputs[0]],
            taken=self._names[operator.inputs[data]],
            given=self._names[operator.outputs[0]],
            axis=-1,
            weights=weights,
            reads=numbers[0],
            gives=numbers[1],
            bias=offsets,
            blocked=self._bend(operator),
            shared=any(self._shared(int(operator.inputs[slot])) for slot in stored),
            window=_window(kind, operator.builtinOptions),
        )

    def _numbers(self, operator: Any, kind: str, shape: tuple[int, ...]) -> tuple[Numbers, Numbers] | None:
        """What each weight reads and gives; None for layouts that are not known."""
        rank = len(shape)
        if kind == "DEPTHWISE_CONV_2D":
            many = np.arange(shape[3])
            return along(3, rank, many // max(1, operator.builtinOptions.depthMultiplier)), along(3, rank, many)
        if kind == "FULLY_CONNECTED" and operator.builtinOptions.weightsFormat:
            return None
        gives, reads = along(0, rank, np.arange(shape[0])), along(rank - 1, rank, np.arange(shape[-1]))
        groups = 1 if kind != "CONV_2D" else max(1, self._shape(operator.inputs[0])[-1] // shape[-1])
        return reads + gives // max(1, shape[0] // groups) * shape[-1], gives

    def _way(self, operator: Any) -> Way | None:
        step = self._step(operator, self._kind(operator)) if len(operator.outputs) == 1 else None
        if step is None or self._bend(operator):
            return None
        taken, given = self._names[operator.inputs[0]], self._names[operator.outputs[0]]
        return Way(kind=self._kind(operator), taken=taken, given=given, step=step)

    def _step(self, operator: Any, kind: str) -> Step | None:
        if kind in _EVERYWHERE:
            return Positions()
        if kind in _POOLING:
            return Positions(axes=_IN_SPACE)
        if kind in _RESHAPING:
            return Reshaped(before=self._shape(operator.inputs[0]), after=self._shape(operator.outputs[0]))
        if kind in {"MEAN", "PAD", "TRANSPOSE"}:
            return self._told(operator, kind, self._integers(operator.inputs[1]))
        return None

    def _told(self, operator: Any, kind: str, told: NDArray[np.int32] | None) -> Step | None:
        """Of operators that are told by a second input what to do."""
        if told is None:
            return None
        if kind == "TRANSPOSE":
            return Transposed(order=tuple(map(int, told)))
        if kind == "PAD":
            return Positions(axes=tuple(int(n) for n in np.flatnonzero(told.reshape(-1, 2).any(axis=1))))
        axes = tuple(sorted({int(n) % len(self._shape(operator.inputs[0])) for n in told.reshape(-1)}))
        return Positions(axes=axes) if operator.builtinOptions.keepDims else Dropped(axes=axes)

    def _bend(self, operator: Any) -> str:
        code = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
        kind = self._fused.get(code, str(code))
        return "" if kind in {"NONE", "RELU"} else f"its {kind} bends at a fixed value"

    def _kind(self, operator: Any) -> str:
        return str(self._kinds.get(self._model.operatorCodes[operator.opcodeIndex].builtinCode, "CUSTOM"))

    def _shape(self, index: int) -> tuple[int, ...]:
        """As it is stored: a free axis has 1 there, which for any but the batch axis is a guess."""
        tensor = self._graph.tensors[index]
        free = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
        lengths = [int(n) for n in (tensor.shape if tensor.shape is not None else ())]
        return tuple(n if at == 0 or int(free[at]) >= 0 else 0 for at, n in enumerate(lengths))

    def _ends(self) -> set[int]:
        signatures = [s for s in self._model.signatureDefs or [] if s.subgraphIndex == 0]
        return {*_indices(self._graph.outputs), *(int(e.tensorIndex) for s in signatures for e in s.outputs or [])}

    def _has(self, operator: Any, slot: int) -> bool:
        return len(operator.inputs) > slot and int(operator.inputs[slot]) >= 0

    def _floats(self, index: int) -> NDArray[np.float32] | None:
        tensor = self._graph.tensors[index]
        stored = self._stored(index)
        if stored is None or tensor.type != _FLOAT32 or tensor.sparsity is not None:
            return None
        return stored.view("<f4").reshape([int(n) for n in tensor.shape])

    def _integers(self, index: int) -> NDArray[np.int32] | None:
        stored = self._stored(index)
        return None if stored is None else stored.view("<i4")

    def _stored(self, index: int) -> NDArray[Any] | None:
        data = self._model.buffers[self._graph.tensors[index].buffer].data
        return None if data is None or not len(data) else np.frombuffer(bytes(data), np.uint8)

    def _shared(self, index: int) -> bool:
        return self._uses[self._graph.tensors[index].buffer] > 1

    def _store(self, operator: Any, slot: int, array: NDArray[np.float32]) -> None:
        data = np.frombuffer(np.ascontiguousarray(array, "<f4").tobytes(), np.uint8)
        if self._has(operator, slot):
            self._model.buffers[self._graph.tensors[operator.inputs[slot]].buffer].data = data
            return
        tensor = copy.copy(self._graph.tensors[operator.inputs[1]])
        tensor.name = f"{self._names[operator.outputs[0]]};bias".encode()
        tensor.shape, tensor.shapeSignature, tensor.buffer = (
            np.array(array.shape, np.int32),
            None,
            len(self._model.buffers),
        )
        buffer = self._buffer()
        buffer.data = data
        self._model.buffers.append(buffer)
        given = [*_indices(operator.inputs, every=True), *[-1] * slot][:slot]
        operator.inputs = np.array([*given, len(self._graph.tensors)], np.int32)
        self._graph.tensors.append(tensor)


def _window(kind: str, options: Any) -> Window | None:
    if kind == "FULLY_CONNECTED":
        return Window(order=(0, 1))
    if kind not in _ORDERS:
        return None
    return Window(
        order=_ORDERS[kind],
        strides=(options.strideH, options.strideW),
        dilations=(options.dilationHFactor, options.dilationWFactor),
        padding="same" if options.padding == _SAME else ((0, 0), (0, 0)),
    )


def _uses(model: Any) -> Counter[int]:
    """How often operators, outputs and metadata read what each buffer holds."""
    uses: Counter[int] = Counter(entry.buffer for entry in model.metadata or [])
    for graph in model.subgraphs:
        read = [graph.outputs, *(operator.inputs for operator in graph.operators or [])]
        uses.update(graph.tensors[index].buffer for vector in read for index in _indices(vector))
    return uses


def _indices(vector: Any, *, every: bool = False) -> list[int]:
    return [] if vector is None else [int(index) for index in vector if every or int(index) >= 0]
