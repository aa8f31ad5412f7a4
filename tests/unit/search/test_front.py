from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tinsmith.compress.budget import Budget
from tinsmith.compress.search.bounds import Ask, FileBound, LatencyBound
from tinsmith.compress.search.figures import Figures, Timed
from tinsmith.compress.search.front import chosen_of, front_of, loosenings, nearest_of, objectives, undecided
from tinsmith.compress.search.trial import Trial

_SMALL = st.integers(1, 8)


def _trial(number, ask, size, loss, ms):
    """One that was measured, or where ``ms`` is None was given up before."""
    times = () if ms is None else (
        Timed(device="local", threads=1, median_ms=ms, low_ms=None, high_ms=None, peak_memory_bytes=1),
    )  # fmt: skip
    figures = Figures(file_bytes=size, zip_bytes=size, flash_bytes=size, score=1 - loss, drop=loss, timed=times)
    return Trial(
        number=number,
        origin="sampled",
        target="tflite",
        recipe={"version": 1, "target": "tflite", "steps": []},
        name="",
        threads=1,
        state="hopeless" if ms is None else "done",
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
    drawn = draw(st.lists(st.tuples(_SMALL, _SMALL, _SMALL, st.booleans()), max_size=12))
    return ask, [_tried(n, ask, *figures) for n, figures in enumerate(drawn, start=1)]


def _tried(number, ask, size, loss, ms, measured):
    """As a search does it: what may keep the bounds by its bytes and answers is measured."""
    blind = _trial(number, ask, size, loss / 10, None)
    return blind if blind.known_lacking > 0 and not measured else _trial(number, ask, size, loss / 10, ms)


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
    if chosen is not None and ask.files and not ask.latencies:
        assert chosen.figures.on("local").median_ms == min(t.figures.on("local").median_ms for t in trials if t.kept)
    if chosen is not None and ask.files and ask.latencies:
        assert chosen.figures.drop == min(t.figures.drop for t in trials if t.kept)


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
def test_what_only_bytes_and_answers_decide_needs_no_device(searched):
    ask, trials = searched
    waiting = undecided(trials, ask)
    if not ask.latencies or any(trial.kept for trial in trials):
        assert waiting == ()
    for trial in waiting:
        assert trial.state == "hopeless"


@given(_searches())
def test_nothing_is_nearer_once_all_that_is_undecided_is_measured(searched):
    ask, trials = searched
    truth = [_trial(t.number, ask, t.figures.file_bytes, t.figures.drop, 8 + t.number) for t in trials]
    while waiting := undecided(trials, ask):
        trials[waiting[0].number - 1] = truth[waiting[0].number - 1]
    if any(trial.kept for trial in trials) or not trials:
        return
    # what is measured by now stays; of the rest, the truth is not nearer than what was found
    known = [trial if trial.state == "done" else truth[trial.number - 1] for trial in trials]
    assert math.isclose(nearest_of(trials).lacking, nearest_of(known).lacking)
    needed = {one.bound: one.needed for one in loosenings(trials, ask)}
    assert needed == {one.bound: one.needed for one in loosenings(known, ask)}


@given(_searches())
def test_trials_survive_the_record(searched):
    _, trials = searched
    assert [Trial.from_json(trial.to_json()) for trial in trials] == trials
