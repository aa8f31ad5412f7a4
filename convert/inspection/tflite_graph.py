"""Read a .tflite file into a graph, from the flatbuffer alone; no engine and no TensorFlow takes part.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs, in the accessors that ai-edge-litert ships.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.convert.inspection.graph import Graph, Operator, Tensor
from tinsmith.runtime.tensors import Quantization

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["read_tflite"]

# Where TensorType's name is not numpy's.
_DTYPES = {"STRING": "str", "RESOURCE": "resource", "VARIANT": "variant"}
_FLEX = "Flex"
_SMALLEST_BUILTIN_BEYOND = 127  # the old one-byte field ends here; larger codes stand in builtin_code


def read_tflite(path: Path) -> Graph:
    """Read a file.

    Raises:
        Exception: Anything at all, if the file is damaged; the caller translates it.
    """
    schema = require("ai_edge_litert.schema_py_generated", needed_for="reading .tflite files")
    content = np.memmap(path, dtype=np.uint8, mode="r")
    model = schema.Model.GetRootAs(memoryview(content.data), 0)
    return _Reader(schema, model, content).graph()


class _Reader:
    """Walks one flatbuffer."""

    def __init__(self, schema: Any, model: Any, content: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self._model = model
        self._content = content
        self._dtypes = {code: _DTYPES.get(name, name.lower()) for name, code in _codes(schema.TensorType)}
        self._builtins = {code: name for name, code in _codes(schema.BuiltinOperator)}

    def graph(self) -> Graph:
        subgraphs = [self._model.Subgraphs(i) for i in range(self._model.SubgraphsLength())]
        tensors = [[self._tensor(s.Tensors(i)) for i in range(s.TensorsLength())] for s in subgraphs]
        operators = [
            self._operator(subgraph.Operators(i), own)
            for subgraph, own in zip(subgraphs, tensors, strict=True)
            for i in range(subgraph.OperatorsLength())
        ]
        main, own = (subgraphs[0], tensors[0]) if subgraphs else (None, [])
        metadata = dict(self._metadata())
        least = metadata.pop("min_runtime_version", "")
        return Graph(
            format="tflite",
            operators=tuple(operators),
            constants=tuple(_once([t for group in tensors for t in group if t.stored is not None])),
            inputs=tuple(own[main.Inputs(i)] for i in range(main.InputsLength())) if main else (),
            outputs=tuple(own[main.Outputs(i)] for i in range(main.OutputsLength())) if main else (),
            needs={"TFLite runtime": least or "not stated"},
            metadata=metadata,
            overhead=self._overhead(subgraphs),
        )

    def _tensor(self, tensor: Any) -> Tensor:
        signature = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else ()
        lengths = signature if len(signature) else (tensor.ShapeAsNumpy() if tensor.ShapeLength() else ())
        shape = tuple(None if n < 0 else int(n) for n in lengths)
        dtype = self._dtypes[tensor.Type()]
        return Tensor(
            name=(tensor.Name() or b"").decode(errors="replace"),
            dtype=dtype,
            shape=shape,
            stored=self._stored(self._model.Buffers(tensor.Buffer()), dtype, shape),
            quantization=_quantization(tensor.Quantization()),
        )

    def _stored(self, buffer: Any, dtype: str, shape: tuple[int | None, ...]) -> np.ndarray[Any, Any] | None:
        """A view on the constant's bytes; nothing is copied."""
        if buffer.Offset() > 1:  # beyond 2 GiB the bytes lie behind the flatbuffer
            raw = self._content[buffer.Offset() : buffer.Offset() + buffer.Size()]
        elif buffer.DataLength():
            raw = buffer.DataAsNumpy()
        else:
            return None
        try:
            kind = np.dtype(dtype)
        except TypeError:
            return np.asarray(raw)
        whole = np.asarray(raw)[: len(raw) // kind.itemsize * kind.itemsize].view(kind)
        return whole.reshape(shape) if None not in shape and whole.size == math.prod(n or 0 for n in shape) else whole

    def _operator(self, operator: Any, tensors: list[Tensor]) -> Operator:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        old, new = code.DeprecatedBuiltinCode(), code.BuiltinCode()
        name = self._builtins[new if old >= _SMALLEST_BUILTIN_BEYOND or new > old else old]
        custom = name == "CUSTOM"
        if custom:
            name = (code.CustomCode() or b"unnamed").decode(errors="replace")
        return Operator(
            name=name,
            version=code.Version(),
            inputs=tuple(_at(tensors, operator.Inputs(i)) for i in range(operator.InputsLength())),
            outputs=tuple(tensors[operator.Outputs(i)] for i in range(operator.OutputsLength())),
            custom=custom or name.startswith(_FLEX),
        )

    def _metadata(self) -> Iterator[tuple[str, str]]:
        for i in range(self._model.MetadataLength()):
            entry = self._model.Metadata(i)
            buffer = self._model.Buffers(entry.Buffer())
            raw = bytes(buffer.DataAsNumpy()) if buffer.DataLength() else b""
            text = raw.rstrip(b"\0").decode("ascii", errors="ignore")
            readable = len(text) <= 64 and text.isprintable()
            yield (entry.Name() or b"").decode(errors="replace"), text if readable else f"{len(raw):,} bytes"
        if self._model.Description():
            yield "description", self._model.Description().decode(errors="replace")

    def _overhead(self, subgraphs: list[Any]) -> dict[str, int]:
        parts = {"tensor names": 0, "scales": 0, "zero points": 0, "min and max": 0}
        for tensor in (s.Tensors(i) for s in subgraphs for i in range(s.TensorsLength())):
            parts["tensor names"] += len(tensor.Name() or b"")
            if quantization := tensor.Quantization():
                parts["scales"] += 4 * quantization.ScaleLength()
                parts["zero points"] += 8 * quantization.ZeroPointLength()
                parts["min and max"] += 4 * (quantization.MinLength() + quantization.MaxLength())
        return parts


def _codes(enumeration: type) -> list[tuple[str, int]]:
    return [(name, code) for name, code in vars(enumeration).items() if isinstance(code, int)]


def _at(tensors: list[Tensor], index: int) -> Tensor | None:
    return None if index < 0 else tensors[index]


def _quantization(parameters: Any) -> Quantization | None:
    if parameters is None or not parameters.ScaleLength():
        return None
    scales = tuple(float(s) for s in parameters.ScaleAsNumpy())
    points = tuple(int(z) for z in parameters.ZeroPointAsNumpy()) if parameters.ZeroPointLength() else ()
    return Quantization(
        scale=scales,
        zero_point=points or (0,) * len(scales),
        axis=parameters.QuantizedDimension() if len(scales) > 1 else None,
    )


def _once(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors that do not share their bytes: two may point to one buffer, and it is stored once."""
    found: dict[tuple[int, int], Tensor] = {}
    for tensor in tensors:
        if tensor.stored is not None:
            place = tensor.stored.__array_interface__["data"][0]
            found.setdefault((place, tensor.stored.nbytes), tensor)
    return list(found.values())
