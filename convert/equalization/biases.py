"""Bias correction: what quantization adds to a channel on average is taken off its bias."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.equalization.opening import opened
from tinsmith.convert.equalization.watching import watch
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from tinsmith.convert.equalization.graph import Layer
    from tinsmith.convert.quantization.quantizer import Feeds

    Floats = NDArray[np.float64]

__all__ = ["Corrected", "correct_biases"]

# Where fewer of a channel's values lie behind the bend of its activation, a shift of the bias says too little.
_LEAST_ALIVE = 0.05
_LEAST_DEVIATION = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """What bias correction did.

    Attributes:
        layers: Whose biases were looked at, by the name of the first tensor that each computes.
        before: Mean over the layers of the size of the mean error of their channels, as a share of the float values'
            deviation.
        after: The same with the new biases; where it would not be smaller, the copy equals the source.
    """

    layers: tuple[str, ...]
    before: float
    after: float


def correct_biases(
    source: Path,
    output: Path,
    quantize: Callable[[Path, Path], object],
    samples: Callable[[], Iterable[Feeds]],
) -> Corrected:
    """Shift the biases of a float model so that its quantized form is right on average, channel by channel.

    Nagel et al. 2019 (arXiv:1906.04721, section 4.2 and appendix D), on samples. One layer after the other, in the
    order in which they run: all at once, each would take off what those before it have taken off already (seen on
    MobileNetV1: the errors grow from 0.25 to 0.89 of the deviation).

    Args:
        source: A float .tflite or .onnx file.
        output: The float file to write, whole or not at all; to be quantized in the same way.
        quantize: Writes the second path from the first; the same plan and ranges at each call. Called once a layer.
        samples: Gives the calibration samples from the start; called twice, and once more a layer.

    Raises:
        ModelLoadError: The file can't be parsed.
        RecipeError: It is quantized already.
        DataError: There are no samples, or they do not fit the model.
        ModelError: The float or the quantized model can't be run.
        OutputError: The file can't be written.
    """
    with opened(source) as file, tempfile.TemporaryDirectory(prefix="tinsmith-") as folder:
        plain, small = (Path(folder) / f"{name}{source.suffix}" for name in ("float", "small"))
        plain.write_bytes(file.content())
        graph = file.graph()
        layers = [layer for layer in graph.layers if not layer.shared]
        tensors = {name: layer.axis for layer in layers for name in (layer.given, graph.behind(layer))}
        wanted = _means(plain, tensors, samples())
        quantize(plain, small)
        got = _means(small, tensors, samples())
        # A quantizer may do an activation's work with the range of its output, and leave no tensor before it.
        seen = {layer: name for layer in layers for name in (graph.behind(layer), layer.given) if name in got}
        before = _error(wanted, got, seen.values())
        for layer, name in seen.items():
            (found,) = _means(small, {name: layer.axis}, samples()).values()
            file.store({}, {layer.name: _shifted(layer, wanted[name], found)})
            plain.write_bytes(file.content())
            quantize(plain, small)
        after = _error(wanted, _means(small, tensors, samples()), seen.values())
        write_bytes(output, plain.read_bytes() if after < before else source.read_bytes())
    return Corrected(layers=tuple(layer.name for layer in seen), before=before, after=min(after, before))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mean:
    """Of one tensor, by channel: mean value, deviation, and the share of values that its activation lets through."""

    value: Floats
    deviation: Floats
    alive: Floats


def _means(path: Path, axes: Mapping[str, int], samples: Iterable[Feeds]) -> dict[str, _Mean]:
    sums: dict[str, Floats] = {}
    for held in watch(path, list(axes), samples):
        for name, values in held.items():
            found = _sums(np.moveaxis(values, axes[name], -1).reshape(-1, values.shape[axes[name]]))
            sums[name] = sums.get(name, 0.0) + found
    return {name: _mean(found) for name, found in sums.items()}


def _sums(rows: NDArray[np.generic]) -> Floats:
    """Of values [n, channels]: their number, sum, sum of squares and how many lie inside the activation's range."""
    values = rows.astype(np.float64)
    count = np.full(values.shape[1], float(len(values)))
    return np.stack([count, values.sum(axis=0), (values**2).sum(axis=0), (values != 0).sum(axis=0)])


def _mean(sums: Floats) -> _Mean:
    count, total, squares, alive = sums
    value = total / count
    return _Mean(value=value, deviation=np.sqrt(np.maximum(squares / count - value**2, 0)), alive=alive / count)


def _error(wanted: Mapping[str, _Mean], got: Mapping[str, _Mean], names: Iterable[str]) -> float:
    shares = [
        np.abs(got[name].value - wanted[name].value).mean()
        / max(float(wanted[name].deviation.mean()), _LEAST_DEVIATION)
        for name in names
    ]
    return float(np.mean(shares)) if shares else 0.0


def _shifted(layer: Layer, wanted: _Mean, got: _Mean) -> NDArray[np.float32]:
    """The new bias; it moves the mean behind an activation by the share of the values that this lets through."""
    shift = np.where(
        wanted.alive >= _LEAST_ALIVE, (got.value - wanted.value) / np.maximum(wanted.alive, _LEAST_ALIVE), 0
    )
    return np.asarray((np.zeros(layer.channels) if layer.bias is None else layer.bias) - shift, np.float32)
