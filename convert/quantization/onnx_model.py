"""A float .onnx file, made ready for onnxruntime's quantizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.quantizer import already_quantized
from tinsmith.runtime.errors import ModelLoadError, UnsupportedOperatorError, first_line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_float", "is_quantized", "opset_of", "prepare", "read_float_model"]

_NEEDED_FOR = "quantizing an .onnx file"
# DequantizeLinear has had an axis, and so one scale a channel, since this opset.
_LEAST_OPSET = 13
_QUANTIZED_OPERATORS = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    }
)


def read_float_model(path: Path) -> Any:
    """Read an .onnx file into a ``ModelProto``.

    Raises:
        ModelLoadError: It can't be parsed.
        RecipeError: It is quantized, or its weights are float16.
    """
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's DecodeError has no public base, and external data adds errors of its own
        raise ModelLoadError(f"{path} is damaged: {first_line(error)}") from error
    check_float(model, path)
    return model


def check_float(model: Any, path: Path) -> None:
    """Hold a ``ModelProto`` to be what quantization starts from; its weights need not have been read.

    Raises:
        RecipeError: It is quantized, or its weights are float16.
    """
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    operator = _quantized_operator(model)
    if operator:
        raise already_quantized(path, f"it holds {operator}")
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise already_quantized(path, "its weights are float16")


def prepare(source: Path, folder: Path) -> Path:
    """Write the model that is to be quantized: shapes inferred, constants folded, batch normalization in the weights.

    Args:
        source: A float .onnx file.
        folder: Where to write; the caller's to delete.

    Raises:
        ModelLoadError: It can't be parsed.
        RecipeError: It is quantized already.
        UnsupportedOperatorError: onnx can't raise it to an opset that has scales by channel, or onnxruntime refuses it.
    """
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    shape_inference = require("onnxruntime.quantization.shape_inference", needed_for=_NEEDED_FOR)
    model = read_float_model(source)
    _make_weights_constant(model)
    prepared = folder / "prepared.onnx"
    try:
        if opset_of(model) < _LEAST_OPSET:
            model = require("onnx.version_converter", needed_for=_NEEDED_FOR).convert_version(model, _LEAST_OPSET)
        onnx.save(model, str(folder / "raised.onnx"))
        shape_inference.quant_pre_process(str(folder / "raised.onnx"), str(prepared), skip_symbolic_shape=True)
        _flatten_gemm_biases(prepared)
    except Exception as error:  # onnx and onnxruntime raise RuntimeError, ConvertError, their own Fail and more
        raise UnsupportedOperatorError(
            f"{source.name} can't be made ready to quantize: {first_line(error)}",
            hint=f"export it again with opset {_LEAST_OPSET} or later",
        ) from error
    return prepared


def opset_of(model: Any) -> int:
    """The version of the standard operators that a ``ModelProto`` is written in."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def is_quantized(model: Any) -> bool:
    """Whether a ``ModelProto`` holds an operator that works on, or makes, quantized numbers."""
    return bool(_quantized_operator(model))


def _quantized_operator(model: Any) -> str:
    return next((str(node.op_type) for node in model.graph.node if node.op_type in _QUANTIZED_OPERATORS), "")


def _make_weights_constant(model: Any) -> None:
    """Before IR version 4 weights had to be inputs too, which a caller may replace: nothing could be folded then."""
    weights = {tensor.name for tensor in model.graph.initializer}
    real = [entry for entry in model.graph.input if entry.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(real)
    model.ir_version = max(model.ir_version, 4)


def _flatten_gemm_biases(path: Path) -> None:
    """Turn each stored Gemm bias [1, n] into [n], which adds the same: onnxruntime 1.32 fails on the former."""
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    model = onnx.load(str(path))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        bias = stored.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) > 2 else None
        if bias is not None and len(bias.dims) == 2 and bias.dims[0] == 1:
            flat = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias)[0], f"{node.output[0]}_bias")
            model.graph.initializer.append(flat)
            node.input[2] = flat.name
    onnx.save(model, str(path))
