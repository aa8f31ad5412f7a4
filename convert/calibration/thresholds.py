"""From what was kept of a tensor to its range, method by method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.calibration.methods import Entropy, MeanSquaredError, MinMax, MovingAverage, Percentile
from tinsmith.convert.calibration.ranges import Range
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.convert.calibration.histogram import Histogram
    from tinsmith.convert.calibration.methods import Method
    from tinsmith.convert.calibration.statistics import Statistics

__all__ = ["divergence", "range_of", "squared_errors"]

# Thresholds that are tried: each is one in a hundred or so away from the next.
_CANDIDATES = 128
# What is enough to choose among them: TensorRT's number of magnitudes, and four bins a step of the widest 8-bit grid.
_ENTROPY_BINS, _ERROR_BINS = 2048, 1024
# Levels of an 8-bit grid on one side of 0, where the tensor has values on one side or on both.
_ONE_SIDED_LEVELS, _TWO_SIDED_LEVELS = 256, 128
# Below it the logarithm of an empty level is not taken.
_LEAST_PROBABILITY = 1e-12


def range_of(statistics: Statistics, method: Method) -> Range:
    """The range that a method takes; never wider than the extremes.

    Raises:
        DataError: The method needs a histogram, and none was kept.
    """
    match method:
        case MinMax():
            return statistics.extremes
        case MovingAverage():
            return statistics.average.range
    if statistics.histogram is None:
        raise DataError(
            f"this calibration kept extremes only, and {method.name} needs histograms",
            hint=f"calibrate again for {method.name}; `tinsmith calibrate` keeps histograms",
        )
    extremes, histogram = statistics.extremes, statistics.histogram
    match method:
        case Percentile():
            found = _percentile(histogram, method.percentile)
        case Entropy():
            found = _entropy(histogram)
        case MeanSquaredError():
            found = _least_error(histogram, extremes, method.bits)
    return _within(found, extremes)


def _within(found: Range, extremes: Range) -> Range:
    low = min(max(found.low, extremes.low), extremes.high)
    return Range(low=low, high=max(low, min(found.high, extremes.high)))


def _percentile(histogram: Histogram, percentile: float) -> Range:
    """Cut the same share at both ends; within a bin, values are taken to lie evenly."""
    total = int(histogram.counts.sum())
    cut = total * (100.0 - percentile) / 200.0
    return Range(low=_place(histogram, cut), high=_place(histogram, total - cut))


def _place(histogram: Histogram, below: float) -> float:
    """The value that so many others lie below."""
    reached = np.cumsum(histogram.counts)
    at = min(int(np.searchsorted(reached, below)), len(reached) - 1)
    inside = int(histogram.counts[at])
    share = (below - (float(reached[at]) - inside)) / inside if inside else 0.0
    number = histogram.lowest + at
    # bin k reaches from k to k+1 above 0, and from k-1 to k below; bin 0 to both sides
    start, end = number - (number <= 0), number + (number >= 0)
    return float((start + share * (end - start)) * histogram.width)


def _entropy(histogram: Histogram) -> Range:
    """The threshold on magnitudes with the least divergence."""
    one_sided = not histogram.lowest or not histogram.highest
    levels = _ONE_SIDED_LEVELS if one_sided else _TWO_SIDED_LEVELS
    histogram = histogram.limited(_ENTROPY_BINS if one_sided else 2 * _ENTROPY_BINS)
    magnitudes = histogram.magnitudes.astype(np.float64)
    bins = len(magnitudes)
    # Rectifiers make zeros in masses, and each grid has them: as in NVIDIA's pytorch-quantization, they do not count.
    magnitudes[0] = magnitudes[min(1, bins - 1)]
    candidates = np.unique(np.linspace(min(levels, bins), bins, _CANDIDATES).astype(np.int64))
    losses = [divergence(magnitudes, int(kept), levels) for kept in candidates]
    reach = float(candidates[_last_least(np.array(losses))]) * histogram.width
    return Range(low=-reach, high=reach)


def divergence(magnitudes: NDArray[np.float64], kept: int, levels: int) -> float:
    """How far the image of values in a few levels is from the values, clipped at a threshold.

    Args:
        magnitudes: float64 [bins], how many values have each magnitude.
        kept: Bins below the threshold; what lies above counts to the last of them.
        levels: Into which the kept bins are brought; each is spread again over those of its bins that hold values.

    Returns:
        Kullback-Leibler divergence in nats; 0 where nothing is lost.
    """
    inside = magnitudes[:kept]
    clipped = inside.copy()
    clipped[-1] += magnitudes[kept:].sum()
    starts = np.unique(np.arange(levels) * kept // levels)
    there = clipped > 0
    sums, places = np.add.reduceat(inside, starts), np.add.reduceat(there, starts, dtype=np.int64)
    spread = np.repeat(sums / np.maximum(places, 1), np.diff(np.append(starts, kept)))[there]
    if not spread.any():
        return float("inf")
    p, q = clipped[there] / clipped.sum(), spread / spread.sum()
    return float((p * np.log(p / np.maximum(q, _LEAST_PROBABILITY))).sum())


def _least_error(histogram: Histogram, extremes: Range, bits: int) -> Range:
    """Shrink both ends together, then each by itself, as long as the error falls."""
    low, high = min(extremes.low, 0.0), max(extremes.high, 0.0)
    if low == high:
        return extremes
    shares = np.arange(1, _CANDIDATES + 1) / _CANDIDATES
    histogram = histogram.limited(_ERROR_BINS)
    both = shares[_last_least(squared_errors(histogram, shares * low, shares * high, bits))]
    low, high = both * low, both * high
    if low < 0 < high:
        low *= shares[_last_least(squared_errors(histogram, shares * low, np.full(_CANDIDATES, high), bits))]
        high *= shares[_last_least(squared_errors(histogram, np.full(_CANDIDATES, low), shares * high, bits))]
    return Range(low=float(low), high=float(high))


def squared_errors(
    histogram: Histogram, lows: NDArray[np.float64], highs: NDArray[np.float64], bits: int
) -> NDArray[np.float64]:
    """What values lose on uniform grids, rounding and clipping together.

    Args:
        histogram: Of the values.
        lows: float64 [ranges], 0 or less.
        highs: float64 [ranges], 0 or more, and above ``lows``.
        bits: Of the grids; 0 is on each.

    Returns:
        float64 [ranges], sums of squares.
    """
    there = histogram.counts > 0
    values, counts = histogram.centers[there], histogram.counts[there].astype(np.float64)
    steps = ((highs - lows) / ((1 << bits) - 1))[:, None]
    numbers = np.round(values / steps)
    rounded = (values - numbers * steps) ** 2 + (histogram.width**2) / 12
    # Where a bin is not within one step, its middle says nothing, and values lie evenly between the steps.
    rounded = np.where(steps >= 2 * histogram.width, rounded, steps**2 / 12)
    # Zeros lose nothing.
    rounded[:, values == 0.0] = 0.0
    beyond = values - np.clip(values, lows[:, None], highs[:, None])
    return np.asarray(np.where(beyond == 0.0, rounded, beyond**2) @ counts)


def _last_least(losses: NDArray[np.float64]) -> int:
    """Of equal ones the last: the widest range clips the least."""
    return len(losses) - 1 - int(np.argmin(losses[::-1]))
