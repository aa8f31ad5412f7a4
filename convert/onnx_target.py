"""Trained model or .tflite to ONNX, by tf2onnx."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import traced_function
from tinsmith.runtime.errors import ModelLoadError, UnsupportedOperatorError, first_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tinsmith.convert.trained import TrainedModel

__all__ = ["OPSET", "tflite_to_onnx", "trained_to_onnx"]

# The newest that tf2onnx 1.17 writes; onnxruntime reads it since 1.14.
OPSET = 18


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
    content: bytes = proto.SerializeToString()
    return content


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
    _rename(proto.graph, _signature_names(path))
    content: bytes = proto.SerializeToString()
    return content


def _tf2onnx() -> Any:
    tf2onnx = require("tf2onnx", needed_for="ONNX out")
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    require("tf2onnx.convert", needed_for="ONNX out")
    return tf2onnx


def _signature_names(path: Path) -> dict[str, str]:
    """Signature names by tensor name, where the file has one signature."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return {}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    named = {**runner.get_input_details(), **runner.get_output_details()}
    return {str(detail["name"]): name for name, detail in named.items()}


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give inputs and outputs other names, where these are not taken by an inner tensor."""
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    names = {old: new for old, new in names.items() if old == new or new not in taken}
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for ends in (node.input, node.output):
            for position, name in enumerate(ends):
                ends[position] = names.get(name, name)
