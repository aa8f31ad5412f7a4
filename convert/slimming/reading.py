"""A .tflite file as objects whose every index holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import ModelError, ModelLoadError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["in_tensors", "read_content", "read_model", "same_model"]

_MAGIC = b"TFL3"
_LARGEST_BYTES = (1 << 31) - 1  # offsets in a flatbuffer are 32 bits with a sign


def read_content(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        ModelError: It is larger than a flatbuffer can be.
        ModelLoadError: It can't be read.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise _too_large(path, size)
        return path.read_bytes()
    except OSError as error:
        raise ModelLoadError(f"cannot read {path}: {error.strerror}") from error


def read_model(content: bytes, name: str) -> Any:
    """Read a ``ModelT``; its vectors are views of the content.

    Raises:
        ModelLoadError: It is damaged.
        ModelError: Writing it again would lose something.
    """
    schema = require("ai_edge_litert.schema_py_generated", needed_for="slimming a .tflite file")
    if content[4:8] != _MAGIC:
        raise ModelLoadError(f"{name} is damaged: it does not start as a .tflite file does")
    try:
        _check_claims(schema.Model.GetRootAs(content, 0), len(content))
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        broken = next(_broken_indices(model), None)
    except Exception as error:  # flatbuffers raises struct.error, IndexError, TypeError and more on damaged files
        raise ModelLoadError(f"{name} is damaged: {first_line(error)}") from error
    if broken:
        raise ModelLoadError(f"{name} is damaged: {broken}")
    _refuse_outside(model, name)
    _refuse_newer(model, name)
    return model


def in_tensors(tensor: Any) -> Any | None:
    """The tensor's quantization where its scales and zero points are tensors themselves, by blocks or several axes.

    It names them by number, -1 for none; no operator does.
    """
    details = None if tensor.quantization is None else tensor.quantization.details
    return details if hasattr(details, "scales") else None


def same_model(one: Any, other: Any) -> bool:
    """Whether two trees of objects hold the same values, floats compared by their bits."""
    if isinstance(one, np.ndarray):
        same = isinstance(other, np.ndarray) and one.dtype == other.dtype and one.shape == other.shape
        return same and one.tobytes() == other.tobytes()
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same_model, one, other))
    if hasattr(one, "__dict__"):
        return type(one) is type(other) and all(same_model(v, vars(other)[k]) for k, v in vars(one).items())
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN


def _too_large(path: Path, size: int) -> ModelError:
    return ModelError(
        f"{path} has {size:,} bytes, and slim rewrites files up to 2 GiB: larger ones keep their weights outside of "
        "the flatbuffer",
        hint="leave the step slim out",
    )


def _check_claims(root: Any, size: int) -> None:
    """A few kilobytes can claim billions of tables by naming one many times; reading those would never end.

    Raises:
        ValueError: There are more than a file of this size can hold.
    """
    left = size
    for claimed in _claims(root):
        left -= claimed
        if left < 0:
            raise ValueError("its tables name each other more often than a model's do")


def _claims(root: Any) -> Iterator[int]:
    """The length of each vector of tables, before anything is made of its elements."""
    yield root.SubgraphsLength()
    for graph in (root.Subgraphs(i) for i in range(root.SubgraphsLength())):
        yield graph.TensorsLength()
        yield graph.OperatorsLength()
        for tensor in (graph.Tensors(i) for i in range(graph.TensorsLength())):
            yield tensor.VariantTensorsLength()
            yield tensor.Sparsity().DimMetadataLength() if tensor.Sparsity() else 0
    yield root.SignatureDefsLength()
    for signature in (root.SignatureDefs(i) for i in range(root.SignatureDefsLength())):
        yield signature.InputsLength() + signature.OutputsLength()


def _broken_indices(model: Any) -> Iterator[str]:
    """Everything that points to something that is not there."""
    graphs = model.subgraphs or []
    if not graphs:
        yield "it holds no graph"
    buffers = max(1, len(model.buffers or []))  # a file without buffers says 0 in every tensor
    for graph in graphs:
        yield from _beyond("buffer", (tensor.buffer for tensor in graph.tensors or []), buffers)
        codes = (operator.opcodeIndex for operator in graph.operators or [])
        yield from _beyond("operator code", codes, len(model.operatorCodes or []))
        yield from _broken_tensors(graph)
    for entry in model.metadata or []:
        yield from _beyond("buffer", [entry.buffer], buffers)
    yield from _beyond("buffer", _items(model.metadataBuffer), buffers)
    for signature in model.signatureDefs or []:
        yield from _broken_signature(signature, graphs)


def _broken_tensors(graph: Any) -> Iterator[str]:
    tensors = graph.tensors or []
    for vector in (graph.inputs, graph.outputs):
        yield from _beyond("tensor", _items(vector), len(tensors))
    for operator in graph.operators or []:
        for vector in (operator.inputs, operator.outputs, operator.intermediates):
            yield from _beyond("tensor", _items(vector), len(tensors), least=-1)
    for quantization in filter(None, map(in_tensors, tensors)):
        yield from _beyond("tensor", (quantization.scales, quantization.zeroPoints), len(tensors), least=-1)


def _broken_signature(signature: Any, graphs: list[Any]) -> Iterator[str]:
    if signature.subgraphIndex >= len(graphs):
        yield f"a signature names graph {signature.subgraphIndex} of {len(graphs)}"
        return
    tensors = graphs[signature.subgraphIndex].tensors or []
    entries = [*(signature.inputs or []), *(signature.outputs or [])]
    yield from _beyond("tensor", (entry.tensorIndex for entry in entries), len(tensors))


def _beyond(kind: str, indices: Iterable[int], count: int, *, least: int = 0) -> Iterator[str]:
    for index in indices:
        if not least <= index < count:
            yield f"it names {kind} {index} of {count}"


def _items(vector: Any) -> list[int]:
    return [] if vector is None else [int(item) for item in vector]


def _refuse_outside(model: Any, name: str) -> None:
    """Bytes behind the flatbuffer are found by their place in the file, which slimming moves."""
    operators = [o for graph in model.subgraphs for o in graph.operators or []]
    tensors = [t for graph in model.subgraphs for t in graph.tensors or []]
    outside = (
        any(buffer.offset or buffer.size for buffer in model.buffers or [])
        or any(o.largeCustomOptionsOffset or o.largeCustomOptionsSize for o in operators)
        or any(getattr(tensor, "externalBuffer", 0) for tensor in tensors)
    )
    if outside:
        raise ModelError(
            f"{name} keeps weights or options outside of the flatbuffer, and slim moves nothing that it can't follow",
            hint="leave the step slim out",
        )


def _refuse_newer(model: Any, name: str) -> None:
    """A union whose type the schema does not know is read as nothing, and would be written as nothing."""
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            lost = (operator.builtinOptionsType and operator.builtinOptions is None) or (
                operator.builtinOptions2Type and operator.builtinOptions2 is None
            )
            if lost:
                raise _newer(name, "options of an operator")
        for tensor in graph.tensors or []:
            details = tensor.quantization
            if details is not None and details.detailsType and details.details is None:
                raise _newer(name, "details of a quantization")


def _newer(name: str, what: str) -> ModelError:
    return ModelError(
        f"{name} holds {what} of a kind that this ai-edge-litert does not know",
        hint="get a newer one with: pip install -U ai-edge-litert, or leave the step slim out",
    )
