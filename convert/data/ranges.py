"""Which values samples have, and which a model was made for."""

from __future__ import annotations

import contextlib
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from tinsmith.convert.data.source import Feeds
    from tinsmith.convert.model import Model
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["InputFacts", "Survey", "ValueRange", "expected_range", "mismatch"]

_APART = 16  # 0..255 against 0..1 is 255, against -1..1 as well; honest data of one kind differ by less
_MOST_CONFIG_BYTES = 64 << 20
_MOST_SHAPES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRange:
    """The values that a model was made for.

    Attributes:
        low: The smallest.
        high: The largest.
        origin: What says so.
    """

    low: float
    high: float
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """What the samples of one input hold.

    Attributes:
        name: Of the input.
        dtypes: numpy's names.
        shapes: Without the batch axis; the first five that differ.
        low: The smallest value; None for text.
        high: The largest value; None for text.
    """

    name: str
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    low: float | None
    high: float | None


class Survey:
    """Gathers the facts of samples one by one, in constant memory."""

    def __init__(self) -> None:
        self._dtypes: dict[str, dict[str, None]] = {}
        self._shapes: dict[str, dict[tuple[int, ...], None]] = {}
        self._lows: dict[str, float] = {}
        self._highs: dict[str, float] = {}

    def add(self, sample: Feeds) -> None:
        """Look at one sample, without a batch axis."""
        for name, array in sample.items():
            self._dtypes.setdefault(name, {})["text" if array.dtype.kind == "U" else array.dtype.name] = None
            shapes = self._shapes.setdefault(name, {})
            if len(shapes) < _MOST_SHAPES:
                shapes[array.shape] = None
            if array.dtype.kind in "fiub" and array.size:
                self._lows[name] = min(self._lows.get(name, np.inf), float(array.min()))
                self._highs[name] = max(self._highs.get(name, -np.inf), float(array.max()))

    @property
    def inputs(self) -> tuple[InputFacts, ...]:
        """What was seen, input by input."""
        return tuple(
            InputFacts(
                name=name,
                dtypes=tuple(self._dtypes[name]),
                shapes=tuple(self._shapes[name]),
                low=self._lows.get(name),
                high=self._highs.get(name),
            )
            for name in self._dtypes
        )


def expected_range(inputs: tuple[TensorSpec, ...], model: Model | None = None) -> ValueRange | None:
    """Find out from a model which values it was made for.

    Args:
        inputs: What it takes.
        model: Its file, where a first ``Rescaling`` layer is to be looked for.

    Returns:
        None where nothing says so, or where it has several inputs.
    """
    if len(inputs) != 1:
        return None
    return _of_quantization(inputs[0]) or (None if model is None else _of_rescaling(model))


def mismatch(found: InputFacts, expected: ValueRange) -> str:
    """What is wrong with the values of an input; empty where nothing is."""
    if found.low is None or found.high is None:
        return ""
    have = max(abs(found.low), abs(found.high))
    want = max(abs(expected.low), abs(expected.high))
    if not have or not want or 1 / _APART <= have / want <= _APART:
        return ""
    return (
        f"the values of {found.name} lie within {found.low:g} to {found.high:g}, but the model takes "
        f"{expected.low:g} to {expected.high:g} ({expected.origin}): name a scale operation in a data.yaml"
    )


def _of_quantization(spec: TensorSpec) -> ValueRange | None:
    quantization = spec.quantization
    if quantization is None or len(quantization.scale) != 1 or np.dtype(spec.dtype).kind not in "iu":
        return None
    limits = np.iinfo(spec.dtype)
    scale, zero_point = quantization.scale[0], quantization.zero_point[0]
    return ValueRange(
        low=scale * (int(limits.min) - zero_point),
        high=scale * (int(limits.max) - zero_point),
        origin=f"its input has scale {scale:g} and zero point {zero_point}",
    )


def _of_rescaling(model: Model) -> ValueRange | None:
    """What a first layer brings to 0..1 or -1..1."""
    layer = _first_layer(_config(model))
    if not layer or layer.get("class_name") != "Rescaling":
        return None
    with contextlib.suppress(KeyError, TypeError, ValueError):
        scale = float(np.max(layer["config"]["scale"]))
        offset = float(np.min(layer["config"].get("offset", 0.0)))
        if scale > 0:
            return ValueRange(
                low=(0.0 if offset == 0 else -1 - offset) / scale,
                high=(1 - offset) / scale,
                origin=f"its first layer is Rescaling({scale:.4g}, {offset:g})",
            )
    return None


def _config(model: Model) -> Any:
    """What a Keras file says of its layers; None for other formats and damaged files."""
    with contextlib.suppress(Exception):  # whoever loads the model says what is wrong with it
        if model.format == "keras":
            with zipfile.ZipFile(model.path) as archive:
                fits = archive.getinfo("config.json").file_size < _MOST_CONFIG_BYTES
                return json.loads(archive.read("config.json")) if fits else None
        if model.format == "hdf5":
            h5py = require("h5py", needed_for="reading a Keras model")
            with h5py.File(model.path, "r") as file:
                return json.loads(file.attrs["model_config"])
    return None


def _first_layer(config: Any) -> Any:
    """The first layer that changes values: inputs and random augmentation do not, and nested models are entered."""
    layers = config["config"].get("layers") if isinstance(config, dict) and "config" in config else None
    for layer in layers or []:
        name = str(layer.get("class_name"))
        if name == "InputLayer" or name.startswith("Random"):
            continue
        return _first_layer(layer) if "layers" in layer.get("config", {}) else layer
    return None
