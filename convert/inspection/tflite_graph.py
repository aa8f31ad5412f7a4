"""Read a .tflite file into a graph, from the flatbuffer alone; no engine and no TensorFlow takes part.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs, in the accessors that ai-edge-litert ships. These check
neither lengths nor indices: every vector is walked through ``_Walk``, and every index is compared with its vector.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.convert.inspection.graph import Graph, Operator, Tensor
from tinsmith.convert.inspection.text import entry, plain
from tinsmith.runtime.tensors import Quantization

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["read_tflite"]

_T = TypeVar("_T")

# Where TensorType's name is not numpy's.
_DTYPES = {"STRING": "str", "RESOURCE": "resource", "VARIANT": "variant"}
_FLEX = "Flex"
_MAGIC = b"TFL3"
_SMALLEST_BUILTIN_BEYOND = 127  # the old one-byte field ends here; larger codes stand in builtin_code
_MOST_AXES = 64  # numpy's limit; no engine takes as many
_SHARING = 65_536
_TABLE_BYTES = 16  # the least that a table takes in an honest file


def read_tflite(path: Path) -> Graph:
    """Read a file.

    Raises:
        Exception: Anything at all, if the file is damaged; the caller translates it.
    """
    schema = require("ai_edge_litert.schema_py_generated", needed_for="reading .tflite files")
    content = np.memmap(path, dtype=np.uint8, mode="r")
    if content[4:8].tobytes() != _MAGIC:
        raise ValueError("it is no TFLite file: the letters TFL3 do not stand at its start")
    model = schema.Model.GetRootAs(memoryview(content.data), 0)
    return _Reader(schema, model, content).graph()


class _Walk:
    """Counts the elements that are read.

    A file of a few kilobytes can claim billions of them, by a false length or by naming one table many times. An
    honest file spends more bytes than it has elements; what small files save by sharing vectors is allowed for.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._left = size_bytes + _SHARING

    def check(self, length: int) -> int:
        """Take a vector's length into account before the vector is read."""
        self._left -= length
        if length > self._size_bytes:
            raise ValueError(f"a vector claims {length:,} elements in a file of {self._size_bytes:,} bytes")
        if self._left < 0:
            raise ValueError("its tables name each other more often than a model's do")
        return length

    def each(self, length: int, element: Callable[[int], _T]) -> Iterator[_T]:
        """All elements of a vector of numbers."""
        return (element(i) for i in range(self.check(length)))

    def tables(self, length: int, element: Callable[[int], _T]) -> Iterator[_T]:
        """All elements of a vector of tables."""
        self.check(length)
        self._left -= length * (_TABLE_BYTES - 1)
        return (element(i) for i in range(self.check(length)))


class _Reader:
    """Walks one flatbuffer."""

    def __init__(self, schema: Any, model: Any, content: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self._schema = schema
        self._model = model
        self._content = content
        self._walk = _Walk(len(content))
        self._dtypes = {code: _DTYPES.get(name, name.lower()) for name, code in _codes(schema.TensorType)}
        self._builtins = {code: name for name, code in _codes(schema.BuiltinOperator)}
        self._overhead = {"tensor names": 0, "scales": 0, "zero points": 0, "min and max": 0}
        self._flaws: dict[str, int] = {}

    def graph(self) -> Graph:
        tables = self._walk.tables
        subgraphs = list(tables(self._model.SubgraphsLength(), self._model.Subgraphs))
        tensors = [[self._tensor(t) for t in tables(s.TensorsLength(), s.Tensors)] for s in subgraphs]
        operators = [
            self._operator(operator, own)
            for subgraph, own in zip(subgraphs, tensors, strict=True)
            for operator in tables(subgraph.OperatorsLength(), subgraph.Operators)
        ]
        inputs, outputs = self._ends(subgraphs[0], tensors[0]) if subgraphs else ((), ())
        metadata = dict(self._metadata())
        least = metadata.pop("min_runtime_version", "")
        return Graph(
            format="tflite",
            operators=tuple(operators),
            constants=self._constants(tensors),
            inputs=inputs,
            outputs=outputs,
            needs={"TFLite runtime": least or "not stated"},
            metadata=metadata,
            overhead=self._overhead,
            flaws=tuple(f"{flaw}, {count:,} time{'s' * (count > 1)}" for flaw, count in self._flaws.items()),
        )

    def _tensor(self, tensor: Any) -> Tensor:
        signature = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else ()
        lengths = signature if len(signature) else (tensor.ShapeAsNumpy() if tensor.ShapeLength() else ())
        if self._walk.check(len(lengths)) > _MOST_AXES:
            raise ValueError(f"a tensor claims {len(lengths):,} axes")
        shape = tuple(None if n < 0 else int(n) for n in lengths)
        dtype = self._dtypes[tensor.Type()]
        name = tensor.Name() or b""
        self._overhead["tensor names"] += self._walk.check(len(name))
        return Tensor(
            name=plain(name),
            dtype=dtype,
            shape=shape,
            stored=self._stored(tensor.Buffer(), dtype, shape),
            quantization=self._quantization(tensor.Quantization()),
        )

    def _stored(self, index: int, dtype: str, shape: tuple[int | None, ...]) -> np.ndarray[Any, Any] | None:
        """A view on the constant's bytes; nothing is copied."""
        raw = self._bytes(index)
        if raw is None:
            return None
        try:
            kind = np.dtype(dtype)
        except TypeError:
            return raw
        whole = raw[: len(raw) // kind.itemsize * kind.itemsize].view(kind)
        return whole.reshape(shape) if None not in shape and whole.size == math.prod(n or 0 for n in shape) else whole

    def _bytes(self, index: int) -> np.ndarray[Any, Any] | None:
        """A buffer; None for one that is empty. Number 0 is the empty one, even where there are none."""
        if index >= self._model.BuffersLength():
            self._flaw("a tensor names a buffer that is not there", when=index > 0)
            return None
        buffer = self._model.Buffers(index)
        if buffer.Offset() > 1:  # beyond 2 GiB the bytes lie behind the flatbuffer
            return np.asarray(self._content[buffer.Offset() : buffer.Offset() + buffer.Size()])
        return np.asarray(buffer.DataAsNumpy()) if buffer.DataLength() else None

    def _quantization(self, parameters: Any) -> Quantization | None:
        if parameters is None:
            return None
        limits = self._walk.check(parameters.MinLength()) + self._walk.check(parameters.MaxLength())
        scales, points = self._walk.check(parameters.ScaleLength()), self._walk.check(parameters.ZeroPointLength())
        self._overhead["scales"] += 4 * scales
        self._overhead["zero points"] += 8 * points
        self._overhead["min and max"] += 4 * limits
        scale = parameters.ScaleAsNumpy() if scales else np.zeros(0)
        if not np.isfinite(scale).all():
            self._flaw("the scale of a tensor is not a finite number")
            return None
        if not scales:
            return None
        return Quantization(
            scale=tuple(scale.tolist()),
            zero_point=tuple(parameters.ZeroPointAsNumpy().tolist()) if points else (0,) * scales,
            axis=parameters.QuantizedDimension() if scales > 1 else None,
        )

    def _constants(self, tensors: list[list[Tensor]]) -> tuple[Tensor, ...]:
        found = _once([t for group in tensors for t in group if t.stored is not None])
        if sum(t.stored.nbytes for t in found if t.stored is not None) > len(self._content):
            raise ValueError("its constants lie in one another")
        return tuple(found)

    def _operator(self, operator: Any, tensors: list[Tensor]) -> Operator:
        code = self._model.OperatorCodes(_checked(operator.OpcodeIndex(), self._model.OperatorCodesLength()))
        old, new = code.DeprecatedBuiltinCode(), code.BuiltinCode()
        number = new if old >= _SMALLEST_BUILTIN_BEYOND or new > old else old
        name = self._builtins.get(number, f"BUILTIN_{number}")
        custom = name == "CUSTOM" or number not in self._builtins
        if name == "CUSTOM":
            given = code.CustomCode() or b"unnamed"
            self._walk.check(len(given))
            name = plain(given)
        return Operator(
            name=name,
            version=code.Version(),
            inputs=tuple(
                None if i == -1 else tensors[_checked(i, len(tensors))]
                for i in self._walk.each(operator.InputsLength(), operator.Inputs)
            ),
            outputs=_pick(tensors, list(self._walk.each(operator.OutputsLength(), operator.Outputs))),
            custom=custom or name.startswith(_FLEX),
            turned=name == "BATCH_MATMUL" and self._adjoint(operator),
        )

    def _adjoint(self, operator: Any) -> bool:
        table = operator.BuiltinOptions()
        if table is None or operator.BuiltinOptionsType() != self._schema.BuiltinOptions.BatchMatMulOptions:
            return False
        options = self._schema.BatchMatMulOptions()
        options.Init(table.Bytes, table.Pos)
        return bool(options.AdjX())

    def _ends(self, main: Any, tensors: list[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Inputs and outputs of the main graph, under their signature's names where there is one signature."""
        inputs = list(self._walk.each(main.InputsLength(), main.Inputs))
        outputs = list(self._walk.each(main.OutputsLength(), main.Outputs))
        if self._model.SignatureDefsLength() != 1:
            return _pick(tensors, inputs), _pick(tensors, outputs)
        signature = self._model.SignatureDefs(0)
        if signature.SubgraphIndex() != 0:
            return _pick(tensors, inputs), _pick(tensors, outputs)
        tables = self._walk.tables
        given = {m.TensorIndex(): plain(m.Name()) for m in tables(signature.InputsLength(), signature.Inputs)}
        taken = {m.TensorIndex(): plain(m.Name()) for m in tables(signature.OutputsLength(), signature.Outputs)}
        return _pick(tensors, inputs, given), _pick(tensors, outputs, taken)

    def _metadata(self) -> Iterator[tuple[str, str]]:
        for item in self._walk.tables(self._model.MetadataLength(), self._model.Metadata):
            content = self._bytes(item.Buffer())
            self._walk.check(0 if content is None else content.size)
            yield plain(item.Name()), entry(b"" if content is None else content.tobytes())
        if description := self._model.Description():
            yield "description", entry(description)

    def _flaw(self, said: str, *, when: bool = True) -> None:
        if when:
            self._flaws[said] = self._flaws.get(said, 0) + 1


def _codes(enumeration: type) -> list[tuple[str, int]]:
    return [(name, code) for name, code in vars(enumeration).items() if isinstance(code, int)]


def _checked(index: int, length: int) -> int:
    if not 0 <= index < length:
        raise IndexError(f"index {index} where there are {length:,}")
    return index


def _pick(tensors: list[Tensor], indices: Sequence[int], names: dict[int, str] | None = None) -> tuple[Tensor, ...]:
    found = []
    for index in indices:
        tensor = tensors[_checked(index, len(tensors))]
        name = (names or {}).get(index)
        found.append(replace(tensor, name=name) if name else tensor)
    return tuple(found)


def _once(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors that do not share their bytes: two may point to one buffer, and it is stored once."""
    found: dict[tuple[int, int], Tensor] = {}
    for tensor in tensors:
        if tensor.stored is not None:
            place = tensor.stored.__array_interface__["data"][0]
            found.setdefault((place, tensor.stored.nbytes), tensor)
    return list(found.values())
