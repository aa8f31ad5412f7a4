"""Histograms that merge without error, in whatever order and pieces their values come.

Bins are ``2**exponent`` wide and stand on one grid around 0: bin k holds the values x with ``trunc(x / width) = k``, so
that bin 0 reaches to both sides of 0. Two neighbours (counted from 0) make one bin of the next exponent, exactly. The
exponent is the least at which all values, and 0, fit into ``MOST_BINS`` bins: it follows from the values alone, and
with it every count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LEAST_EXPONENT", "MOST_BINS", "Histogram"]

MOST_BINS = 4096
# 2**120 is still a float32; what is smaller than 2**-120 counts as 0.
LEAST_EXPONENT = -120
# Values that are looked at in one go: they and their bins stay in a core's cache.
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram:
    """How many values fell into each bin.

    Attributes:
        exponent: Of the width of a bin, which is ``2**exponent``.
        lowest: Number of the first bin, 0 or less.
        counts: int64 [bins], from ``lowest`` up to bin 0 or more.
    """

    exponent: int
    lowest: int
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float32], low: float, high: float) -> Histogram:
        """Count values.

        Args:
            values: Finite, any shape, at least one.
            low: The least of them.
            high: The greatest of them.
        """
        exponent = _exponent(min(low, 0.0), max(high, 0.0))
        lowest, highest = _bin(min(low, 0.0), exponent), _bin(max(high, 0.0), exponent)
        counts = _counted(values.reshape(-1), exponent, lowest, highest - lowest + 1)
        return cls(exponent=exponent, lowest=lowest, counts=counts)

    @property
    def highest(self) -> int:
        """Number of the last bin, 0 or more."""
        return self.lowest + len(self.counts) - 1

    @property
    def width(self) -> float:
        """Of a bin; bin 0 reaches this far to both sides."""
        return math.ldexp(1.0, self.exponent)

    @property
    def centers(self) -> NDArray[np.float64]:
        """The middle of each bin, float64 [bins]."""
        numbers = np.arange(self.lowest, self.highest + 1)
        return np.asarray((numbers + 0.5 * np.sign(numbers)) * self.width)

    @property
    def magnitudes(self) -> NDArray[np.int64]:
        """How many values there are of each magnitude: both signs in one, from bin 0 up."""
        folded = np.zeros(max(-self.lowest, self.highest) + 1, np.int64)
        folded[: self.highest + 1] += self.counts[-self.lowest :]
        folded[1 : 1 - self.lowest] += self.counts[: -self.lowest][::-1]
        return folded

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of both's values."""
        exponent = max(self.exponent, other.exponent)
        one, two = self.coarsened(exponent), other.coarsened(exponent)
        lowest, highest = min(one.lowest, two.lowest), max(one.highest, two.highest)
        counts = np.zeros(highest - lowest + 1, np.int64)
        for part in (one, two):
            counts[part.lowest - lowest : part.highest - lowest + 1] += part.counts
        both = Histogram(exponent=exponent, lowest=lowest, counts=counts)
        return both if len(counts) <= MOST_BINS else both.coarsened(exponent + 1)

    def limited(self, most_bins: int) -> Histogram:
        """The same values in so many bins or fewer; 3 at the least."""
        found = self
        while len(found.counts) > most_bins:
            found = found.coarsened(found.exponent + 1)
        return found

    def coarsened(self, exponent: int) -> Histogram:
        """The same values in bins that are as wide, or wider."""
        shift = exponent - self.exponent
        if not shift:
            return self
        numbers = np.arange(self.lowest, self.highest + 1)
        numbers = np.sign(numbers) * (np.abs(numbers) >> min(shift, 62))
        lowest = int(numbers[0])
        counts = np.zeros(int(numbers[-1]) - lowest + 1, np.int64)
        np.add.at(counts, numbers - lowest, self.counts)
        return Histogram(exponent=exponent, lowest=lowest, counts=counts)


def _bin(value: float, exponent: int) -> int:
    return int(math.ldexp(value, -exponent))


def _exponent(low: float, high: float) -> int:
    """The least at which everything from low (0 or less) to high (0 or more) fits into the bins."""
    if low == high:
        return LEAST_EXPONENT
    exponent = max(LEAST_EXPONENT, math.frexp(high - low)[1] - MOST_BINS.bit_length())
    while _bin(high, exponent) - _bin(low, exponent) + 1 > MOST_BINS:
        exponent += 1
    return exponent


def _counted(flat: NDArray[np.float32], exponent: int, lowest: int, bins: int) -> NDArray[np.int64]:
    """Scaling by a power of two is exact, so that each value falls into the bin that it belongs to."""
    scale = np.float32(math.ldexp(1.0, -exponent))
    counts = np.zeros(bins, np.int64)
    for start in range(0, flat.size, _BLOCK):
        numbers = (flat[start : start + _BLOCK] * scale).astype(np.int64)
        if lowest:
            numbers -= lowest
        counts += np.bincount(numbers, minlength=bins)
    return counts
