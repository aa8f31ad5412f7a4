"""How a layer moves over its input: what turns it into one matrix product for each of its groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Window"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The geometry of a convolution over two axes, or of a dense layer, which has none.

    Attributes:
        order: Axes of the weights, as [outputs, ...kernel, inputs of one group].
        strides: Along the axes of the kernel; empty for dense layers.
        dilations: The same.
        padding: Zeros before and after, along the axes of the kernel; ``same`` for as many as give one output a stride,
            the odd one behind.
        channels_last: Whether the input is [n, ...space, channels] or [n, channels, ...space].
    """

    order: tuple[int, ...]
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] | Literal["same"] = ()
    channels_last: bool = True

    def matrices(self, weights: NDArray[np.generic], groups: int) -> NDArray[np.float64]:
        """Weights as [groups, outputs of one, kernel positions times inputs of one]."""
        ordered = weights.transpose(self.order)
        return ordered.reshape(groups, len(ordered) // groups, -1).astype(np.float64)

    def weights(self, matrices: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The way back from ``matrices`` to weights of a shape."""
        ordered = matrices.reshape([shape[axis] for axis in self.order])
        return np.ascontiguousarray(ordered.transpose(np.argsort(self.order)), np.float32)

    def rows(self, values: NDArray[np.generic], shape: tuple[int, ...], groups: int) -> NDArray[np.float32]:
        """What the matrices are multiplied with.

        Args:
            values: The layer's input.
            shape: Of its weights.
            groups: Of its channels.

        Returns:
            [groups, rows, kernel positions times inputs of one group].
        """
        if not self.strides:
            return np.asarray(values, np.float32).reshape(groups, -1, shape[self.order[-1]])
        last = values if self.channels_last else np.moveaxis(values, 1, -1)
        kernel = tuple(shape[axis] for axis in self.order[1:-1])
        spans = tuple((length - 1) * by + 1 for length, by in zip(kernel, self.dilations, strict=True))
        padded = np.pad(last, ((0, 0), *self._padded(last.shape[1:-1], spans), (0, 0)))
        views = np.lib.stride_tricks.sliding_window_view(padded, spans, (1, 2))
        (down, right), (lower, wider) = self.strides, self.dilations
        seen = views[:, ::down, ::right, :, ::lower, ::wider]
        n, high, wide, channels = seen.shape[:4]
        grouped = seen.reshape(n, high, wide, groups, channels // groups, *kernel).transpose(3, 0, 1, 2, 5, 6, 4)
        return np.ascontiguousarray(grouped, np.float32).reshape(groups, n * high * wide, -1)

    def _padded(self, lengths: tuple[int, ...], spans: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        if self.padding != "same":
            return self.padding
        lacking = [
            max(0, (-(-length // stride) - 1) * stride + span - length)
            for length, span, stride in zip(lengths, spans, self.strides, strict=True)
        ]
        return tuple((count // 2, count - count // 2) for count in lacking)
