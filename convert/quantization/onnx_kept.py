"""Operators of an .onnx model that a plan keeps in float32 or in 16 bits, in the words of onnxruntime's quantizer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.quantizer import require_names

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.convert.calibration.ranges import Ranges
    from tinsmith.convert.quantization.plan import Kept, Plan

__all__ = ["name_kept", "wide_tensors"]

_ACTIVATIONS = frozenset({"Clip", "HardSwish", "LeakyRelu", "PRelu", "Relu", "Sigmoid", "Tanh"})
# Of onnxruntime's rules those whose output has the scale of the input.
_DIRECT = frozenset({"QDQDirect8BitOp", "QDQMaxPool", "QDQResize"})


def name_kept(model: Any, plan: Plan, source: Path) -> list[str]:
    """The names of the nodes that stay in float32; onnxruntime knows nodes by name, so each without one gets one.

    Args:
        model: A ``ModelProto``; changed in place.
        plan: Names operators by the first tensor that each computes, or by that of the activation that ends it.
        source: Where the model is from, for messages.

    Raises:
        RecipeError: The model has no operator of such a name.
    """
    require_names(plan, (node.output[0] for node in model.graph.node), source)
    kept = _whole(model, plan)
    floats = []
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}_{node.output[0]}"
        if kept.get(node.output[0]) == "float32":
            floats.append(str(node.name))
    return floats


def wide_tensors(model: Any, plan: Plan, ranges: Ranges) -> dict[str, list[dict[str, Any]]]:
    """Every activation that an operator kept in int16x8 reads or computes, with 16 bits for its type."""
    wide = require("onnxruntime.quantization", needed_for="quantizing an .onnx file").QuantType.QInt16
    kept = _whole(model, plan)
    nodes = [node for node in model.graph.node if kept.get(node.output[0]) == "int16x8"]
    read = {origin for node in nodes for name in node.input for origin in _origins(model, name)}
    names = {name for name in {*read, *(name for node in nodes for name in node.output)} if name in ranges}
    return {name: [{"quant_type": wide}] for name in sorted(names)}


def _whole(model: Any, plan: Plan) -> dict[str, Kept]:
    """What is kept, with the layer in front of each activation and bias: to an engine both are one operator."""
    makers = {output: node for node in model.graph.node for output in node.output}
    readers = Counter(name for node in model.graph.node for name in node.input)
    kept = dict(plan.kept)
    for name, precision in plan.kept.items():
        node = makers[name]
        while node.input and readers[node.input[0]] == 1 and _follows(node, makers.get(node.input[0])):
            node = makers[node.input[0]]
            kept.setdefault(node.output[0], precision)
    return kept


def _follows(node: Any, before: Any) -> bool:
    """Whether a node only ends what another one computes."""
    if before is None:
        return False
    return node.op_type in _ACTIVATIONS or (node.op_type == "Add" and before.op_type == "MatMul")


def _origins(model: Any, name: str) -> list[str]:
    """A tensor, and those before it that it only moves values of: onnxruntime gives them all the type of the first."""
    registry = require("onnxruntime.quantization.registry", needed_for="quantizing an .onnx file").QDQRegistry
    direct = {kind for kind, rule in registry.items() if rule.__name__ in _DIRECT}
    makers = {output: node for node in model.graph.node for output in node.output}
    found = [name]
    while name in makers and makers[name].op_type in direct:
        name = makers[name].input[0]
        found.append(name)
    return found
