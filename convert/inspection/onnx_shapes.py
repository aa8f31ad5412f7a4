"""The shapes and types inside an .onnx file, as far as onnx can infer them."""

from __future__ import annotations

from typing import Any

__all__ = ["inferred"]

# From this IR version on, inference sees initializers that are not listed as inputs as well.
_LEAST_IR = 4
_MICROSOFT = "com.microsoft"
# onnx infers nothing through onnxruntime's own operators. For these a standard operator, on the inputs named here,
# gives the same shape, and stands in for them while shapes are inferred.
_ALIKE = {
    **dict.fromkeys(("Gelu", "FastGelu", "QuickGelu", "BiasGelu"), ("Identity", (0,))),
    **dict.fromkeys(("QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax"), ("Identity", (0,))),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), ("Identity", (0,))),
    "SimplifiedLayerNormalization": ("Identity", (0,)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QGemm": ("Gemm", (0, 3)),
}
_PLAIN_NAME = {"FusedConv": "Conv", "FusedGemm": "Gemm", "FusedMatMul": "MatMul"}
_TURNS = ("transA", "transB", "transBatchA", "transBatchB")


def inferred(onnx: Any, model: Any) -> Any:
    """The graph with inferred shapes; inference is a help, and a model it can't follow is still shown."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, _LEAST_IR)
    types = {constant.name: constant.data_type for constant in copy.graph.initializer}
    for node in copy.graph.node:
        if node.domain == _MICROSOFT:
            _stand_in(onnx, node, types)
            if node.op_type == "MatMulNBits":
                copy.graph.value_info.append(_make_product(onnx, node, types))
    try:
        return onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return model.graph


def _stand_in(onnx: Any, node: Any, types: dict[str, int]) -> None:
    """Turn one of onnxruntime's operators into a standard one that gives the same shape and type."""
    name = node.op_type
    if name == "DequantizeLinear":
        _make_cast(onnx, node, onnx.TensorProto.FLOAT)
    elif name == "QuantizeLinear":
        point = node.input[2] if len(node.input) > 2 else ""
        _make_cast(onnx, node, types.get(point, onnx.TensorProto.UINT8))
    elif name in _ALIKE and not _is_set(node, "channels_last"):
        _make(node, *_ALIKE[name])
    elif name in _PLAIN_NAME and not (name == "FusedMatMul" and _is_set(node, *_TURNS)):
        node.domain, node.op_type = "", _PLAIN_NAME[name]


def _is_set(node: Any, *names: str) -> bool:
    return any(attribute.name in names and attribute.i for attribute in node.attribute)


def _make_cast(onnx: Any, node: Any, kind: int) -> None:
    _make(node, "Cast", (0,))
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("to", kind))


def _make_product(onnx: Any, node: Any, types: dict[str, int]) -> Any:
    """Turn a product with a packed matrix into one with a plain matrix; gives what is known of that matrix."""
    numbers = {attribute.name: attribute.i for attribute in node.attribute}
    kind = types.get(node.input[2], onnx.TensorProto.FLOAT)  # of the scales
    name = f"{node.input[1]}_unpacked"
    matrix = onnx.helper.make_tensor_value_info(name, kind, [numbers.get("K", 0), numbers.get("N", 0)])
    _make(node, "MatMul", (0,))
    node.input.append(matrix.name)
    del node.attribute[:]
    return matrix


def _make(node: Any, name: str, inputs: tuple[int, ...]) -> None:
    kept = [node.input[i] for i in inputs if i < len(node.input)]
    node.domain, node.op_type = "", name
    del node.input[:]
    node.input.extend(kept)
    del node.output[1:]
