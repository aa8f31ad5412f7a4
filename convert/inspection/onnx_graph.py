"""Read an .onnx file into a graph; the onnx package parses it, nothing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.inspection.graph import Graph, Operator, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["read_onnx"]

_DEFAULT_DOMAINS = ("", "ai.onnx")


def read_onnx(path: Path) -> Graph:
    """Read a file, with the shapes and types that onnx can infer.

    Raises:
        Exception: Anything at all, if the file is damaged; the caller translates it.
    """
    onnx = require("onnx", needed_for="reading .onnx files")
    model = onnx.load(str(path))
    if not model.graph.node and not model.graph.output:
        raise ValueError("it holds no graph")
    return _Reader(onnx, model, _inferred(onnx, model)).graph()


def _inferred(onnx: Any, model: Any) -> Any:
    """The graph with inferred shapes; inference is a help, and a model it can't follow is still shown."""
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return model.graph


class _Reader:
    """Walks one graph."""

    def __init__(self, onnx: Any, model: Any, inferred: Any) -> None:
        self._onnx = onnx
        self._model = model
        self._opsets = {entry.domain: entry.version for entry in model.opset_import}
        self._tensors: dict[str, Tensor] = {}
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            self._tensors[value.name] = self._declared(value)
        for constant in model.graph.initializer:
            self._tensors[constant.name] = self._constant(constant.name, constant)

    def graph(self) -> Graph:
        model = self._model
        operators = [self._operator(node) for node in _nodes(model.graph)]
        initializers = {constant.name for constant in model.graph.initializer}
        return Graph(
            format="onnx",
            operators=tuple(operators),
            constants=tuple(tensor for tensor in self._tensors.values() if tensor.stored is not None),
            inputs=tuple(self._tensors[v.name] for v in model.graph.input if v.name not in initializers),
            outputs=tuple(self._tensors[v.name] for v in model.graph.output),
            needs={
                "ONNX IR": str(model.ir_version),
                **{f"opset {domain or 'ai.onnx'}": str(version) for domain, version in self._opsets.items()},
            },
            metadata=dict(self._metadata()),
        )

    def _declared(self, value: Any) -> Tensor:
        kind = value.type.tensor_type
        shape = tuple(dimension.dim_value if dimension.HasField("dim_value") else None for dimension in kind.shape.dim)
        return Tensor(name=value.name, dtype=self._dtype(kind.elem_type), shape=shape)

    def _constant(self, name: str, constant: Any) -> Tensor:
        external = constant.data_location == self._onnx.TensorProto.EXTERNAL
        array = None if external else self._onnx.numpy_helper.to_array(constant)
        return Tensor(name=name, dtype=self._dtype(constant.data_type), shape=tuple(constant.dims), stored=array)

    def _operator(self, node: Any) -> Operator:
        if node.op_type == "Constant":
            self._keep_constant(node)
        domain = "" if node.domain in _DEFAULT_DOMAINS else f"{node.domain}."
        return Operator(
            name=f"{domain}{node.op_type}",
            version=self._opsets.get(node.domain, self._opsets.get("", 1)),
            inputs=tuple(self._named(name) if name else None for name in node.input),
            outputs=tuple(self._named(name) for name in node.output if name),
            transposed=any(a.name == "transB" and a.i for a in node.attribute),
        )

    def _keep_constant(self, node: Any) -> None:
        for attribute in node.attribute:
            if attribute.name == "value":
                self._tensors[node.output[0]] = self._constant(node.output[0], attribute.t)

    def _named(self, name: str) -> Tensor:
        return self._tensors.setdefault(name, Tensor(name=name, dtype="", shape=()))

    def _dtype(self, code: int) -> str:
        name = self._onnx.TensorProto.DataType.Name(code).lower() if code else ""
        return {"float": "float32", "double": "float64", "string": "str"}.get(name, name)

    def _metadata(self) -> Iterator[tuple[str, str]]:
        if self._model.producer_name:
            yield "producer", f"{self._model.producer_name} {self._model.producer_version}".strip()
        if self._model.doc_string:
            yield "description", self._model.doc_string[:64]
        for entry in self._model.metadata_props:
            yield entry.key, entry.value if len(entry.value) <= 64 else f"{len(entry.value):,} bytes"


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes, those inside loops and branches too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
