"""What trackers hold of a search, however often it was killed."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import replace

import pytest

from tests.unit.search.conftest import Arithmetic, Stopwatch
from tests.unit.search.recorded import record_of
from tinsmith.__main__ import run
from tinsmith.compress.budget import Budget
from tinsmith.compress.search.bounds import Ask, FileBound, LatencyBound
from tinsmith.compress.search.found import Found
from tinsmith.compress.search.search import Hands, Settings, search
from tinsmith.compress.search.searching import Limits
from tinsmith.compress.search.subject import Baseline, Subject
from tinsmith.compress.search.tracking import SearchTracking, search_run, trial_run
from tinsmith.compress.training.tracking import Trackers, open_trial_trackers
from tinsmith.compress.training.tracking.trials import SearchEnd, SearchRun, TrackedTrials, TrialRun
from tinsmith.runtime.errors import OutputError, UsageError

_ASK = Ask(
    budget=Budget(max_drop=0.01),
    files=(FileBound(kind="size", most=60_000),),
    latencies=(LatencyBound(device="ssh://me@pi:22", most=5.0),),
)
SEARCH = SearchRun(search="0a1b2c3d", name="small-search", settings={"max-size": "60,000 bytes", "seed": 3})


def trial(number, **said):
    said = {"name": f"{number:03d} int8", "figures": {"file_bytes": 100.0 * number, "latency_ms.pi": 0.1}, **said}
    settings = {"quantize.scheme": "int8", "target": "tflite", "threads": 2, "recipe": '{"version": 1}'}
    return TrialRun(number=number, settings=settings, state="failed" if said.get("failed") else "done", **said)


class Kept:
    """A tracker that keeps runs as long as the test; it may fail."""

    place = "here"

    def __init__(self):
        self.runs, self.told, self.ends, self.fails = {}, [], [], False

    def open_search(self, search):
        return {number: run.mark for number, run in self.runs.items()}

    def tried(self, trial):
        if self.fails:
            raise ZeroDivisionError("the disk is gone")
        self.runs[trial.number] = trial
        self.told.append(trial)

    def end_search(self, end):
        if self.fails:
            raise ZeroDivisionError("the disk is gone")
        self.ends.append(end)


def searched_with(searched, tracker, **said):
    """Search, or go on, and tell the tracker as ``search`` does."""
    with SearchTracking([tracker], SEARCH) as tracking:
        found = searched(_ASK, watch=tracking, **said)
        tracking.ended(found)
    return found


def test_killed_again_and_again_a_tracker_holds_each_trial_once(searched):
    tracker, kills = Kept(), 0
    while True:
        try:
            found = searched_with(searched, tracker, spread=Arithmetic(die_after=4), trials=20)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 2
    assert tracker.ends == [*[SearchEnd(finished=False)] * kills,
                            SearchEnd(finished=True, ended=found.ended, chosen=found.chosen.number)]  # fmt: skip
    assert [run.number for run in tracker.told] == [*range(1, 21), found.chosen.number]
    assert [number for number, run in tracker.runs.items() if run.chosen] == [found.chosen.number]
    held = [replace(run, chosen=False) for run in tracker.runs.values()]
    assert held == [trial_run(one) for one in found.trials]


def test_a_search_that_is_over_and_goes_on_tells_nothing_twice(searched):
    tracker = Kept()
    for _ in range(2):
        searched_with(searched, tracker, trials=10)
        assert len(tracker.told) == 11


def test_with_more_trials_another_may_be_chosen_and_only_that_is_marked():
    tracker = Kept()
    for chosen in (1, 2, None):
        tracked = TrackedTrials(tracker, SEARCH)
        for number in (1, 2, 3):
            tracked.tried(trial(number))
        tracked.ended(SearchEnd(finished=True, ended="done", chosen=chosen))
        assert [number for number, run in tracker.runs.items() if run.chosen] == ([chosen] if chosen else [])


def test_a_trial_that_went_otherwise_takes_the_place_of_what_it_was():
    tracker = Kept()
    TrackedTrials(tracker, SEARCH).tried(trial(1, remark="the time was over"))
    TrackedTrials(tracker, SEARCH).tried(trial(1))
    assert tracker.runs == {1: trial(1)}


def test_a_device_that_went_away_leaves_the_run_open(searched):
    tracker = Kept()
    searched_with(searched, tracker, measure=Stopwatch(lost_after=3))
    assert tracker.ends[0].finished is False
    assert "is gone" in tracker.ends[0].ended


def test_a_tracker_that_fails_ends_the_search_and_never_hides_why_it_broke_off(searched, caplog):
    caplog.set_level(logging.WARNING, logger="tinsmith")  # a command with -q has left it at errors
    tracker = Kept()
    tracker.fails = True
    with pytest.raises(KeyboardInterrupt):
        searched_with(searched, tracker, spread=Arithmetic(die_after=0))
    assert "the disk is gone" in caplog.text
    with pytest.raises(OutputError, match="cannot keep runs in here: the disk is gone") as caught:
        searched_with(searched, tracker)
    assert "--resume" in caught.value.hint


def test_a_trial_is_told_with_its_choices_and_all_its_figures(searched):
    spread = Arithmetic(fails=lambda job: "no room" if job.key.startswith(("0", "1", "2")) else "")
    found = searched(_ASK, spread=spread)
    runs = [trial_run(one) for one in found.trials]
    done = next(one for one in runs if one.state == "done")
    assert done.figures.keys() == {
        "seconds", "lacking", "file_bytes", "zip_bytes", "flash_bytes", "score", "drop",
        "latency_ms.ssh-me-pi-22", "memory_bytes.ssh-me-pi-22",
    }  # fmt: skip
    assert {"recipe", "target", "threads", "origin"} <= done.settings.keys()
    assert json.loads(done.settings["recipe"])["target"] == "tflite"
    assert any(one.settings.get("quantize.scheme") == "int8" for one in runs)
    failed = next(one for one in runs if one.failed)
    assert (failed.figures.keys(), failed.remark) == ({"seconds"}, "no room")


def test_a_search_is_told_with_what_it_keeps_and_how():
    found = Found(trials=(), front=(), chosen=None, nearest=None, loosenings=(), ended="")
    told = search_run(record_of(found, _ASK), "0a1b2c3d")
    assert told.name == "my model-search"
    assert told.settings["max-size"] == "60,000 bytes"
    assert told.settings["max-latency-ssh-me-pi-22"] == "5 ms"
    assert told.settings["seed"] == 3
    assert "device" not in told.settings


class Failing(Arithmetic):
    """A crew for which nothing can be carried out."""

    baseline = Baseline()

    def __init__(self):
        super().__init__(fails=lambda job: "no room")


class Timer:
    """A stopwatch with nothing to measure."""

    facts = ({"name": "local", "profile": "local", "threads": 1, "emulated": False},)


def test_a_search_that_goes_on_does_so_in_its_own_run(golden, tmp_path, monkeypatch):
    tracker, names = Kept(), []
    monkeypatch.setattr(
        tracker, "open_search", lambda said: names.append(said.search) or Kept.open_search(tracker, said)
    )
    monkeypatch.setattr("tinsmith.compress.search.search.open_trial_trackers", lambda trackers: (tracker,))
    hands = Hands(stopwatch=Timer(), hiring=lambda subject, folder: contextlib.nullcontext(Failing()))
    subject = Subject(model=golden / "cnn.tflite", data=None)
    for resume in (False, True):
        search(subject, Ask(), tmp_path / "run", hands, settings=Settings(limits=Limits(trials=3), resume=resume))
    assert len(names) == 2
    assert len(set(names)) == 1
    assert [run.number for run in tracker.told] == [1, 2, 3]


def test_a_tracker_that_can_t_be_used_is_found_out_before_anything_is_made(golden, tmp_path, capsys):
    command = ["search", str(golden / "cnn.tflite"), "--max-size", "20KiB", "-o", "run", "--mlflow", "runs.db"]
    assert run(command) == UsageError.exit_code
    assert "no tracking address" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


TWICE = [trial(1), trial(2, failed=True, figures={"seconds": 1.0}, remark="no room"), trial(3)]


def told_twice(trackers):
    """A search that broke off after two trials, went on, and ended with the first; gives what is held then."""
    for trials in (TWICE[:2], TWICE):
        (tracker,) = open_trial_trackers(Trackers(**trackers))
        tracked = TrackedTrials(tracker, SEARCH)
        for one in trials:
            tracked.tried(one)
        if one.number == 2:
            tracked.broke_off()
        else:
            tracked.ended(SearchEnd(finished=True, ended="so many were tried", chosen=1))
    (tracker,) = open_trial_trackers(Trackers(**trackers))
    marks = [replace(one, chosen=one.number == 1).mark for one in TWICE]
    assert tracker.open_search(SEARCH) == dict(enumerate(marks, start=1))
    return tracker


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The address of one that MLflow, which takes seconds to make it, keeps open under that address."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/runs.db"


def test_mlflow_nests_each_trial_once_below_its_search(database):
    client = told_twice({"mlflow": database})._client
    runs = client.search_runs([client.get_experiment_by_name("tinsmith").experiment_id])
    (search,) = [run for run in runs if run.data.tags.get("tinsmith.search") == SEARCH.search]
    assert (search.info.run_name, search.data.params["max-size"]) == ("small-search", "60,000 bytes")
    assert search.data.tags["tinsmith.chosen"] == "1"
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == search.info.run_id]
    trials = sorted(nested, key=lambda run: run.info.run_name)
    assert [run.info.status for run in trials] == ["FINISHED", "FAILED", "FINISHED"]
    assert [run.data.tags["tinsmith.chosen"] for run in trials] == ["yes", "no", "no"]
    assert trials[1].data.tags["tinsmith.remark"] == "no room"
    assert trials[2].data.metrics == {"file_bytes": 300.0, "latency_ms.pi": 0.1}
    assert trials[2].data.params["quantize.scheme"] == "int8"


def test_a_run_of_mlflow_that_a_kill_cut_short_is_written_again(database, monkeypatch):
    (tracker,) = open_trial_trackers(Trackers(mlflow=database))
    search = replace(SEARCH, search="ffffffff")
    tracker.open_search(search)
    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "log_batch", None)
        with pytest.raises(TypeError):
            tracker.tried(trial(1))
    assert tracker.open_search(search) == {}
    tracker.tried(trial(1))
    assert tracker.open_search(search) == {1: trial(1).mark}
    experiment = tracker._client.get_experiment_by_name("tinsmith").experiment_id
    runs = tracker._client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{tracker._run}'")
    assert [run.data.metrics for run in runs] == [trial(1).figures]


@pytest.mark.tensorflow
def test_tensorboard_has_the_figures_of_each_trial_once_at_its_number(tmp_path):
    import tensorflow as tf

    told_twice({"tensorboard": "boards"})
    (run,) = (tmp_path / "boards").iterdir()
    assert run.name == "small-search-0a1b2c3d"
    assert all("tfevents" in path.name for path in run.iterdir())
    events = [tf.compat.v1.Event.FromString(record) for path in sorted(run.iterdir())
              for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]  # fmt: skip
    found = [(event.step, value) for event in events for value in event.summary.value]
    assert [(step, value.simple_value) for step, value in found if value.tag == "file_bytes"] == [(1, 100), (3, 300)]
    texts = {
        (value.tag, step): value.tensor.string_val[0].decode() for step, value in found if value.metadata.ByteSize()
    }
    assert texts.keys() == {(f"{tag}/text_summary", step) for tag, step in
                            [("settings", 0), ("trial", 1), ("trial", 2), ("trial", 3), ("ended", 1)]}  # fmt: skip
    assert "| chosen | `true` |" in texts["trial/text_summary", 1]
    assert '| remark | `"no room"` |' in texts["trial/text_summary", 2]


def test_wandb_groups_each_trial_once_offline(tmp_path):
    from wandb.proto.wandb_internal_pb2 import Record

    from tests.unit.test_resuming_and_tracking import offline_records

    told_twice({"wandb": "offline"})
    begun = {}
    for path in (tmp_path / "offline" / "wandb").glob("offline-run-*/run-*.wandb"):
        records = list(offline_records(path))
        assert all(isinstance(record, Record) for record in records)
        run = next(record.run for record in records if record.HasField("run"))
        assert run.run_id not in begun
        begun[run.run_id] = (run, [record.exit.exit_code for record in records if record.HasField("exit")])
    assert {name: codes for name, (_, codes) in begun.items()} == {
        "0a1b2c3d": [0], "0a1b2c3d-1": [0], "0a1b2c3d-2": [1], "0a1b2c3d-3": [0],
    }  # fmt: skip
    assert {run.run_group for run, _ in begun.values()} == {"0a1b2c3d"}
    assert list(begun["0a1b2c3d-1"][0].tags) == ["done", "chosen"]
    assert begun["0a1b2c3d-2"][0].notes == "no room"
