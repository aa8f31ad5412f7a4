"""A float .onnx file as a graph of layers, and its new weights written."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.equalization.graph import Dropped, Graph, Layer, Positions, Reshaped, Transposed, Way, along
from tinsmith.convert.equalization.windows import Window
from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.onnx_model import prepare
from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.equalization.graph import Numbers, Step

__all__ = ["OnnxFile"]

_NEEDED_FOR = "changing an .onnx file"
_LARGEST_BYTES = (1 << 31) - 1  # of a protobuf message
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Channel by channel, and twice as much for twice as much.
_EVERYWHERE = frozenset({"Dropout", "Identity", "LeakyRelu", "PRelu", "Relu"})
_POOLING = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
_RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


class OnnxFile:
    """One file, made ready to quantize, with the names that the quantizer sees.

    Args:
        path: A float .onnx file; it is not changed.
        folder: Where to write; the caller's to delete.

    Raises:
        ModelLoadError: It can't be parsed.
        RecipeError: It is quantized already.
        UnsupportedOperatorError: It can't be made ready to quantize.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._onnx = require("onnx", needed_for=_NEEDED_FOR)
        self._path = path
        self._model = self._onnx.shape_inference.infer_shapes(self._onnx.load(str(prepare(path, folder))))
        self._graph = self._model.graph
        self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
        self._uses = _uses(self._model)
        self._nodes = {node.output[0]: node for node in self._graph.node}

    def graph(self) -> Graph:
        """What can be scaled in it; its values are named as in the file."""
        readers = defaultdict(list)
        for node in self._graph.node:
            for name in (*node.input, *_captured(node)):
                readers[name].append(str(node.op_type))
        layers = [self._layer(node) for node in self._graph.node]
        ways = [self._way(node) for node in self._graph.node]
        return Graph(
            layers=tuple(layer for layer in layers if layer is not None),
            ways={way.taken: way for way in ways if way is not None},
            readers={name: tuple(kinds) for name, kinds in readers.items()},
            ends=frozenset(entry.name for entry in self._graph.output),
            shapes={entry.name: _shape(entry) for entry in self._entries()},
        )

    def store(self, weights: Mapping[str, NDArray[np.float32]], biases: Mapping[str, NDArray[np.float32]]) -> None:
        """Give layers new weights and biases; a layer without a bias gets one."""
        for name, array in weights.items():
            self._replace(self._nodes[name].input[1], array)
        for name, array in biases.items():
            self._store_bias(self._nodes[name], array)

    def content(self) -> bytes:
        """The whole file.

        Raises:
            UnsupportedOperatorError: It is too large for one.
        """
        if self._model.ByteSize() > _LARGEST_BYTES:
            raise UnsupportedOperatorError(f"{self._path.name} has more than 2 GiB of weights, too many for one file")
        return bytes(self._model.SerializeToString(deterministic=True))

    def _layer(self, node: Any) -> Layer | None:
        weights = self._floats(node.input[1]) if node.op_type in _LAYERS else None
        numbers = None if weights is None else self._numbers(node, weights.shape)
        if weights is None or numbers is None:
            return None
        added = self._added(node)
        place = self._bias(node)
        bias = None if place is None else self._floats(place)
        if place is not None and (bias is None or bias.size != numbers[1].max() + 1):
            return None
        return Layer(
            name=node.output[0],
            taken=node.input[0],
            given=node.output[0] if added is None else added.output[0],
            axis=1 if node.op_type.startswith("Conv") else -1,
            weights=weights,
            reads=numbers[0],
            gives=numbers[1],
            bias=None if bias is None else bias.reshape(-1),
            shared=any(self._uses[name] > 1 for name in (node.input[1], place) if name),
            window=_window(node, weights.ndim),
        )

    def _numbers(self, node: Any, shape: tuple[int, ...]) -> tuple[Numbers, Numbers] | None:
        """What each weight reads and gives; None for layouts that are not known."""
        rank = len(shape)
        first, second = along(0, rank, np.arange(shape[0])), along(1, rank, np.arange(shape[1])) if rank > 1 else None
        if second is None:
            return None
        groups = _attribute(node, "group", 1)
        match node.op_type:
            case "Conv":
                return second + first // max(1, shape[0] // groups) * shape[1], first
            case "ConvTranspose":
                return first, second + first // max(1, shape[0] // groups) * shape[1]
            case _ if rank != 2 or _attribute(node, "transA", 0):
                return None
            case _:
                return (second, first) if _attribute(node, "transB", 0) else (first, second)

    def _bias(self, node: Any) -> str | None:
        """The name of a layer's bias, in it or added behind it."""
        if len(node.input) > 2 and node.input[2]:
            return str(node.input[2])
        added = self._added(node)
        return None if added is None else next(str(name) for name in added.input if name != node.output[0])

    def _added(self, node: Any) -> Any:
        """The Add behind a MatMul that is its bias."""
        readers = [other for other in self._graph.node if node.output[0] in other.input]
        if node.op_type != "MatMul" or len(readers) != 1 or readers[0].op_type != "Add":
            return None
        stored = [self._constants.get(name) for name in readers[0].input if name != node.output[0]]
        width = self._constants[node.input[1]].dims[-1]
        vectors = [t for t in stored if t is not None and list(t.dims)[-1:] == [width] and np.prod(t.dims) == width]
        return readers[0] if vectors else None

    def _way(self, node: Any) -> Way | None:
        step = self._step(node, str(node.op_type)) if node.input and sum(map(bool, node.output)) == 1 else None
        return None if step is None else Way(kind=node.op_type, taken=node.input[0], given=node.output[0], step=step)

    def _step(self, node: Any, kind: str) -> Step | None:
        if kind in _EVERYWHERE or (kind == "Clip" and self._is_relu(node)):
            return Positions()
        before, after = (self._shapes().get(name, ()) for name in (node.input[0], node.output[0]))
        if kind in _POOLING:
            return Positions(axes=tuple(range(2, len(before))))
        if kind in _RESHAPING and before and after:
            return Reshaped(before=before, after=after)
        if kind == "Transpose":
            return Transposed(order=tuple(_attribute(node, "perm", [])) or tuple(range(len(before)))[::-1])
        if kind == "Pad":
            return self._padded(node, len(before))
        return self._mean(node, before) if kind == "ReduceMean" and before else None

    def _is_relu(self, node: Any) -> bool:
        low = self._array(node.input[1]) if len(node.input) > 1 and node.input[1] else None
        return low is not None and float(low) == 0 and not (len(node.input) > 2 and node.input[2])

    def _padded(self, node: Any, rank: int) -> Step | None:
        """With zeros, on all axes; padding with anything else does not grow with its input."""
        lengths = self._array(node.input[1]) if len(node.input) > 1 else None
        value = self._array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        if lengths is None or lengths.size != 2 * rank or value is None or value.any():
            return None
        return Positions(axes=tuple(int(n) for n in np.flatnonzero(lengths.reshape(2, rank).any(axis=0))))

    def _mean(self, node: Any, before: tuple[int, ...]) -> Step | None:
        told = self._array(node.input[1]) if len(node.input) > 1 else np.array(_attribute(node, "axes", []))
        if told is None or not told.size:
            return None
        axes = tuple(sorted({int(n) % len(before) for n in told}))
        return Positions(axes=axes) if _attribute(node, "keepdims", 1) else Dropped(axes=axes)

    def _entries(self) -> list[Any]:
        return [*self._graph.input, *self._graph.value_info, *self._graph.output]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {entry.name: _shape(entry) for entry in self._entries()}

    def _floats(self, name: str) -> NDArray[np.float32] | None:
        array = self._array(name)
        return array if array is not None and array.dtype == np.float32 else None

    def _array(self, name: str) -> NDArray[Any] | None:
        found = self._constants.get(name)
        return None if found is None else np.asarray(self._onnx.numpy_helper.to_array(found))

    def _replace(self, name: str, array: NDArray[np.float32]) -> None:
        stored = self._constants[name]
        stored.CopyFrom(self._onnx.numpy_helper.from_array(array.reshape(list(stored.dims)), name))

    def _store_bias(self, node: Any, bias: NDArray[np.float32]) -> None:
        place = self._bias(node)
        if place is not None:
            self._replace(place, bias)
            return
        name = f"{node.output[0]}_bias"
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(bias, name))
        if node.op_type != "MatMul":
            node.input[:] = [*node.input[:2], name]
            return
        given, node.output[0] = node.output[0], f"{node.output[0]}_product"
        at = next(number for number, other in enumerate(self._graph.node) if other.output[:1] == node.output[:1])
        self._graph.node.insert(at + 1, self._onnx.helper.make_node("Add", [node.output[0], name], [given]))


def _window(node: Any, rank: int) -> Window | None:
    if node.op_type in ("Gemm", "MatMul"):
        return Window(order=(0, 1) if _attribute(node, "transB", 0) else (1, 0))
    automatic = next((a.s for a in node.attribute if a.name == "auto_pad"), b"NOTSET")
    if node.op_type != "Conv" or rank != 4 or automatic not in (b"NOTSET", b"SAME_UPPER", b"VALID"):
        return None
    pads = _attribute(node, "pads", []) or [0, 0, 0, 0]
    return Window(
        order=(0, 2, 3, 1),
        strides=tuple(_attribute(node, "strides", []) or (1, 1)),
        dilations=tuple(_attribute(node, "dilations", []) or (1, 1)),
        padding="same" if automatic == b"SAME_UPPER" else ((pads[0], pads[2]), (pads[1], pads[3])),
        channels_last=False,
    )


def _uses(model: Any) -> Counter[str]:
    """How often each value is read, by nodes of all graphs and as an output."""
    uses: Counter[str] = Counter(entry.name for entry in model.graph.output)
    for node in model.graph.node:
        uses.update(node.input)
        uses.update(_captured(node))
    return uses


def _captured(node: Any) -> list[str]:
    """What the bodies of loops and branches read."""
    bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    inner = [other for body in bodies for other in body.node]
    ends = [entry.name for body in bodies for entry in body.output]
    return [*ends, *(name for other in inner for name in (*other.input, *_captured(other)))]


def _attribute(node: Any, name: str, otherwise: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints) if isinstance(otherwise, list) else attribute.i
    return otherwise


def _shape(entry: Any) -> tuple[int, ...]:
    """With 1 for a free batch axis, and 0 for other lengths that are not known."""
    lengths = entry.type.tensor_type.shape.dim
    return tuple(int(d.dim_value) or int(at == 0) for at, d in enumerate(lengths))
