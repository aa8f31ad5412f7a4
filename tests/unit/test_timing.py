"""Percentiles need enough runs to stand on, and a warm-up ends when the speed is steady."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.timing import median, percentile, runs_needed, time_runs, warm_up


@pytest.mark.parametrize(("percent", "runs"), [(90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_the_runs_a_percentile_needs_are_those_of_mlperf(percent, runs):
    assert runs_needed(percent) == runs


@given(st.floats(1, 99))
def test_one_run_fewer_would_not_support_the_percentile(percent):
    needed = runs_needed(percent)
    over = 1 - percent / 100

    def at_most_one_over(n):
        return (1 - over) ** n + n * over * (1 - over) ** (n - 1)

    assert at_most_one_over(needed) <= 0.01 + 1e-12
    assert needed == 1 or at_most_one_over(needed - 1) > 0.01 - 1e-12


def test_a_percentile_below_its_runs_is_refused():
    assert percentile(range(63), 90) is None
    assert percentile(range(64), 90) is not None


@given(st.lists(st.floats(0, 1e6), min_size=64, max_size=300))
def test_ninety_percent_of_the_samples_do_not_exceed_p90(samples):
    p90 = percentile(samples, 90)

    assert p90 in samples
    assert sum(s <= p90 for s in samples) > math.floor(0.9 * len(samples))
    assert sum(s < p90 for s in samples) <= math.floor(0.9 * len(samples))


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_the_median_is_numpys(samples):
    assert median(samples) == pytest.approx(float(np.median(samples)))


class Clock:
    """A clock that only moves when something runs."""

    def __init__(self, costs_ns):
        self.now = 0
        self.costs = iter(costs_ns)

    def __call__(self):
        return self.now

    def run(self):
        self.now += next(self.costs)


def test_the_warm_up_ends_once_three_windows_agree():
    clock = Clock([9_000, *[500] * 8, *[100] * 100])

    warmed = warm_up(clock.run, clock=clock)

    assert warmed.first_ns == 9_000
    assert warmed.runs == 32


def test_the_warm_up_of_a_model_that_never_gets_steady_ends_after_two_seconds():
    clock = Clock(10**8 * (1 + i % 5) for i in range(1000))

    warmed = warm_up(clock.run, clock=clock)

    assert warmed.runs < 24


def test_timing_stops_at_its_budget_and_keeps_at_least_one_run():
    clock = Clock([10**9] * 10)

    assert time_runs(clock.run, runs=10, budget_ns=1, clock=clock) == [10**9]
    clock = Clock([1] * 10)
    assert len(time_runs(clock.run, runs=10, budget_ns=10**9, clock=clock)) == 10
