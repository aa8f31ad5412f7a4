"""An .onnx file's operators with what is stored beside them, for those who follow its channels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.dead_channels.draft import FreezeError
from tinsmith.convert.frameworks import require
from tinsmith.convert.inspection.onnx_shapes import inferred
from tinsmith.runtime.errors import ModelLoadError, UnsupportedOperatorError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Shape = tuple[int | None, ...]

__all__ = ["Contents", "Operator", "load_float", "read_names"]

_DEFAULT_DOMAINS = ("", "ai.onnx")
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "QGemm", "QAttention", "Integer", "MatMulNBits", "QMoE")


def load_float(path: Path) -> Any:
    """Load a ``ModelProto`` with its external data.

    Raises:
        ModelLoadError: It is damaged.
        UnsupportedOperatorError: It is quantized.
    """
    onnx = require("onnx", needed_for="reading .onnx files")
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf and onnx raise errors of many families on damaged files
        raise ModelLoadError(f"{path.name} can't be read: {first_line(error)}") from error
    half = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    quantized = any(part in node.op_type for node in model.graph.node for part in _QUANTIZED)
    if quantized or any(constant.data_type in half for constant in model.graph.initializer):
        raise UnsupportedOperatorError(
            f"{path.name} is quantized, and dead-channels folds constants into biases of float32",
            hint="start from the float model, and put dead-channels before quantize",
        )
    return model


@dataclass(frozen=True, slots=True)
class Operator:
    """One node.

    Attributes:
        number: In its graph.
        kind: ONNX's name of it, with its domain in front where that is not the default one.
        inputs: Names; empty for one that was left out.
        outputs: Names.
        settings: Its attributes.
    """

    number: int
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """For people; unique."""
        return f"{self.kind} {self.number}"

    @property
    def taken(self) -> str:
        """The tensor that goes in first."""
        return self.inputs[0]

    @property
    def given(self) -> str:
        """The tensor that comes out, the only one.

        Raises:
            FreezeError: There are several.
        """
        if any(self.outputs[1:]):
            raise FreezeError("it has several outputs")
        return self.outputs[0]

    def input(self, slot: int) -> str:
        """A name; empty for one that was left out."""
        return self.inputs[slot] if slot < len(self.inputs) else ""


class Contents:
    """A graph's nodes, constants and shapes.

    Args:
        model: A ``ModelProto``.
    """

    def __init__(self, model: Any) -> None:
        self._onnx = require("onnx", needed_for="reading .onnx files")
        self._model = model
        self._shapes = {v.name: _shape(v) for v in _values(inferred(self._onnx, model))}
        self._stored = {constant.name: constant for constant in model.graph.initializer}
        for node in model.graph.node:
            self._keep_constant(node)
        inner = (name for node in model.graph.node for name in _captured(node))
        self._uses = Counter([name for node in model.graph.node for name in node.input] + list(inner))

    @property
    def inputs(self) -> list[str]:
        """What users feed."""
        return [value.name for value in self._model.graph.input if value.name not in self._stored]

    @property
    def outputs(self) -> list[str]:
        """What users get."""
        return [value.name for value in self._model.graph.output]

    @cached_property
    def opset(self) -> int:
        """Of the default domain."""
        return max((int(o.version) for o in self._model.opset_import if o.domain in _DEFAULT_DOMAINS), default=1)

    def operators(self) -> Iterator[Operator]:
        """All nodes, in the order of the file; names that their inner graphs read are among their inputs."""
        for number, node in enumerate(self._model.graph.node):
            kind = node.op_type if node.domain in _DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"
            settings = {a.name: self._onnx.helper.get_attribute_value(a) for a in node.attribute}
            inputs = (*node.input, *_captured(node))
            yield Operator(number, kind, inputs, tuple(node.output), settings)

    def shape(self, name: str) -> Shape:
        """As far as it is known; a free axis is None."""
        return self._shapes.get(name, ())

    def constant(self, name: str) -> Array | None:
        """What is stored; None for what is computed."""
        if name not in self._stored:
            return None
        array: Array = self._onnx.numpy_helper.to_array(self._stored[name])
        return array

    def weights(self, operator: Operator, slot: int = 1) -> Array:
        """What is stored as float32.

        Raises:
            FreezeError: It is computed, or stored otherwise.
        """
        array = self.constant(operator.input(slot))
        if array is None or array.dtype != np.float32:
            raise FreezeError("its weights are not stored as float32")
        return array

    def is_shared(self, name: str) -> bool:
        """Whether several operators read a tensor, or one in several places."""
        return self._uses[name] > 1

    def _keep_constant(self, node: Any) -> None:
        if node.op_type == "Constant" and node.domain in _DEFAULT_DOMAINS:
            for attribute in node.attribute:
                if attribute.name == "value":
                    self._stored[node.output[0]] = attribute.t
        if node.op_type in ("Identity", "Reshape") and all(name in self._stored for name in node.input):
            array, *shape = (self._onnx.numpy_helper.to_array(self._stored[name]) for name in node.input)
            if shape and (shape[0] == 0).any():
                return
            changed = array.reshape(shape[0]) if shape else array
            self._stored[node.output[0]] = self._onnx.numpy_helper.from_array(changed, node.output[0])


def read_names(graph: Any) -> set[str]:
    """Everything that nodes, inner graphs and users read."""
    read = {name for node in graph.node for name in (*node.input, *_captured(node))}
    return read | {value.name for value in graph.output}


def _values(graph: Any) -> Iterator[Any]:
    yield from graph.value_info
    yield from graph.input
    yield from graph.output


def _shape(value: Any) -> Shape:
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in value.type.tensor_type.shape.dim
    )


def _captured(node: Any) -> Iterator[str]:
    """Names that the graphs inside a loop or a branch read, their own ones included."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
            for inner in graph.node:
                yield from inner.input
                yield from _captured(inner)
            yield from (value.name for value in graph.output)
