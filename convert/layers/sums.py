"""Running sums over the values of one tensor: constant memory, and the same in whatever portions samples come."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.convert.layers.wiring import Grid

    Array = NDArray[np.generic]
    Reals = NDArray[np.floating]

__all__ = ["Channels", "Power", "TensorSums", "decibels"]

_BINS = 256
_MOST = 0.999
# A channel is dead where its values never change, or are nothing beside the others: its relative error means nothing.
_CONSTANT, _NOTHING = 1e-12, 1e-18
_LOST = 0.1
_TINY = 1e-300


def decibels(signal: float, noise: float) -> float | None:
    """10 log10(signal / noise) of two powers; None where there is no noise."""
    return 10 * math.log10(max(signal, _TINY) / noise) if noise else None


class Power:
    """The powers of a signal and of what was added to it."""

    def __init__(self) -> None:
        self.signal = 0.0
        self.noise = 0.0
        self.count = 0

    def add(self, signal: Reals, error: Reals) -> None:
        """Take in one portion; both of the same shape."""
        self.signal += _sum_of_squares(signal)
        self.noise += _sum_of_squares(error)
        self.count += signal.size

    @property
    def decibels(self) -> float | None:
        """Signal over noise; None where there is no noise."""
        return decibels(self.signal, self.noise)

    @property
    def mean_noise(self) -> float:
        """Mean squared error."""
        return self.noise / max(1, self.count)


class Channels:
    """Signal, noise and reach of each channel, for as long as there are as many of them."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._count = 0
        self._sums: NDArray[np.float64] | None = None
        self.reach: NDArray[np.float64] = np.zeros(0)

    def add(self, signal: Reals, error: Reals) -> None:
        """Take in one portion."""
        axes = tuple(n for n in range(signal.ndim) if n != self._axis % signal.ndim)
        found = np.stack([np.sum(values, axis=axes, dtype=np.float64) for values in (signal, signal**2, error**2)])
        reach = np.abs(signal).max(axis=axes).astype(np.float64)
        if self._sums is None:
            self._sums, self.reach = found, reach
        elif self._sums.shape == found.shape:
            self._sums, self.reach = self._sums + found, np.maximum(self.reach, reach)
        self._count += signal.size // max(1, found.shape[1])

    @property
    def live(self) -> NDArray[np.bool_]:
        """Which channels say anything."""
        if self._sums is None or not self._sums.size:
            return np.zeros(0, bool)
        mean, power, _ = self._sums / max(1, self._count)
        return np.asarray((power - mean**2 > _CONSTANT * power) & (power > _NOTHING * power.max(initial=0.0)))

    @property
    def lost(self) -> float | None:
        """Share of the live channels that are mostly error; None where none is live."""
        live = self.live
        if self._sums is None or not live.any():
            return None
        _, power, noise = self._sums[:, live]
        return float(np.mean(noise > _LOST * power))

    @property
    def noise_shares(self) -> NDArray[np.float64]:
        """Each channel's share of the noise."""
        noise = np.zeros(0) if self._sums is None else self._sums[2]
        return noise / max(float(noise.sum()), _TINY)


class TensorSums:
    """Everything that is kept of one tensor.

    Args:
        grid: Of the other model's integers; None for real numbers.
        channel_axis: None where the tensor has no channels.
    """

    def __init__(self, grid: Grid | None, channel_axis: int | None) -> None:
        self.grid = grid
        self.whole, self.own = Power(), Power()
        self.channels = None if channel_axis is None else Channels(channel_axis)
        self.low, self.high = math.inf, -math.inf
        self._absolute, self.largest = 0.0, 0.0
        self._beyond = 0
        self._used = np.zeros(_BINS, np.int64)

    def add(self, reference: Reals, own: Reals, stored: Array) -> None:
        """Take in one portion.

        Args:
            reference: What the float model computes; ratios are against its power, so that an error which was handed
                on does not make those behind it look louder.
            own: What its operator gives on the other model's inputs.
            stored: What the other model computes, as it stores it.
        """
        if not stored.size:
            return
        real = np.asarray(stored, np.float32) if self.grid is None else self.grid.real(stored)
        whole, added = real - reference, real - own
        self.whole.add(reference, whole)
        self.own.add(reference, added)
        self._absolute += float(np.sum(np.abs(whole), dtype=np.float64))
        self.largest = max(self.largest, float(np.abs(whole).max()))
        self.low, self.high = min(self.low, float(reference.min())), max(self.high, float(reference.max()))
        if self.channels is not None:
            self.channels.add(reference, added)
        if self.grid is not None:
            self._count_beyond(self.grid, own, cast("NDArray[np.integer]", stored))
            self._count_used(self.grid, reference)

    def _count_beyond(self, grid: Grid, own: Reals, stored: NDArray[np.integer]) -> None:
        # A whole step and not half of one: TFLite's softmax ends at 255/256 by definition, which costs nothing.
        ends = grid.real(np.array([grid.least - 1, grid.greatest + 1]))
        # int16 grids are symmetric and leave their first integer out
        first = stored <= grid.least + (grid.dtype == "int16")
        beyond = (first & (own < ends[0])) | ((stored == grid.greatest) & (own > ends[1]))
        self._beyond += int(np.count_nonzero(beyond))

    def _count_used(self, grid: Grid, reference: Reals) -> None:
        width = (grid.greatest - grid.least + 1) // _BINS
        # half a step up, and down to the bin below
        bins = reference.reshape(-1) * np.float32(1 / (grid.scale * width))
        bins += np.float32((grid.zero_point - grid.least + 0.5) / width)
        np.clip(bins, 0, _BINS - 1, out=bins)
        self._used += np.bincount(bins.astype(np.int16), minlength=_BINS)

    @property
    def mean_abs(self) -> float:
        """Mean absolute error against the float model."""
        return self._absolute / max(1, self.whole.count)

    @property
    def saturated(self) -> float | None:
        """Share of values beyond the integers' ends; None without integers."""
        return None if self.grid is None else self._beyond / max(1, self.whole.count)

    @property
    def usual(self) -> tuple[float, float] | None:
        """Between which numbers 99.9 % of the values lie, as finely as a 256th of the grid; None without integers."""
        if self.grid is None or not self._used.sum():
            return None
        first, last = self._central()
        width = (self.grid.greatest - self.grid.least + 1) // _BINS
        low, high = self.grid.real(np.array([first * width, (last + 1) * width - 1]) + self.grid.least)
        return float(low), float(high)

    @property
    def range_use(self) -> float | None:
        """Share of the grid between them; None without integers."""
        if self.grid is None or not self._used.sum():
            return None
        first, last = self._central()
        return (last - first + 1) / _BINS

    def _central(self) -> tuple[int, int]:
        shares = np.cumsum(self._used) / self._used.sum()
        rest = (1 - _MOST) / 2
        first, last = int(np.searchsorted(shares, rest)), int(np.searchsorted(shares, 1 - rest))
        return first, min(last, _BINS - 1)


def _sum_of_squares(values: Reals) -> float:
    return float(np.sum(np.square(values), dtype=np.float64))
