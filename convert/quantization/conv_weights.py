"""Convolution weights in 8 bits, for models whose activations stay float.

onnxruntime's dynamic quantization turns a convolution into ConvInteger, for which its CPU provider has no kernel with
signed weights (onnxruntime#15888); leaving convolutions alone would leave a vision model as large as it was. Here the
weights are stored as int8 and a DequantizeLinear gives them back: a quarter of the bytes, the speed of float.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

__all__ = ["round_by_channel", "store_convolutions_in_int8"]

_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}
_LIMIT = 127


def store_convolutions_in_int8(model: Any, *, kept: Collection[str] = ()) -> None:
    """Change a ``ModelProto`` in place: each float32 weight of a convolution becomes int8 and a DequantizeLinear.

    Args:
        model: The model.
        kept: Convolutions that stay as they are, by what they compute.
    """
    onnx = require("onnx", needed_for="quantizing an .onnx file")
    weights = {t.name: t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    restored: dict[str, str] = {}
    for node in list(model.graph.node):
        if node.op_type not in _OUTPUT_AXIS or node.input[1] not in weights or node.output[0] in kept:
            continue
        name = node.input[1]
        if name not in restored:
            restored[name] = _restore(onnx, model, weights[name], _OUTPUT_AXIS[node.op_type])
        node.input[1] = restored[name]
    _drop_unused(model, restored)


def round_by_channel(weights: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round weights to -127..127 with one scale a slice along ``axis``, the same for positive and negative.

    Symmetric by-channel rounding as in Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient
    inference" (arXiv:1806.08342, section 2.1).
    """
    others = tuple(n for n in range(weights.ndim) if n != axis)
    largest = np.abs(weights).max(axis=others)
    # Not below what float32 can divide by: training leaves whole channels at 1e-40 and the like.
    scales = np.maximum(largest / _LIMIT, np.finfo(np.float32).tiny).astype(np.float32)
    shape = [-1 if n == axis else 1 for n in range(weights.ndim)]
    rounded = np.clip(np.rint(weights / scales.reshape(shape)), -_LIMIT, _LIMIT)
    return rounded.astype(np.int8), scales


def _restore(onnx: Any, model: Any, weight: Any, axis: int) -> str:
    """Add the int8 weight, its scales and the operator that gives it back; gives that operator's output."""
    rounded, scales = round_by_channel(onnx.numpy_helper.to_array(weight), axis)
    name = weight.name
    model.graph.initializer.append(onnx.numpy_helper.from_array(rounded, f"{name}_int8"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(scales, f"{name}_scale"))
    inputs, outputs = [f"{name}_int8", f"{name}_scale"], [f"{name}_restored"]
    operator = onnx.helper.make_node("DequantizeLinear", inputs, outputs, name=f"{name}_DequantizeLinear", axis=axis)
    model.graph.node.insert(0, operator)
    return outputs[0]


def _drop_unused(model: Any, candidates: dict[str, str]) -> None:
    used = {name for node in model.graph.node for name in node.input} | {entry.name for entry in model.graph.output}
    kept = [t for t in model.graph.initializer if t.name not in candidates or t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
