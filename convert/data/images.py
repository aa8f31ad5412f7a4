"""One image file, decoded and resized to what a model takes.

A module of its own, because the same must happen on the device: it moves to ``runtime`` when preprocessing becomes
data.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import DataError, first_line

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["ImageShape", "decode", "image_shape"]

_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShape:
    """How a model takes an image.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: 3 for red, green, blue; 1 for grey.
        layout: Whether the channels come last (TensorFlow) or first (ONNX from PyTorch).
    """

    height: int
    width: int
    channels: int
    layout: Literal["channels-last", "channels-first"]


def image_shape(spec: TensorSpec) -> ImageShape:
    """Read an input's shape as that of an image.

    Raises:
        DataError: It has not the four axes of a batch of images with one or three channels, or its size is free.
    """
    shape = spec.shape
    if len(shape) == 4 and shape[3] in _CHANNELS:
        height, width, channels = shape[1:]
        layout: Literal["channels-last", "channels-first"] = "channels-last"
    elif len(shape) == 4 and shape[1] in _CHANNELS:
        channels, height, width = shape[1:]
        layout = "channels-first"
    else:
        raise DataError(
            f"a folder of images was given, but the model's input {spec.name!r} has shape {list(shape)}",
            hint="images go into [n, height, width, 1 or 3] or [n, 1 or 3, height, width]; give an .npz otherwise",
        )
    if height is None or width is None or channels is None:
        raise DataError(
            f"the model's input {spec.name!r} takes images of any size, so it is open how to resize",
            hint="fix the height and width when exporting the model, or give an .npz",
        )
    return ImageShape(height=height, width=width, channels=channels, layout=layout)


def decode(path: Path, shape: ImageShape) -> NDArray[np.uint8]:
    """Read one image, stretched to the model's size by bilinear filtering.

    Returns:
        Raw 0..255 in the model's layout, without a batch axis.

    Raises:
        DataError: It can't be read as an image.
        MissingDependencyError: Pillow is not installed.
    """
    pillow = require("PIL.Image", needed_for="reading images")
    try:
        with warnings.catch_warnings():
            # A few kilobytes that unfold into gigabytes: an error, not a warning.
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(path) as image:
                grey_or_colour = image.convert("L" if shape.channels == 1 else "RGB")
                resized = grey_or_colour.resize((shape.width, shape.height), pillow.Resampling.BILINEAR)
    except Exception as error:  # Pillow's decoders raise whatever they please, SyntaxError included
        raise DataError(
            f"{path} can't be read as an image: {first_line(error)}", hint="mend the file, or move it out of the folder"
        ) from error
    pixels = np.asarray(resized, dtype=np.uint8).reshape(shape.height, shape.width, shape.channels)
    return pixels if shape.layout == "channels-last" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
