"""Read an .onnx file into a graph; the onnx package parses it, nothing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.convert.external_data import stored
from tinsmith.convert.frameworks import require
from tinsmith.convert.inspection.graph import Graph, Operator, Tensor
from tinsmith.convert.inspection.onnx_shapes import inferred
from tinsmith.convert.inspection.text import entry, plain
from tinsmith.runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["read_onnx"]

_MOST_AXES = 64  # numpy's limit; no engine takes as many
_DEFAULT_DOMAINS = ("", "ai.onnx")
# Domains whose operators onnxruntime itself brings.
_KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")


def read_onnx(path: Path) -> Graph:
    """Read a file and its external data, with the shapes and types that onnx can infer.

    Raises:
        Exception: Anything at all, if the file is damaged; the caller translates it.
    """
    onnx = require("onnx", needed_for="reading .onnx files")
    model = onnx.load(str(path), load_external_data=False)
    if not model.graph.node and not model.graph.output:
        raise ValueError("it holds no graph")
    shapes = inferred(onnx, model)
    return _Reader(onnx, model, shapes, folder=path.parent).graph()


class _Reader:
    """Walks one graph."""

    def __init__(self, onnx: Any, model: Any, shapes: Any, *, folder: Path) -> None:
        self._onnx = onnx
        self._model = model
        self._folder = folder
        self._external_bytes = 0
        self._files: set[Path] = set()
        self._flaws: list[str] = []
        self._opsets = {entry.domain: entry.version for entry in model.opset_import}
        self._functions = {(function.domain, function.name) for function in model.functions}
        self._tensors: dict[str, Tensor] = {}
        for value in (*shapes.value_info, *shapes.input, *shapes.output):
            self._tensors[value.name] = self._declared(value)
        for graph in _graphs(model.graph):
            for constant in graph.initializer:
                self._tensors[constant.name] = self._constant(constant.name, constant)

    def graph(self) -> Graph:
        model = self._model
        operators = [self._operator(node) for graph in _graphs(model.graph) for node in graph.node]
        initializers = {constant.name for constant in model.graph.initializer}
        return Graph(
            format="onnx",
            operators=tuple(operators),
            constants=tuple(tensor for tensor in self._tensors.values() if tensor.stored is not None),
            inputs=tuple(self._tensors[v.name] for v in model.graph.input if v.name not in initializers),
            outputs=tuple(self._tensors[v.name] for v in model.graph.output),
            needs={
                "ONNX IR": str(model.ir_version),
                **{f"opset {plain(domain) or 'ai.onnx'}": str(version) for domain, version in self._opsets.items()},
            },
            metadata=dict(self._metadata()),
            external_bytes=self._external_bytes,
            files=tuple(sorted(self._files)),
            flaws=tuple(self._flaws),
        )

    def _declared(self, value: Any) -> Tensor:
        kind = value.type.tensor_type
        shape = tuple(
            dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value >= 0 else None
            for dimension in kind.shape.dim
        )
        if len(shape) > _MOST_AXES:
            raise ValueError(f"a tensor claims {len(shape):,} axes")
        dtype = self._dtype(kind.elem_type)
        return Tensor(name=plain(value.name), dtype=dtype, shape=shape, ranked=kind.HasField("shape"))

    def _constant(self, name: str, constant: Any) -> Tensor:
        shape = tuple(int(n) for n in constant.dims)
        content = self._stored(constant)
        return Tensor(name=plain(name), dtype=self._dtype(constant.data_type), shape=shape, stored=content)

    def _stored(self, constant: Any) -> NDArray[np.generic] | None:
        """The constant's elements; None where they lie in a file that can't be read."""
        try:
            where = stored(self._onnx, constant, self._folder)
        except ModelError as error:
            self._flaws.append(f"external data of {plain(constant.name)}: {plain(error.message)[:200]}")
            return None
        if where.file is not None:
            self._external_bytes += where.nbytes
            self._files.add(where.file)
        return where.array()

    def _operator(self, node: Any) -> Operator:
        if node.op_type == "Constant":
            self._keep_constant(node)
        default = node.domain in _DEFAULT_DOMAINS
        numbers = {a.name: int(a.i) for a in node.attribute if a.type == self._onnx.AttributeProto.INT}
        return Operator(
            name=plain(node.op_type if default else f"{node.domain}.{node.op_type}"),
            version=self._opsets.get(node.domain, self._opsets.get("", self._opsets.get("ai.onnx", 1))),
            inputs=tuple(self._named(name) if name else None for name in node.input),
            outputs=tuple(self._named(name) for name in node.output if name),
            custom=node.domain not in _KNOWN_DOMAINS and (node.domain, node.op_type) not in self._functions,
            transposed=bool(numbers.get("transB")),
            turned=bool(numbers.get("transA")),
            axis=numbers.get("axis"),
            bits=numbers.get("bits", 0),
            depth=numbers.get("K", 0),
            columns=numbers.get("N", 0),
        )

    def _keep_constant(self, node: Any) -> None:
        for attribute in node.attribute:
            if attribute.name == "value":
                self._tensors[node.output[0]] = self._constant(node.output[0], attribute.t)

    def _named(self, name: str) -> Tensor:
        return self._tensors.setdefault(name, Tensor(name=plain(name), dtype="", shape=(), ranked=False))

    def _dtype(self, code: int) -> str:
        name = self._onnx.TensorProto.DataType.Name(code).lower() if code else ""
        return {"float": "float32", "double": "float64", "string": "str"}.get(name, name)

    def _metadata(self) -> Iterator[tuple[str, str]]:
        if self._model.producer_name:
            yield "producer", plain(f"{self._model.producer_name} {self._model.producer_version}".strip())
        if self._model.doc_string:
            yield "description", plain(self._model.doc_string[:64])
        for item in self._model.metadata_props:
            yield plain(item.key), entry(item.value.encode())


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph, and those inside its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)
