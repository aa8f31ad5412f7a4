"""Trained model or .tflite to ONNX, by tf2onnx."""

from __future__ import annotations

import logging
import re
import warnings
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import traced_function
from tinsmith.runtime.errors import ModelLoadError, UnsupportedOperatorError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tinsmith.convert.trained import TrainedModel

__all__ = ["OPSET", "tflite_to_onnx", "trained_to_onnx"]

# The newest that tf2onnx 1.17 writes; onnxruntime reads it since 1.14.
OPSET = 18

# TensorProto.DataType
_FLOAT = 1
_INTEGER_TYPES = (2, 3, 5)  # uint8, int8, int16

_GENERATED = re.compile(r"__\d+(|:\d+)$")


def trained_to_onnx(trained: TrainedModel, *, batch: int | None) -> bytes:
    """Convert to a float32 .onnx with the model's own input and output names.

    Args:
        trained: From ``load_trained``.
        batch: Fixes the batch axis at this length; None leaves it free.

    Raises:
        UnsupportedOperatorError: ONNX has no operator for something that the model does.
    """
    tf2onnx = _tf2onnx()
    concrete = traced_function(trained, batch=batch)
    sources, answers = _graph_names(trained, concrete)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = tf2onnx.tf_loader.from_function(concrete, list(sources), list(answers))
            proto, _ = tf2onnx.convert.from_graph_def(
                graph,
                name=trained.framework,
                input_names=list(sources),
                output_names=list(answers),
                opset=OPSET,
                tensors_to_rename={**sources, **answers},
            )
    except Exception as error:  # tf2onnx's errors share no base
        raise UnsupportedOperatorError(
            f"tf2onnx can't convert the model: {first_line(error)[:300]}",
            hint="replace the layer that it names, or convert to .tflite instead",
        ) from error
    return _same_bytes(proto)


def _graph_names(trained: TrainedModel, concrete: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The traced graph's names of inputs and outputs, with the model's own names; captured tensors are no inputs."""
    captured = {id(tensor) for _, tensor in concrete.graph.captures}
    sources = {tensor.name: tensor.name.split(":")[0] for tensor in concrete.inputs if id(tensor) not in captured}
    answers = {concrete.structured_outputs[spec.name].name: spec.name for spec in trained.outputs}
    return sources, answers


def tflite_to_onnx(path: Path) -> bytes:
    """Convert a .tflite file, float or quantized; quantized tensors become QuantizeLinear and DequantizeLinear.

    Raises:
        ModelLoadError: The file is damaged.
        UnsupportedOperatorError: ONNX has no operator for something that the model does.
    """
    tf2onnx = _tf2onnx()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proto, _ = tf2onnx.convert.from_tflite(str(path), opset=OPSET)
    except (ValueError, RuntimeError, NotImplementedError, KeyError, AssertionError) as error:
        raise UnsupportedOperatorError(
            f"tf2onnx can't convert {path}: {first_line(error)[:300]}", hint="start from the trained model instead"
        ) from error
    except Exception as error:  # a damaged flatbuffer raises anything
        raise ModelLoadError(f"{path} can't be read by tf2onnx: {first_line(error)[:300]}") from error
    details = _signature_details(path)
    taken = {name for node in _nodes(proto.graph) for name in (*node.input, *node.output)}
    names = {str(detail["name"]): name for name, detail in details.items()}
    _rename(proto.graph, {old: new for old, new in names.items() if old == new or new not in taken})
    _take_real_numbers(proto.graph, details)
    return _same_bytes(proto)


def _tf2onnx() -> Any:
    tf2onnx = require("tf2onnx", needed_for="ONNX out")
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    require("tf2onnx.convert", needed_for="ONNX out")
    # Its generated names count on through the process; from one on, the same model gives the same bytes.
    tf2onnx.utils.INTERNAL_NAME = 1
    return tf2onnx


def _signature_details(path: Path) -> dict[str, Any]:
    """What LiteRT says of inputs and outputs, by signature name, or by tensor name where there is no one signature."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
        return {str(detail["name"]): detail for detail in ends}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    return {**runner.get_input_details(), **runner.get_output_details()}


def _take_real_numbers(graph: Any, details: Mapping[str, Any]) -> None:
    """Put Q/DQ at integer inputs and outputs: ONNX keeps no scale beside them, so nobody could feed them."""
    helper = require("onnx", needed_for="ONNX out").helper
    for value in (*graph.input, *graph.output):
        scale, point = details[value.name]["quantization"] if value.name in details else (0.0, 0)
        if not scale or value.type.tensor_type.elem_type not in _INTEGER_TYPES:
            continue
        stored, name = f"{value.name}_stored", value.name
        kind = value.type.tensor_type.elem_type
        constants = [f"{name}_scale", f"{name}_zero_point"]
        graph.initializer.append(helper.make_tensor(constants[0], _FLOAT, [], [scale]))
        graph.initializer.append(helper.make_tensor(constants[1], kind, [], [point]))
        is_input = any(value is entry for entry in graph.input)
        _rename_inside(graph, name, stored)
        if is_input:
            graph.node.insert(0, helper.make_node("QuantizeLinear", [name, *constants], [stored], name=stored))
        else:
            graph.node.append(helper.make_node("DequantizeLinear", [stored, *constants], [name], name=stored))
        value.type.tensor_type.elem_type = _FLOAT


def _rename_inside(graph: Any, old: str, new: str) -> None:
    """Rename a tensor where nodes read or write it, and leave the graph's own input or output as it is."""
    for node in _nodes(graph):
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give tensors other names, wherever they are read or written."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _bodies(node):
            _rename(inner, names)


def _same_bytes(proto: Any) -> bytes:
    """Serialize the model so that the same model gives the same bytes.

    tf2onnx walks sets while it sorts nodes, merges equal ones and counts generated names, so all three change from
    process to process. Here nodes stand in the order in which the outputs need them, equal constants become one in the
    order of their first use, and generated names are made of the operator and counted anew.
    """
    graph = proto.graph
    for body in (graph, *(inner for node in _nodes(graph) for inner in _bodies(node))):
        _sort(body)
    names, kept = _merged_constants(graph)
    for number, node in enumerate(_nodes(graph)):
        if _GENERATED.search(node.name):
            node.name = f"{node.op_type}__{number}"
        for position, name in enumerate(node.output):
            if _GENERATED.search(name):
                names[name] = f"{node.op_type}__{number}:{position}"
    _rename(graph, names)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _sort(graph: Any) -> None:
    """Put nodes in the order of a depth-first walk from the outputs, each behind all that it reads."""
    makers = {name: node for node in graph.node for name in node.output}
    placed: dict[int, Any] = {}
    waiting = [makers[value.name] for value in reversed(graph.output) if value.name in makers]
    while waiting:
        node = waiting[-1]
        needed = [makers[name] for name in _reads(node) if name in makers]
        missing = [other for other in needed if id(other) not in placed and other is not node]
        if missing:
            waiting += reversed(missing)
            continue
        waiting.pop()
        placed.setdefault(id(node), node)
    ordered = [type(node).FromString(node.SerializeToString()) for node in placed.values()]
    del graph.node[:]
    graph.node.extend(ordered)


def _reads(node: Any) -> Iterator[str]:
    """Names that a node reads, also those that only its loops and branches do."""
    yield from node.input
    for inner in _bodies(node):
        yield from _read_in_order(inner)


def _merged_constants(graph: Any) -> tuple[dict[str, str], list[Any]]:
    """New names of all constants that are used, and each different one once, under its new name."""
    constants = {constant.name: constant for constant in graph.initializer}
    first: dict[tuple[Any, ...], str] = {}
    names: dict[str, str] = {}
    kept = []
    for name in dict.fromkeys(_read_in_order(graph)):
        if name not in constants:
            continue
        constant = constants[name]
        content = (constant.data_type, tuple(constant.dims), _stored_bytes(constant))
        if content not in first:
            first[content] = f"const__{len(first)}" if _GENERATED.search(name) else name
            constant.name = first[content]
            kept.append(constant)
        names[name] = first[content]
    return names, kept


def _stored_bytes(constant: Any) -> bytes:
    onnx = require("onnx", needed_for="ONNX out")
    stored: bytes = onnx.numpy_helper.to_array(constant).tobytes()
    return stored


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes in order, those inside loops and branches behind the one that holds them."""
    for node in graph.node:
        yield node
        for inner in _bodies(node):
            yield from _nodes(inner)


def _read_in_order(graph: Any) -> Iterator[str]:
    """Names of all tensors that are read, and of all outputs."""
    for node in graph.node:
        yield from node.input
        for inner in _bodies(node):
            yield from _read_in_order(inner)
    yield from (value.name for value in graph.output)


def _bodies(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
