"""What a layer reads at each place, as rows of a matrix, a bounded number of them at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["row_pairs"]

_NEEDED_FOR = "refitting weights"
# Of the larger matrix of a pair; all windows of one 3x3x64 layer on 64 images of 224x224 would be 15 GB.
_LARGEST_BYTES = 64 * 2**20
_FLOAT64_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class _Window:
    """How a layer goes over an image; each pair is along the height and the width.

    Attributes:
        size: Of the kernel.
        strides: From one place to the next.
        dilation: From one element to the next.
        padding: ``valid``, ``same`` or ``causal``.
    """

    size: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: str

    @classmethod
    def of(cls, layer: Any) -> _Window:
        """Of a dense layer, or a convolution over one or two axes; sequences lie along the height."""
        if type(layer).__name__ == "Dense":
            return cls(size=(1, 1), strides=(1, 1), dilation=(1, 1), padding="valid")
        size, strides, dilation = (
            (*pair, 1)[:2] for pair in (layer.kernel_size, layer.strides, layer.dilation_rate)
        )  # fmt: skip
        return cls(size=size, strides=strides, dilation=dilation, padding=layer.padding)

    def reach(self, axis: int) -> int:
        """How much of an axis is read at one place."""
        return (self.size[axis] - 1) * self.dilation[axis] + 1

    def places(self, image: Any, axis: int) -> int:
        """How many there are along an axis of a padded image."""
        return (int(image.shape[1 + axis]) - self.reach(axis)) // self.strides[axis] + 1

    def padded(self, image: Any) -> Any:
        """The image with the zeros that the layer would see around it."""
        tf = require("tensorflow", needed_for=_NEEDED_FOR)
        around = [self._around(int(image.shape[1 + axis]), axis) for axis in (0, 1)]
        return tf.pad(image, [(0, 0), *around, (0, 0)])

    def _around(self, length: int, axis: int) -> tuple[int, int]:
        if self.padding == "causal":
            return self.reach(axis) - 1, 0
        if self.padding == "valid":
            return 0, 0
        stride = self.strides[axis]
        missing = max((math.ceil(length / stride) - 1) * stride + self.reach(axis) - length, 0)
        return missing // 2, missing - missing // 2

    def rows(self, image: Any, first: int, count: int) -> Matrix:
        """What is read at some of the places along the height, as [places, window * channels]."""
        tf = require("tensorflow", needed_for=_NEEDED_FOR)
        start = first * self.strides[0]
        band = image[:, start : start + (count - 1) * self.strides[0] + self.reach(0)]
        size, strides, dilation = ((1, *pair, 1) for pair in (self.size, self.strides, self.dilation))
        patches = tf.image.extract_patches(tf.cast(band, tf.float64), size, strides, dilation, "VALID")
        found: Matrix = patches.numpy().reshape(-1, patches.shape[-1])
        return found


def row_pairs(layer: Any, wide: Any, narrow: Any) -> Iterator[tuple[Matrix, Matrix]]:
    """What a layer reads before and after channels went, at the same places of the same samples.

    Args:
        layer: ``Dense``, ``Conv1D`` or ``Conv2D`` in one group; how it goes over the image is what counts.
        wide: What goes into it, with all channels: [n, ..., channels].
        narrow: The same with fewer channels.

    Yields:
        Two matrices of [places, window * channels]; the larger one has 64 MB, or one line of places of one sample.
    """
    window = _Window.of(layer)
    images = [window.padded(_image(layer, taken)) for taken in (wide, narrow)]
    height, width = (window.places(images[0], axis) for axis in (0, 1))
    line_bytes = _FLOAT64_BYTES * width * math.prod(window.size) * max(int(image.shape[-1]) for image in images)
    lines = max(1, _LARGEST_BYTES // max(line_bytes, 1))
    samples = max(1, lines // max(height, 1))
    for at in range(0, int(images[0].shape[0]), samples):
        one, other = (image[at : at + samples] for image in images)
        for first in range(0, height, lines):
            count = min(lines, height - first)
            yield window.rows(one, first, count), window.rows(other, first, count)


def _image(layer: Any, taken: Any) -> Any:
    """As [n, height, width, channels]; a dense layer sees many images of one place."""
    tf = require("tensorflow", needed_for=_NEEDED_FOR)
    if type(layer).__name__ == "Dense":
        return tf.reshape(taken, [-1, 1, 1, taken.shape[-1]])
    return taken if len(taken.shape) == 4 else taken[:, :, None]
