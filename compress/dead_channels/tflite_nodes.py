"""A .tflite file's operators with what is stored beside them, for those who follow its channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.dead_channels.draft import FreezeError
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Contents", "Operator"]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        number: In its graph.
        kind: TFLite's name of it.
        options: Its ``...OptionsT``; None where it has none.
        inputs: Numbers of tensors; -1 for one that was left out.
        outputs: Numbers of tensors.
    """

    number: int
    kind: str
    options: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """For people; unique."""
        return f"{self.kind} {self.number}"

    @property
    def taken(self) -> str:
        """The value that goes in first."""
        return str(self.inputs[0])

    @property
    def given(self) -> str:
        """The value that comes out."""
        return str(self.outputs[0])


class Contents:
    """The main graph of a ``ModelT``: operators, constants and shapes.

    Args:
        model: From ``read_model``.
        name: Of the file, for messages.

    Raises:
        UnsupportedOperatorError: It is quantized.
    """

    def __init__(self, model: Any, name: str) -> None:
        schema = require("ai_edge_litert.schema_py_generated", needed_for="reading .tflite files")
        _refuse_quantized(model, name, schema.TensorType)
        self._model, self._graph = model, model.subgraphs[0]
        self._dtypes = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32}
        self._kinds = {code: kind for kind, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        self._shared = _shared_buffers(model)

    @property
    def inputs(self) -> list[int]:
        """What users feed."""
        return _numbers(self._graph.inputs)

    @property
    def outputs(self) -> list[int]:
        """What users get, from the graph or by a signature."""
        signatures = [s for s in self._model.signatureDefs or [] if s.subgraphIndex == 0]
        named = {int(entry.tensorIndex) for s in signatures for entry in s.outputs or []}
        return sorted({*_numbers(self._graph.outputs), *named})

    def operators(self) -> Iterator[Operator]:
        """In the order of the file."""
        for number, operator in enumerate(self._graph.operators or []):
            code = self._model.operatorCodes[operator.opcodeIndex]
            kind = self._kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
            inputs, outputs = (tuple(_numbers(vector)) for vector in (operator.inputs, operator.outputs))
            yield Operator(number, kind, operator.builtinOptions, inputs, outputs)

    def shape(self, index: int) -> tuple[int, ...]:
        """A free axis is -1."""
        tensor = self._graph.tensors[index]
        return tuple(_numbers(tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature))

    def constant(self, index: int) -> Array | None:
        """What is stored in a tensor, float32 or int32; None for one that is computed, or stored otherwise."""
        if index < 0:
            return None
        tensor = self._graph.tensors[index]
        data = self._model.buffers[tensor.buffer].data
        plainly = tensor.type in self._dtypes and tensor.sparsity is None and not tensor.isVariable
        if data is None or not len(data) or not plainly:
            return None
        return np.frombuffer(data.tobytes(), self._dtypes[tensor.type]).reshape(_numbers(tensor.shape))

    def weights(self, operator: Operator, slot: int = 1) -> Array:
        """What is stored as float32.

        Raises:
            FreezeError: It is computed, or stored otherwise.
        """
        array = self.constant(operator.inputs[slot])
        if array is None or array.dtype != np.float32:
            raise FreezeError("its weights are not stored as float32")
        return array

    def is_shared(self, index: int) -> bool:
        """Whether several operators read what a tensor stores, or one in several places."""
        return self._graph.tensors[index].buffer in self._shared


def _refuse_quantized(model: Any, name: str, kinds: Any) -> None:
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors or []):
        grid = tensor.quantization
        scaled = grid is not None and grid.scale is not None and len(grid.scale) > 0
        if tensor.type == kinds.FLOAT16 or (scaled and tensor.type != kinds.FLOAT32):
            raise UnsupportedOperatorError(
                f"{name} is quantized, and dead-channels folds constants into biases of float32",
                hint="start from the float model, and put dead-channels before quantize",
            )


def _shared_buffers(model: Any) -> set[int]:
    seen: set[int] = set()
    shared: set[int] = set()
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            for index in (i for i in _numbers(operator.inputs) if i >= 0):
                buffer = graph.tensors[index].buffer
                (shared if buffer in seen else seen).add(buffer)
    return shared


def _numbers(vector: Any) -> list[int]:
    return [] if vector is None else [int(n) for n in vector]
