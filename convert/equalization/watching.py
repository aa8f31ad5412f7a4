"""What the tensors of a file hold while it runs, float or quantized, on either format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.calibration.feeding import Portions
from tinsmith.convert.frameworks import require
from tinsmith.convert.plain_interpreter import plain_interpreter
from tinsmith.runtime.engines.ort import OrtEngine
from tinsmith.runtime.engines.tflite import TfliteEngine
from tinsmith.runtime.errors import ModelError, UnsupportedOperatorError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.quantization.quantizer import Feeds

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]

__all__ = ["observe_reaches", "watch"]

_NEEDED_FOR = "watching tensors"
# What onnxruntime's quantizer makes of a tensor: the real numbers behind its rounding.
_RESTORED = "{}_DequantizeLinear_Output"


def observe_reaches(path: Path, axes: Mapping[str, int], samples: Iterable[Feeds]) -> dict[str, Floats]:
    """The largest magnitude of each channel of some tensors, streamed.

    Args:
        path: A .tflite or .onnx file.
        axes: The tensors, with the axis of their channels.
        samples: As ``Quantizer.calibrate`` takes them.

    Returns:
        For each tensor [channels].

    Raises:
        DataError: There are no samples, or they do not fit the model.
        ModelError: The model can't be run, or a tensor becomes NaN or infinite.
    """
    reaches: dict[str, Floats] = {}
    for held in watch(path, list(axes), samples):
        for name, values in held.items():
            others = tuple(n for n in range(values.ndim) if n != axes[name] % values.ndim)
            reach = np.abs(values).max(axis=others).astype(np.float64)
            reaches[name] = np.maximum(reaches.get(name, reach), reach)
    for name, reach in reaches.items():
        if not np.isfinite(reach).all():
            raise ModelError(f"tensor {name!r} becomes NaN or infinite on the samples, so its channels have no range")
    return reaches


def watch(path: Path, names: Sequence[str], samples: Iterable[Feeds]) -> Iterator[dict[str, Array]]:
    """Run a file, and give what some of its tensors held, portion by portion, as real numbers.

    Tensors that the file does not have are left out.

    Raises:
        DataError: There are no samples, or they do not fit the model.
        ModelError: The model can't be run.
    """
    run = _tflite(path, names) if path.suffix == ".tflite" else _onnx(path, names)
    yield from run(samples)


def _tflite(path: Path, names: Sequence[str]) -> Any:
    try:
        interpreter = plain_interpreter(path, needed_for=_NEEDED_FOR)
    except (RuntimeError, ValueError) as error:
        raise UnsupportedOperatorError(f"LiteRT can't run {path.name}: {first_line(error)}") from error
    engine = TfliteEngine(interpreter, name="litert", version="", accelerator="cpu")
    wanted = {d["name"]: d for d in interpreter.get_tensor_details() if d["name"] in set(names)}

    def run(samples: Iterable[Feeds]) -> Iterator[dict[str, Array]]:
        portions = Portions(samples, engine.inputs)
        for portion in portions:
            interpreter.reset_all_variables()
            engine.run([portion.feeds[spec.name] for spec in engine.inputs])
            held = {name: _real(interpreter.get_tensor(d["index"]), d) for name, d in wanted.items()}
            portions.fit(portion, sum(array.nbytes for array in held.values()))
            yield held

    return run


def _real(stored: Array, detail: Mapping[str, Any]) -> Array:
    quantization = detail["quantization_parameters"]
    if not len(quantization["scales"]):
        return stored
    real = (stored.astype(np.float32) - quantization["zero_points"][0]) * quantization["scales"][0]
    return np.asarray(real, np.float32)


def _onnx(path: Path, names: Sequence[str]) -> Any:
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    onnxruntime = require("onnxruntime", needed_for=_NEEDED_FOR)
    model = onnx.load(str(path))
    made = {name for node in model.graph.node for name in node.output}
    sources = {name: restored if (restored := _RESTORED.format(name)) in made else name for name in names}
    wanted = {name: source for name, source in sources.items() if source in made}
    outputs = {entry.name for entry in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=source) for source in wanted.values() if source not in outputs)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise UnsupportedOperatorError(f"onnxruntime can't run {path.name}: {first_line(error)}") from error
    engine = OrtEngine(session, version="", accelerator="cpu")
    places = {name: [spec.name for spec in engine.outputs].index(source) for name, source in wanted.items()}
    fed = [spec.name for spec in engine.inputs if spec.name in set(names)]

    def run(samples: Iterable[Feeds]) -> Iterator[dict[str, Array]]:
        portions = Portions(samples, engine.inputs)
        for portion in portions:
            answers = engine.run([portion.feeds[spec.name] for spec in engine.inputs])
            portions.fit(portion, sum(array.nbytes for array in answers))
            yield {**{name: portion.feeds[name] for name in fed}, **{n: answers[at] for n, at in places.items()}}

    return run
