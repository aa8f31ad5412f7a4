from __future__ import annotations

import contextlib
import itertools
import math
import sqlite3
from types import SimpleNamespace

import pytest

from tests.unit.search.conftest import Arithmetic, Operators, Stopwatch, points
from tinsmith.compress.budget import Budget
from tinsmith.compress.search.bounds import Ask, FileBound, LatencyBound
from tinsmith.compress.search.proposing import Proposer
from tinsmith.compress.search.searching import Limits
from tinsmith.compress.search.space import Scope, Space
from tinsmith.runtime.errors import DataError, UsageError

_SMALL = Ask(budget=Budget(max_drop=0.01), files=(FileBound(kind="size", most=60_000),))


def test_the_chosen_one_keeps_every_bound(searched):
    found = searched(_SMALL)
    assert found.chosen is not None
    assert found.chosen.figures.file_bytes <= 60_000
    assert found.chosen.figures.drop <= 0.01
    assert found.chosen in found.front
    assert all(trial.kept for trial in found.front)


def test_what_turns_out_to_have_failed_makes_room(searched):
    found = searched(_SMALL)
    left = found.without(found.chosen, "NaN", _SMALL)
    assert left.trials[found.chosen.number - 1].remark == "NaN"
    assert left.chosen not in (None, found.chosen)
    assert {trial.number for trial in left.front} >= {trial.number for trial in found.front} - {found.chosen.number}
    while left.front:
        left = left.without(left.front[0], "NaN", _SMALL)
    assert left.chosen is None
    assert left.nearest is not None
    assert left.loosenings


def test_nothing_in_the_front_beats_another(searched):
    found = searched(Ask())
    values = [point[1:] for point in points(found, Ask())]
    for one, other in itertools.permutations(values, 2):
        assert not all(a <= b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_the_same_seed_gives_the_same(searched, sampler, tmp_path):
    one = searched(_SMALL, sampler=sampler)
    (tmp_path / "search.sqlite").unlink()
    other = searched(_SMALL, sampler=sampler, spread=Arithmetic(backwards=True))
    assert [trial.to_json() for trial in one.trials] == [trial.to_json() for trial in other.trials]


def test_killed_again_and_again_it_ends_as_if_nothing_had_been(searched, tmp_path):
    undisturbed = searched(_SMALL)
    (tmp_path / "search.sqlite").unlink()
    kills = 0
    while True:
        try:
            found = searched(_SMALL, spread=Arithmetic(die_after=4))
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 10
    assert points(found, _SMALL) == points(undisturbed, _SMALL)
    assert [t.name for t in found.trials] == [t.name for t in undisturbed.trials]


def test_no_recipe_is_carried_out_twice_and_no_artifact_measured_twice(searched):
    spread, watch = Arithmetic(), Stopwatch()
    searched(_SMALL, spread=spread, measure=watch)
    searched(_SMALL, spread=spread, measure=watch)
    assert len(set(spread.done)) == len(spread.done)
    assert len(set(watch.measured)) == len(watch.measured)


def test_another_seed_is_another_search(searched):
    searched(trials=5)
    with pytest.raises(DataError, match="another model"):
        searched(trials=5, seed=1)


def test_where_nothing_fits_it_says_what_would_have_to_give(searched):
    ask = Ask(budget=Budget(max_drop=0.001), files=(FileBound(kind="size", most=30_000),))
    found = searched(ask)
    assert found.chosen is None
    assert found.nearest is not None
    assert found.nearest.lacking == min(trial.lacking for trial in found.trials)
    names = [one.bound for one in found.loosenings]
    assert set(names) <= {"max-size", "max-drop"}
    assert names
    for one in found.loosenings:
        trial = found.trials[one.trial - 1]
        assert [standing.bound for standing in trial.standings if not standing.kept] == [one.bound]


def test_what_was_given_up_unmeasured_is_nearest_by_its_bytes(searched):
    ask = Ask(files=(FileBound(kind="size", most=1024),))
    found = searched(ask, trials=3)
    sizes = {trial.number: trial.figures.file_bytes for trial in found.trials}
    assert [trial.state for trial in found.trials] == ["done", "hopeless", "hopeless"]
    assert found.ended == "3 recipes were tried, which is --max-trials"
    assert sizes[found.nearest.number] == min(sizes.values()) < sizes[1]
    assert [one.needed for one in found.loosenings] == [min(sizes.values())]


def test_what_may_be_nearest_is_timed_in_the_end_where_time_is_bounded(searched):
    ask = Ask(files=(FileBound(kind="size", most=1024),), latencies=(LatencyBound(device="pi", most=5.0),))
    watch, seen = Stopwatch(), []
    found = searched(ask, measure=watch, watch=SimpleNamespace(tried=seen.append), trials=3)
    smallest = min(found.trials, key=lambda trial: trial.figures.file_bytes)
    assert found.nearest == smallest
    assert smallest.figures.on("pi") is not None
    assert [(one.bound, one.trial) for one in found.loosenings] == [("max-size", smallest.number)]
    assert seen[-1] == smallest  # whoever watches hears of it again
    assert len(watch.measured) == 2
    assert searched(ask, measure=watch, trials=3) == found
    assert len(watch.measured) == 2


def test_where_no_time_can_be_kept_either_few_are_measured_for_it(searched):
    ask = Ask(files=(FileBound(kind="size", most=1024),), latencies=(LatencyBound(device="pi", most=1e-6),))
    watch = Stopwatch()
    found = searched(ask, measure=watch)
    assert len(found.trials) == 40
    assert len(watch.measured) < 10
    assert math.isfinite(found.nearest.lacking)


def test_a_device_that_goes_away_ends_it_and_what_was_measured_stays(searched):
    watch = Stopwatch(lost_after=5)
    ask = Ask(latencies=(LatencyBound(device="pi", most=5.0),))
    found = searched(ask, measure=watch)
    assert found.lost is not None
    assert len(found.trials) == 5
    back = Stopwatch()
    again = searched(ask, measure=back)
    assert again.lost is None
    assert not set(back.measured) & set(watch.measured)


def test_what_fails_is_a_trial_with_a_reason_and_the_search_goes_on(searched):
    found = searched(_SMALL, spread=Arithmetic(fails=lambda job: "out of memory" if len(job.recipe.steps) > 4 else ""))
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert failed
    assert {trial.remark for trial in failed} == {"out of memory"}
    assert found.chosen is not None


def test_only_survivors_are_trained_in_full(searched):
    spread = Arithmetic()
    found = searched(_SMALL, spread=spread)
    outdone = [trial for trial in found.trials if trial.state == "outdone"]
    assert outdone
    assert all(trial.remark for trial in outdone)
    assert not any(trial.kept for trial in outdone)


def test_a_training_that_takes_longer_than_what_is_left_is_not_begun(searched):
    found = searched(_SMALL, spread=Arithmetic(training_s=100.0), minutes=5.0)
    trained = [trial for trial in found.trials if any(step["kind"] == "distill" for step in trial.recipe["steps"])]
    assert trained
    assert {trial.state for trial in trained} == {"outdone"}
    assert any("would take" in trial.remark for trial in trained)


def test_when_the_time_is_over_nothing_new_is_begun(searched):
    seconds = itertools.count()
    spread = Arithmetic()
    found = searched(_SMALL, spread=spread, clock=lambda: float(next(seconds)), minutes=0.25)
    assert found.ended == "the 0.25 minutes of --max-minutes are over"
    assert len(found.trials) <= len(spread.done) < 15


def test_a_space_that_is_used_up_ends_it(searched):
    found = searched(scope=Scope(targets=("tflite",)), trials=1000)
    assert "nothing else" in found.ended
    assert len(found.trials) == 5


def test_every_device_is_measured(searched):
    ask = Ask(latencies=(LatencyBound(device="a", most=1.5), LatencyBound(device="b", most=15)))
    found = searched(ask, measure=Stopwatch(factor={"b": 10.0}))
    assert found.front
    for trial in found.front:
        assert math.isclose(trial.figures.on("b").median_ms, 10 * trial.figures.on("a").median_ms)
        assert trial.figures.on("a").median_ms <= 1.5


def test_a_store_that_was_damaged_is_said(searched, tmp_path):
    searched(trials=4)
    with contextlib.closing(sqlite3.connect(tmp_path / "search.sqlite")) as database:
        database.execute("update found set said = '{'")
        database.commit()
    with pytest.raises(DataError, match="is damaged"):
        searched(trials=4)


def test_known_recipes_come_the_cheapest_first_and_at_once_what_is_equally_dear():
    space = Space(Scope(targets=("tflite",), layered=True, calibrated=True, trainable=True), Operators())
    proposer = Proposer(space, objectives=3, bounds=(), sampler="tpe", population=4, seed=0)
    generations = [[proposal.choices.dearness for proposal in proposer.generation()] for _ in range(3)]
    assert [set(dearness) for dearness in generations] == [{0}, {1}, {2}]
    assert {proposal.origin for proposal in proposer.generation()} == {"sampled"}


@pytest.mark.parametrize("limits", [{"trials": 0}, {"minutes": 0}, {"minutes": math.nan}])
def test_limits_that_no_search_keeps_are_refused(limits):
    with pytest.raises(UsageError):
        Limits(**limits)
