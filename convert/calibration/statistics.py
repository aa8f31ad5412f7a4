"""What is kept of a tensor: constant in size however many samples are seen, and mergeable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.calibration.ranges import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.convert.calibration.histogram import Histogram

__all__ = ["HALF_MOMENTUM", "Average", "Seen", "Statistics"]

# A sample weighs this much less in its half than the next: about 0.99 a sample of the whole, so that the last hundred
# or so count. onnxruntime's averaging constant is 0.01 a batch, and TensorFlow's 0.001 a training step.
HALF_MOMENTUM = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """A moving average of the samples' extremes, kept as weighted sums, so that it has no bias and merges exactly.

    Attributes:
        samples: How many it is taken over.
        weight: Sum of their weights; the last has weight 1.
        low: Weighted sum of their least values.
        high: Weighted sum of their greatest values.
    """

    samples: int
    weight: float
    low: float
    high: float

    @classmethod
    def of(cls, lows: NDArray[np.float64], highs: NDArray[np.float64]) -> Average:
        """Over samples in their order; one number each."""
        weights = HALF_MOMENTUM ** np.arange(len(lows) - 1, -1, -1, dtype=np.float64)
        return cls(
            samples=len(lows),
            weight=float(weights.sum()),
            low=float((weights * lows).sum()),
            high=float((weights * highs).sum()),
        )

    @property
    def range(self) -> Range:
        """From the average least value to the average greatest."""
        return Range(low=self.low / self.weight, high=self.high / self.weight)

    def then(self, later: Average) -> Average:
        """As if the other's samples had come after these: a moving average depends on the order."""
        faded = HALF_MOMENTUM**later.samples
        return Average(
            samples=self.samples + later.samples,
            weight=self.weight * faded + later.weight,
            low=self.low * faded + later.low,
            high=self.high * faded + later.high,
        )

    def beside(self, other: Average) -> Average:
        """As if both had come at the same time."""
        return Average(
            samples=self.samples + other.samples,
            weight=self.weight + other.weight,
            low=self.low + other.low,
            high=self.high + other.high,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a tensor held on some samples.

    Attributes:
        extremes: The least and the greatest value.
        average: Of each sample's extremes.
        histogram: Of all values; None where only extremes were asked for.
    """

    extremes: Range
    average: Average
    histogram: Histogram | None

    def then(self, later: Statistics) -> Statistics:
        """With later samples; only the moving average depends on which are the later ones."""
        histogram = None
        if self.histogram is not None and later.histogram is not None:
            histogram = self.histogram.merge(later.histogram)
        return Statistics(
            extremes=self.extremes.merge(later.extremes),
            average=self.average.then(later.average),
            histogram=histogram,
        )

    def beside(self, other: Statistics) -> Statistics:
        """With samples that came at the same time."""
        return replace(self.then(other), average=self.average.beside(other.average))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A tensor on every other sample, and on the samples in between.

    How far apart the halves lie says how far a range still moves with the number of samples.

    Attributes:
        even: On samples 0, 2, 4 and so on; None where it saw none of them.
        odd: On samples 1, 3, 5 and so on; None as above. One of the two is there.
    """

    even: Statistics | None
    odd: Statistics | None

    @property
    def halves(self) -> tuple[Statistics, ...]:
        """Those that are there, one or two."""
        return tuple(half for half in (self.even, self.odd) if half is not None)

    @property
    def whole(self) -> Statistics:
        """On all samples."""
        first, *others = self.halves
        return first.beside(others[0]) if others else first

    def then(self, later: Seen) -> Seen:
        """With later samples, half by half."""
        return Seen(even=_then(self.even, later.even), odd=_then(self.odd, later.odd))


def _then(one: Statistics | None, later: Statistics | None) -> Statistics | None:
    return one.then(later) if one is not None and later is not None else one or later
