"""Shows an observer the tensors of a float .onnx file while it runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tinsmith.convert.calibration.feeding import Portions
from tinsmith.convert.calibration.observer import Observer
from tinsmith.convert.frameworks import require
from tinsmith.runtime.engines.ort import open_engine

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.convert.calibration.methods import Detail
    from tinsmith.convert.calibration.statistics import Seen

__all__ = ["observe_onnx"]

logger = logging.getLogger(__name__)

_NEEDED_FOR = "quantizing an .onnx file"


def observe_onnx(
    prepared: Path,
    operators: Collection[str],
    samples: Iterable[Mapping[str, NDArray[np.generic]]],
    detail: Detail,
) -> tuple[int, Mapping[str, Seen]]:
    """Run a float .onnx file on samples, and keep statistics of the tensors that can be quantized.

    Every tensor leaves the graph and is looked at here. Reductions inside the graph, as onnxruntime's calibrator makes
    them, take twice the time: they are slower than numpy's, and its optimizations are off.

    Args:
        prepared: The file as the quantizer will take it. What runs is written beside it.
        operators: Whose inputs and outputs are observed.
        samples: Batches, one array an input name, samples on axis 0; read once.
        detail: What to keep of each tensor.

    Returns:
        How many samples there were, and the tensors by name.

    Raises:
        DataError: There are no samples, or they do not fit the model.
        ModelError: The model can't be run, a tensor becomes NaN or infinite, or is never reached.
    """
    loading = require("onnxruntime.quantization.quant_utils", needed_for=_NEEDED_FOR)
    model = loading.load_model_with_shape_infer(prepared)
    watched = list(dict.fromkeys(_watched(model.graph, operators)))
    _say_what_stays_float(model.graph)
    observing = prepared.with_name("observing.onnx")
    _save_with_outputs(model, watched, observing)
    engine = open_engine(observing, accelerator="cpu", threads=0)
    observer, portions = Observer(detail), Portions(samples, engine.inputs)
    outputs = [spec.name for spec in engine.outputs]
    for portion in portions:
        values = engine.run([portion.feeds[spec.name] for spec in engine.inputs])
        there = {**portion.feeds, **dict(zip(outputs, values, strict=True))}
        for name in watched:
            observer.observe(name, there[name], portion)
        portions.fit(portion, sum(array.nbytes for array in there.values()))
    return portions.samples, observer.seen(watched, inputs=[spec.name for spec in engine.inputs])


def _watched(graph: Any, operators: Collection[str]) -> Iterator[str]:
    """In the order of the graph, so that the first one that goes wrong is where it went wrong."""
    floats = require("onnx", needed_for=_NEEDED_FOR).TensorProto.FLOAT
    known = [*graph.value_info, *graph.output, *graph.input]
    real = {entry.name for entry in known if entry.type.tensor_type.elem_type == floats}
    stored = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in operators:
            yield from (name for name in (*node.input, *node.output) if name in real and name not in stored)


def _say_what_stays_float(graph: Any) -> None:
    """Quantizers leave the bodies of branches and loops alone, and so there is nothing to observe in them."""
    for node in graph.node:
        inside = sum(len(attribute.g.node) for attribute in node.attribute)
        if inside:
            logger.warning("%s %s: the %d operators inside stay float", node.op_type, node.name, inside)


def _save_with_outputs(model: Any, watched: list[str], path: Path) -> None:
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    graph = model.graph
    ends = {entry.name for entry in (*graph.output, *graph.input)}
    for name in watched:
        if name not in ends:
            graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    onnx.save(model, str(path))
