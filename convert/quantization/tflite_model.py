"""A float .tflite file as the object that ai-edge-quantizer works on, with the quirks of older files mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.quantizer import already_quantized
from tinsmith.runtime.errors import ModelLoadError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["activations", "is_stored", "read_float_model", "read_model"]

_FLOAT32, _FLOAT16, _INT8 = 0, 1, 9  # TensorType in TensorFlow's lite/schema/schema.fbs
_NEEDED_FOR = "quantizing a .tflite file"


def read_float_model(path: Path) -> Any:
    """Read a .tflite file that is to be quantized; as ``read_model``, and of float32 numbers only.

    Raises:
        ModelLoadError: It can't be parsed.
        RecipeError: It is quantized, or its weights are float16.
    """
    model = read_model(path)
    _refuse_quantized(path, model)
    return model


def read_model(path: Path) -> Any:
    """Read a .tflite file, and make it one that ai-edge-quantizer understands.

    Files from before schema version 3a keep the operator in ``deprecated_builtin_code``; ai-edge-quantizer 0.10 takes
    each of their operators for an ADD, and writes a file that no interpreter loads. It asks for a list of signatures,
    and for names of tensors that are unique.

    Returns:
        A ``ModelT``; its weights are views of the file.

    Raises:
        ModelLoadError: It can't be parsed.
    """
    flatbuffers = require("ai_edge_litert.tools.flatbuffer_utils", needed_for=_NEEDED_FOR)
    try:
        model = flatbuffers.read_model(str(path))
    except Exception as error:  # flatbuffers raises struct.error, IndexError, TypeError and more on damaged files
        raise ModelLoadError(f"{path} is damaged: {first_line(error)}") from error
    if not model.subgraphs:
        raise ModelLoadError(f"{path} holds no graph, so there is nothing to quantize")
    for code in model.operatorCodes or []:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    model.signatureDefs = model.signatureDefs or []
    _make_names_unique(model)
    return model


def activations(model: Any) -> Iterator[tuple[int, str]]:
    """The index and name of every float32 tensor of the main graph that is computed, not stored."""
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        if tensor.type == _FLOAT32 and not is_stored(model, tensor):
            yield index, tensor.name.decode()


def _refuse_quantized(path: Path, model: Any) -> None:
    for tensor in _tensors(model):
        quantization = tensor.quantization
        if quantization is not None and quantization.scale is not None and len(quantization.scale):
            raise already_quantized(path, f"tensor {_name(tensor)!r} has a scale")
        if tensor.type == _FLOAT16 and is_stored(model, tensor):
            raise already_quantized(path, f"tensor {_name(tensor)!r} holds float16")


def _make_names_unique(model: Any) -> None:
    taken: set[str] = set()
    for number, tensor in enumerate(_tensors(model)):
        name = _name(tensor)
        if not name or name in taken:
            name = f"{name or 'tensor'};{number}"
        taken.add(name)
        tensor.name = name.encode()


def _tensors(model: Any) -> Iterator[Any]:
    for graph in model.subgraphs:
        yield from graph.tensors


def _name(tensor: Any) -> str:
    return (tensor.name or b"").decode(errors="replace")


def is_stored(model: Any, tensor: Any) -> bool:
    """Whether the file holds the tensor's numbers; all others are fed or computed."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
