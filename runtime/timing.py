"""Run times, and what can honestly be said of them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["WarmUp", "early_stopping", "median", "percentile", "runs_needed", "time_runs", "warm_up"]

_WINDOWS = 3
_WINDOW_RUNS = 8
_STEADY = 1.05
_WARMUP_LIMIT_NS = 2_000_000_000
_CONFIDENCE = 0.99
_ROUNDING = 1e-9  # 99.9 % of 10,000 is not quite 9,990 in floats


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """What it took until the speed was steady.

    Attributes:
        first_ns: The very first run, which pays for lazy set-up.
        runs: Runs after it that were thrown away.
        steady: Whether it was steady in the end.
    """

    first_ns: int
    runs: int
    steady: bool


def warm_up(
    run: Callable[[], object],
    *,
    limit_ns: int = _WARMUP_LIMIT_NS,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> WarmUp:
    """Run until the speed is steady.

    Steady means that the medians of the last three windows of eight runs lie within 5 % of each other (the rule of
    perf_analyzer, tighter); after the limit it is enough in any case.

    Args:
        run: What will be timed.
        limit_ns: After how long it is enough; two seconds unless given.
        clock: Gives nanoseconds that never go back.
    """
    first_ns = _once(run, clock)
    began = clock()
    samples: list[int] = []
    while not (steady := _steady(samples)) and clock() - began < limit_ns:
        samples.append(_once(run, clock))
    return WarmUp(first_ns=first_ns, runs=len(samples), steady=steady)


def time_runs(
    run: Callable[[], object], *, runs: int, budget_ns: int, clock: Callable[[], int] = time.perf_counter_ns
) -> list[int]:
    """Time up to ``runs`` calls of ``run``, and stop early once ``budget_ns`` is spent.

    Returns:
        Nanoseconds a call, in order; at least one.
    """
    began = clock()
    samples = [_once(run, clock)]
    while len(samples) < runs and clock() - began < budget_ns:
        samples.append(_once(run, clock))
    return samples


def runs_needed(percent: float) -> int:
    """The least number of runs that can support a percentile.

    MLPerf's early-stopping rule (inference_rules, appendix on early stopping) with tolerance 0, confidence 0.99 and
    one run over the latency: the least n for which a Binomial(n, 1 - p) count of at most one has probability 0.01 or
    less. That is 64 for p90, 130 for p95, 662 for p99 and 6,636 for p99.9; the median needs 11.

    Args:
        percent: Between 0 and 100, both excluded.
    """
    over = 1 - percent / 100
    n = 1
    while (1 - over) ** n + n * over * (1 - over) ** (n - 1) > 1 - _CONFIDENCE:
        n += 1
    return n


def early_stopping(samples: Sequence[float], percent: float) -> float | None:
    """The percentile that MLPerf reports: an upper bound that holds with confidence 0.99.

    The most runs t that may lie above it are those for which a Binomial(n, 1 - p) count of at most t has probability
    0.01 or less; the t - 1 highest are dropped, and the highest one left is reported (inference_rules, appendix on
    early stopping; LoadGen's ``early_stopping.cc`` and ``results.cc``).

    Returns:
        None below the runs that ``runs_needed`` says.
    """
    over = _most_over(len(samples), 1 - percent / 100)
    return sorted(samples)[len(samples) - over] if over else None


def _most_over(n: int, share: float) -> int:
    """The largest t with P(Binomial(n, share) <= t) <= 0.01; 0 where not even one run may lie above."""
    below, t = 0.0, 0
    while t <= n:
        below += math.exp(
            math.lgamma(n + 1) - math.lgamma(t + 1) - math.lgamma(n - t + 1)
            + t * math.log(share) + (n - t) * math.log1p(-share)
        )  # fmt: skip
        if below > 1 - _CONFIDENCE:
            return max(t - 1, 0)
        t += 1
    return n


def percentile(samples: Sequence[float], percent: float) -> float | None:
    """The smallest sample that more than ``percent`` of all samples do not exceed, as LoadGen takes it.

    The rank is that of LoadGen's ``results.cc``, so that both say the same of the same samples.

    Returns:
        None where there are fewer samples than ``runs_needed`` says: such a figure would be made up.
    """
    if len(samples) < runs_needed(percent):
        return None
    return sorted(samples)[math.floor(percent * len(samples) / 100 + _ROUNDING)]


def median(samples: Sequence[float]) -> float:
    """The middle sample, or the mean of the two middle ones; any number of samples from 1 on supports it."""
    ordered = sorted(samples)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _once(run: Callable[[], object], clock: Callable[[], int]) -> int:
    started = clock()
    run()
    return clock() - started


def _steady(samples: list[int]) -> bool:
    if len(samples) < _WINDOWS * _WINDOW_RUNS or len(samples) % _WINDOW_RUNS:
        return False
    recent = samples[-_WINDOWS * _WINDOW_RUNS :]
    medians = [median(recent[i : i + _WINDOW_RUNS]) for i in range(0, len(recent), _WINDOW_RUNS)]
    return max(medians) <= _STEADY * min(medians)
