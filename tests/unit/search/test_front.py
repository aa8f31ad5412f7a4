from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tinsmith.compress.budget import Budget
from tinsmith.compress.search.bounds import Ask, FileBound, LatencyBound
from tinsmith.compress.search.figures import Figures, Timed
from tinsmith.compress.search.front import chosen_of, front_of, loosenings, nearest_of, objectives
from tinsmith.compress.search.trial import Trial

_SMALL = st.integers(1, 8)


def _trial(number, ask, size, loss, ms):
    timed = Timed(device="local", threads=1, median_ms=ms, low_ms=None, high_ms=None, peak_memory_bytes=1)
    figures = Figures(file_bytes=size, zip_bytes=size, flash_bytes=size, score=1 - loss, drop=loss, timed=(timed,))
    return Trial(
        number=number,
        origin="sampled",
        target="tflite",
        recipe={"version": 1, "target": "tflite", "steps": []},
        name="",
        threads=1,
        state="done",
        figures=figures,
        standings=ask.standings(figures),
        sha256=str(number),
    )


@st.composite
def _searches(draw):
    """Bounds, and some trials."""
    ask = Ask(
        budget=Budget(max_drop=draw(_SMALL) / 10),
        files=(FileBound(kind="size", most=draw(_SMALL)),) if draw(st.booleans()) else (),
        latencies=(LatencyBound(device="local", most=draw(_SMALL)),) if draw(st.booleans()) else (),
    )
    drawn = draw(st.lists(st.tuples(_SMALL, _SMALL, _SMALL), max_size=12))
    return ask, [_trial(n, ask, size, loss / 10, ms) for n, (size, loss, ms) in enumerate(drawn, start=1)]


def _beats(one, other):
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


@given(_searches())
def test_the_front_is_what_keeps_the_bounds_and_nothing_beats(searched):
    ask, trials = searched
    front = front_of(trials, ask.devices)
    values = {trial.number: objectives(trial.figures, ask.devices) for trial in trials}
    kept = [trial for trial in trials if trial.kept]
    unbeaten = {values[t.number] for t in kept if not any(_beats(values[o.number], values[t.number]) for o in kept)}
    assert {values[trial.number] for trial in front} == unbeaten
    assert len(front) == len(unbeaten)


@given(_searches())
def test_the_chosen_one_is_best_in_what_is_not_bounded(searched):
    ask, trials = searched
    front = front_of(trials, ask.devices)
    chosen = chosen_of(front, ask)
    assert (chosen is None) == (not any(trial.kept for trial in trials))
    if chosen is not None and not ask.files:
        assert chosen.figures.flash_bytes == min(t.figures.flash_bytes for t in trials if t.kept)


@given(_searches())
def test_a_bound_that_is_loosened_as_said_is_kept(searched):
    ask, trials = searched
    if any(trial.kept for trial in trials):
        return
    for one in loosenings(trials, ask):
        trial = trials[one.trial - 1]
        assert math.isclose(next(s.reached for s in trial.standings if s.bound == one.bound), one.needed)
        assert all(s.kept for s in trial.standings if s.bound != one.bound)


@given(_searches())
def test_the_nearest_misses_least(searched):
    _, trials = searched
    nearest = nearest_of(trials)
    assert (nearest is None) == (not trials)
    assert nearest is None or all(nearest.lacking <= trial.lacking for trial in trials)


@given(_searches())
def test_trials_survive_the_record(searched):
    _, trials = searched
    assert [Trial.from_json(trial.to_json()) for trial in trials] == trials
