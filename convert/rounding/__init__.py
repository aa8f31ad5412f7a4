"""Better rounding: the weights of a float model are put on the integer grid so that its answers move least.

What comes out is a float model still. Its weights lie on the grid that a quantizer finds, so that this rounds nothing
any more; the file that it makes is as large as any other.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.equalization.opening import opened
from tinsmith.convert.equalization.watching import watch
from tinsmith.convert.rounding.moments import Moments
from tinsmith.convert.rounding.second_order import added_error, nearest, round_together
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.equalization.graph import Layer
    from tinsmith.convert.equalization.opening import LayeredFile
    from tinsmith.convert.quantization.grid import Grid
    from tinsmith.convert.quantization.quantizer import Feeds

    Floats = NDArray[np.float64]

__all__ = ["Rounded", "exchange", "round_weights"]

# Of one output; a matrix of this many inputs by itself is kept for a layer, and inverted.
_MOST_INPUTS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """What better rounding did.

    Attributes:
        layers: Whose weights were rounded, by the name of the first tensor that each computes.
        skipped: Layers that the quantizer rounds as usual: they share weights, move in a way that is not known, or have
            too many inputs.
        left: The variance that rounding adds to the outputs, as a share of what rounding to the nearest adds; the mean
            over the layers, on the samples.
    """

    layers: tuple[str, ...]
    skipped: tuple[str, ...]
    left: float


def round_weights(source: Path, output: Path, samples: Iterable[Feeds], *, grid: Grid) -> Rounded:
    """Put the weights of every layer on the grid of one scale an output channel, with biases that keep its mean.

    Args:
        source: A float .tflite or .onnx file.
        output: The float file to write, whole or not at all.
        samples: As ``Quantizer.calibrate`` takes them; read once.
        grid: Of whole numbers: 127 steps for int8.

    Raises:
        ModelLoadError: The file can't be parsed.
        RecipeError: It is quantized already.
        DataError: There are no samples, or they do not fit the model.
        ModelError: The model can't be run, or becomes NaN or infinite.
        OutputError: The file can't be written.
    """
    with opened(source) as file:
        named = file.graph().layers
        layers = [layer for layer in named if _can_be_rounded(layer)]
        seen = _observed(file, source.suffix, layers, samples)
        found = [_rounded(layer, seen[layer.name], grid) for layer in layers]
        file.store(
            {layer.name: one.weights for layer, one in zip(layers, found, strict=True)},
            {layer.name: one.bias for layer, one in zip(layers, found, strict=True)},
        )
        write_bytes(output, file.content())
    return Rounded(
        layers=tuple(layer.name for layer in layers),
        skipped=tuple(layer.name for layer in named if layer not in layers),
        left=float(np.mean([one.left for one in found])) if found else 1.0,
    )


def exchange(rounded: Path, other: Path, output: Path, names: Collection[str]) -> None:
    """Write a rounded model in which some operators have the weights and biases of another file of the same model.

    Args:
        rounded: From ``round_weights``.
        other: What it was made from, or that on another grid.
        output: The float file to write, whole or not at all.
        names: Operators, by the first tensor that each computes, or by that of the activation that ends it.

    Raises:
        OutputError: The file can't be written.
    """
    with opened(other) as giving, opened(rounded) as file:
        graph = giving.graph()
        layers = [layer for layer in graph.layers if {layer.name, layer.given, graph.behind(layer)} & set(names)]
        file.store(
            {layer.name: layer.weights for layer in layers if not layer.shared},
            {layer.name: _bias_of(layer) for layer in layers if not layer.shared},
        )
        write_bytes(output, file.content())


def _bias_of(layer: Layer) -> NDArray[np.float32]:
    return np.zeros(layer.channels, np.float32) if layer.bias is None else layer.bias


@dataclass(frozen=True, slots=True, kw_only=True)
class _One:
    """A layer's new weights and bias, and the share of the error that is left."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    left: float


def _can_be_rounded(layer: Layer) -> bool:
    return layer.window is not None and not layer.shared and layer.weights.size <= _MOST_INPUTS * layer.channels


def _observed(
    file: LayeredFile, suffix: str, layers: Sequence[Layer], samples: Iterable[Feeds]
) -> Mapping[str, Moments]:
    """The moments of what each layer multiplies its weights with, by its name."""
    moments = {layer.name: Moments() for layer in layers}
    with tempfile.TemporaryDirectory(prefix="tinsmith-") as folder:
        plain = Path(folder) / f"float{suffix}"
        plain.write_bytes(file.content())
        for held in watch(plain, sorted({layer.taken for layer in layers}), samples):
            for layer in layers:
                if layer.taken in held:
                    _take(moments[layer.name], layer, held[layer.taken])
    return moments


def _take(moments: Moments, layer: Layer, values: NDArray[np.generic]) -> None:
    """Sample by sample: the rows of a convolution take as often the room of its input as its kernel has places."""
    assert layer.window is not None
    for one in np.array_split(values, len(values)):
        moments.add(layer.window.rows(one, layer.weights.shape, layer.groups))


def _rounded(layer: Layer, moments: Moments, grid: Grid) -> _One:
    assert layer.window is not None
    exact = layer.window.matrices(layer.weights, layer.groups)
    covariance = moments.covariance()
    rounded = round_together(exact, covariance, grid)
    plain = added_error(exact, nearest(exact, grid), covariance).sum()
    shift = ((exact - rounded) * moments.mean()[:, None, :]).sum(axis=-1).reshape(-1)
    return _One(
        weights=layer.window.weights(rounded, layer.weights.shape),
        bias=np.asarray(_bias_of(layer) + shift, np.float32),
        left=float(added_error(exact, rounded, covariance).sum() / plain) if plain > 0 else 1.0,
    )
