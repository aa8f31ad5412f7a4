"""Whether a window of samples still looks as the reference does, at a stated rate of false alarms.

Two tests look at each statistic: the population stability index on its bins, and Kolmogorov-Smirnov's distance on the
steps between them (not for classes, whose order says nothing). A report calls drift when any of them passes its
threshold. The rate is that of a whole report: each of T tests gets a T-th of it (Bonferroni), so that however the
statistics hang together, at most that share of windows without drift is called drifted. That holds where samples are
drawn one by one; frames of a video resemble each other, and call for a watch on every n-th request.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.monitor.distributions import chi_square_limit, kolmogorov_limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tinsmith.runtime.monitor.reference import Histogram, Reference, Statistic

__all__ = [
    "FALSE_ALARM",
    "LEAST_SAMPLES",
    "WINDOW",
    "Comparison",
    "DriftReport",
    "compare_windows",
    "distance",
    "stability_index",
]

FALSE_ALARM = 0.01
# samples that are compared at once, unless said otherwise
WINDOW = 1000
LEAST_SAMPLES = 50
# of the smaller side, in each bin that is compared
_LEAST_EXPECTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One test of one statistic.

    Attributes:
        statistic: What was measured.
        test: ``psi`` or ``ks``.
        figure: How far reference and window lie apart; 0 where they are alike.
        threshold: What the figure passes by chance at most as often as the report's rate allows this test.
        reference: Counts a bin.
        window: Counts a bin.
    """

    statistic: Statistic
    test: str
    figure: float
    threshold: float
    reference: tuple[int, ...]
    window: tuple[int, ...]

    @property
    def drifted(self) -> bool:
        """Whether it lies further than chance allows."""
        return self.figure > self.threshold

    def to_json(self) -> dict[str, Any]:
        """One line of the monitor's document."""
        return {
            "side": self.statistic.side,
            "tensor": self.statistic.tensor,
            "statistic": self.statistic.name,
            "test": self.test,
            "figure": self.figure,
            "threshold": self.threshold,
            "drifted": self.drifted,
            "reference": list(self.reference),
            "window": list(self.window),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """All tests of one window.

    Attributes:
        false_alarm: The share of windows without drift that are called drifted, at most.
        reference_samples: Counted in the reference.
        samples: In the window.
        comparisons: Two a statistic, one for classes; empty while there are too few samples.
    """

    false_alarm: float
    reference_samples: int
    samples: int
    comparisons: tuple[Comparison, ...]

    @property
    def drifted(self) -> tuple[Comparison, ...]:
        """Those beyond their threshold."""
        return tuple(comparison for comparison in self.comparisons if comparison.drifted)

    @property
    def state(self) -> str:
        """``drift``, ``ok``, or ``waiting`` while either side has fewer than ``LEAST_SAMPLES``."""
        if min(self.samples, self.reference_samples) < LEAST_SAMPLES:
            return "waiting"
        return "drift" if self.drifted else "ok"


def compare_windows(
    reference: Reference,
    window: Mapping[Statistic, Sequence[int]],
    *,
    samples: int,
    false_alarm: float = FALSE_ALARM,
) -> DriftReport:
    """Test every statistic of a reference.

    Args:
        reference: What is normal.
        window: Counts in the reference's bins; a statistic that is missing was not measured.
        samples: In the window.
        false_alarm: The share of windows without drift that may be called drifted; above 0, below 1.
    """
    pairs = [(statistic, histogram, window[statistic]) for statistic, histogram in reference.histograms()
             if sum(window.get(statistic, ())) >= LEAST_SAMPLES <= sum(histogram.counts)]  # fmt: skip
    tests = sum(1 if statistic.nominal else 2 for statistic, _ in reference.histograms())
    comparisons = (
        comparison
        for statistic, histogram, counts in pairs
        for comparison in _compared(statistic, histogram, tuple(counts), false_alarm / tests)
    )
    return DriftReport(
        false_alarm=false_alarm,
        reference_samples=reference.samples,
        samples=samples,
        comparisons=tuple(comparisons),
    )


def _compared(statistic: Statistic, histogram: Histogram, window: tuple[int, ...], tail: float) -> Iterator[Comparison]:
    tests = {"psi": stability_index} if statistic.nominal else {"psi": stability_index, "ks": distance}
    for name, test in tests.items():
        figure, threshold = test(histogram.counts, window, tail=tail)
        if math.isinf(threshold):
            continue
        yield Comparison(
            statistic=statistic,
            test=name,
            figure=figure,
            threshold=threshold,
            reference=histogram.counts,
            window=window,
        )


def stability_index(reference: Sequence[int], window: Sequence[int], *, tail: float) -> tuple[float, float]:
    """The population stability index, and the value that it passes by chance with probability ``tail``.

    The sum over bins of (p - q) ln(p / q). Without drift it is distributed as (1/n + 1/m) times chi-square with one
    degree less than there are bins (Yurdakul, "Statistical properties of the population stability index", 2018, for n
    and m samples). For that limit to hold in the far tail, each bin gets one more sample of the smaller side on both;
    and so that this does not drown what differs, neighbouring bins are put together until each can expect 20 samples
    of the smaller side, going by the counts of both sides together. Simulated: 0.2 to 1.1 times the tail.

    Returns:
        The index and its threshold; 0 and infinity where only one bin is left.
    """
    n, m = sum(reference), sum(window)
    groups = _merged(reference, window)
    smaller = min(n, m)
    total = 1 + len(groups) / smaller
    figure = 0.0
    for one, other in groups:
        p, q = (one / n + 1 / smaller) / total, (other / m + 1 / smaller) / total
        figure += (p - q) * math.log(p / q)
    return figure, (1 / n + 1 / m) * chi_square_limit(tail, len(groups) - 1) if len(groups) > 1 else math.inf


def _merged(reference: Sequence[int], window: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbours together until each bin is large enough; by the sums alone, so that the choice favours neither."""
    n, m = sum(reference), sum(window)
    least = _LEAST_EXPECTED * (n + m) / min(n, m)
    groups: list[tuple[int, int]] = [(0, 0)]
    for one, other in zip(reference, window, strict=True):
        if sum(groups[-1]) >= least:
            groups.append((0, 0))
        groups[-1] = (groups[-1][0] + one, groups[-1][1] + other)
    if len(groups) > 1 and sum(groups[-1]) < least:
        last = groups.pop()
        groups[-1] = (groups[-1][0] + last[0], groups[-1][1] + last[1])
    return groups


def distance(reference: Sequence[int], window: Sequence[int], *, tail: float) -> tuple[float, float]:
    """Kolmogorov-Smirnov's distance at the edges, and the value that it passes by chance with ``tail`` at most.

    The greatest difference between the two shares of samples below an edge. Between edges nothing is seen, so that
    the distance is at most that of the values themselves, and the threshold errs to the safe side.
    """
    n, m = sum(reference), sum(window)
    below = zip(itertools.accumulate(reference), itertools.accumulate(window), strict=True)
    return max(abs(one / n - other / m) for one, other in below), kolmogorov_limit(tail) * math.sqrt(1 / n + 1 / m)
