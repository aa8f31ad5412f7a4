"""Two artifacts timed in turn, so that whatever slows this machine down slows both."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.feeds import random_feeds
from tinsmith.runtime.timing import median

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.runtime.sandbox import Sandbox

__all__ = ["PairTiming", "time_pair"]

_ROUNDS = 7
_FEWEST_ROUNDS = 3
_ROUND_NS = 4_000_000
_SLOW_NS = 250_000_000
_MOST_RUNS = 50
_BUDGET_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTiming:
    """A quick look at how two artifacts compare: one process each, which tells a ratio and promises no latency.

    Attributes:
        one_ms: Median run of the first.
        other_ms: Median run of the second.
        ratio: Median over the rounds of second to first.
        low: The smallest round's ratio.
        high: The largest round's.
        rounds: How many.
        runs: Timed runs of each in a round, first and second.
    """

    one_ms: float
    other_ms: float
    ratio: float
    low: float
    high: float
    rounds: int
    runs: tuple[int, int]


def time_pair(one: Sandbox, other: Sandbox, *, seed: int = 0) -> PairTiming:
    """Time two artifacts in turn for a fraction of a second, three rounds at least.

    Args:
        one: A child process that has opened an artifact.
        other: Another one, with as many threads.
        seed: Of the inputs.

    Raises:
        ModelTimeoutError: A run did not end in time.
    """
    calls = [_call(sandbox, seed) for sandbox in (one, other)]
    runs = tuple(_runs(call) for call in calls)
    rounds: list[tuple[float, float]] = []
    started = time.monotonic()
    for number in itertools.count():
        if number == _ROUNDS or (number >= _FEWEST_ROUNDS and time.monotonic() - started > _BUDGET_S):
            break
        rounds.append(_round(calls, runs, swapped=bool(number % 2)))
    ratios = [second / first for first, second in rounds]
    return PairTiming(
        one_ms=median([first for first, _ in rounds]) / 1e6,
        other_ms=median([second for _, second in rounds]) / 1e6,
        ratio=median(ratios),
        low=min(ratios),
        high=max(ratios),
        rounds=len(rounds),
        runs=(runs[0], runs[1]),
    )


def _call(sandbox: Sandbox, seed: int) -> Callable[[int], list[int]]:
    feeds: Any = random_feeds(sandbox.opened.inputs, seed=seed)
    return lambda runs: sandbox.time(feeds, runs=runs)[0]


def _runs(call: Callable[[int], list[int]]) -> int:
    """So many that a round lasts a few milliseconds; the runs that tell it warm the engine up.

    One run may have lost the processor to others for longer than many runs take; only a slow model is asked once.
    """
    fastest_ns = min(call(1))
    if fastest_ns < _SLOW_NS:
        fastest_ns = min(fastest_ns, *call(2))
    return max(1, min(_MOST_RUNS, _ROUND_NS // max(fastest_ns, 1)))


def _round(calls: list[Any], runs: tuple[int, ...], *, swapped: bool) -> tuple[float, float]:
    order = (1, 0) if swapped else (0, 1)
    found = {at: median(calls[at](runs[at])) for at in order}
    return found[0], found[1]
