"""Watchers and trackers by themselves: what they are told, what they keep, and how they fail."""

import contextlib
import io
import json
import logging
import os
import pty
import sys

import pytest

from tinsmith.__main__ import run
from tinsmith.compress.commands.progress import Progress
from tinsmith.compress.compression import Training, compress
from tinsmith.compress.recipe import Recipe, load_recipe
from tinsmith.compress.training.process import _listen
from tinsmith.compress.training.tracking import Trackers, open_trackers
from tinsmith.compress.training.tracking.tracker import Tracked
from tinsmith.compress.training.watching import Beginning, EpochRecord, StepRecord, Watchers
from tinsmith.runtime.errors import MissingDependencyError, OutputError, UsageError


def epoch(number):
    return EpochRecord(
        epoch=number, epochs=4, loss=1 / number, score=number / 10, learning_rate=1e-3 / number, seconds=2.0
    )


def beginning(*history, **facts):
    facts = {"training": "0a1b2c3d", "kind": "distill", "artifact": "small.tflite", **facts}
    settings = {"kind": "distill", "epochs": 4, "seed": 7, "data": "x.npz"}
    return Beginning(metric="top-5", epochs=4, steps=2, settings=settings, history=history, **facts)


class Kept:
    """A watcher, and a tracker, that keeps what it is told; it may fail."""

    place = "here"

    def __init__(self, held=(), *, fails=False):
        self.held, self.fails, self.told = held, fails, []

    def began(self, beginning):
        self.told.append(beginning)

    def stepped(self, record):
        self.told.append(record)

    def epoch_done(self, record):
        self.told.append(record)

    def ended(self, *, finished):
        self.told.append(finished)

    def open(self, beginning):
        return self.held

    def log(self, epoch, figures):
        self.told.append((epoch, *figures))

    def close(self, *, finished):
        if self.fails:
            raise ZeroDivisionError("the disk is gone")
        self.told.append(finished)


LINES = [
    {"began": beginning(epoch(1)).to_json()},
    {"stepped": StepRecord(epoch=2, step=1, loss=0.5, learning_rate=0.1).to_json()},
    {"epoch": epoch(2).to_json()},
]


def said(*documents):
    return io.StringIO("".join(json.dumps(document) + "\n" for document in documents))


def test_what_the_child_says_reaches_every_watcher_as_it_was():
    first, second = Kept(), Kept()
    lines = [*LINES, {"ended": {"finished": True}}, {"answer": {"x": 1}}]
    assert _listen(said(*lines), Watchers([first, second])) == {"x": 1}
    step = StepRecord(epoch=2, step=1, loss=0.5, learning_rate=0.1)
    assert first.told == second.told == [beginning(epoch(1)), step, epoch(2), True]


def test_a_training_whose_process_dies_or_fails_has_ended_unfinished():
    died, failed = Kept(), Kept()
    assert _listen(said(*LINES), died) is None
    with pytest.raises(UsageError, match="so it is"):
        _listen(said(*LINES, {"error": "UsageError", "message": "so it is", "hint": ""}), failed)
    assert died.told[-1] is failed.told[-1] is False


def test_a_run_is_named_after_artifact_and_pass():
    assert beginning().name == "small-distill"
    assert beginning(artifact="").name == "distill"
    assert beginning(artifact="v1.2.onnx").name == "v1.2-distill"


def test_an_epoch_that_a_run_holds_is_not_told_again_and_one_that_it_lacks_is():
    tracker = Kept(held=[1])
    Tracked(tracker).began(beginning(epoch(1), epoch(2)))
    assert tracker.told == [(2, "loss", "learning_rate", "seconds", "top-5")]


def test_a_tracker_that_fails_says_where_and_never_hides_why_a_training_broke_off(caplog):
    tracked = Tracked(Kept(fails=True))
    with pytest.raises(OutputError, match="cannot keep runs in here: the disk is gone") as caught:
        tracked.ended(finished=True)
    assert "--resume" in caught.value.hint
    tracked.ended(finished=False)
    assert "the disk is gone" in caplog.text


@pytest.mark.parametrize(
    ("trackers", "error", "match"),
    [
        ({"mlflow": "runs.db"}, UsageError, "no tracking address"),
        ({"mlflow": "file:///tmp/x"}, UsageError, "no tracking address"),
        ({"mlflow": "sqlite:///nowhere/runs.db"}, OutputError, "no folder nowhere"),
        ({"mlflow": "sqlite:///text.txt"}, OutputError, "no database"),
        ({"tensorboard": "text.txt"}, OutputError, "cannot write text.txt"),
        ({"wandb": "text.txt/runs"}, OutputError, "cannot write text.txt/runs"),
    ],
)
def test_what_can_t_be_written_is_found_out_before(tmp_path, trackers, error, match):
    (tmp_path / "text.txt").write_text("no database, but a text that is long enough to be none" * 10)
    with pytest.raises(error, match=match) as caught:
        open_trackers(Trackers(**trackers))
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("module", "package", "named"),
    [
        ("mlflow.tracking", "mlflow-skinny", {"mlflow": "sqlite:///runs.db"}),
        ("alembic", "alembic", {"mlflow": "sqlite:///runs.db"}),
        ("wandb", "wandb", {"wandb": "w"}),
    ],
)
def test_a_missing_package_is_named_before_anything_is_trained(monkeypatch, golden, tmp_path, module, package, named):
    monkeypatch.setitem(sys.modules, module, None)
    recipe = Recipe.model_validate({"version": 1, "steps": [{"kind": "distill", "width": 0.5}]})
    training = Training(watcher=Kept(), trackers=Trackers(**named))
    with pytest.raises(MissingDependencyError, match=f"needs the package {package}") as caught:
        compress(golden / "cnn.keras", recipe, tmp_path / "x.tflite", training=training)
    assert caught.value.hint == 'install it with: pip install "tinsmith[tracking]"'
    assert training.watcher.told == []
    assert not list(tmp_path.glob("x.tflite*"))


def test_a_recipe_that_trains_nothing_says_that_nothing_is_tracked(caplog, golden, tmp_path):
    training = Training(trackers=Trackers(tensorboard="boards"))
    compress(golden / "cnn.tflite", load_recipe("slim"), tmp_path / "x.tflite", training=training)
    assert "nothing is tracked" in caplog.text
    assert not (tmp_path / "boards").exists()


def test_a_run_of_mlflow_that_failed_goes_on_and_is_finished(tmp_path):
    (tracked,) = open_trackers(Trackers(mlflow="sqlite:///runs.db"))
    client = tracked._tracker._client

    def runs():
        return [(r.info.status, r.info.run_name) for r in client.search_runs([tracked._tracker._experiment])]

    tracked.began(beginning())
    tracked.epoch_done(epoch(1))
    tracked.ended(finished=False)
    assert runs() == [("FAILED", "small-distill")]
    tracked.began(beginning(epoch(1), epoch(2)))
    assert runs() == [("RUNNING", "small-distill")]
    tracked.epoch_done(epoch(3))
    (run,) = client.search_runs([tracked._tracker._experiment])
    tracked.ended(finished=True)
    assert runs() == [("FINISHED", "small-distill")]
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "top-5")] == [1, 2, 3]
    assert run.data.params == {"kind": "distill", "epochs": "4", "seed": "7", "data": "x.npz"}


@pytest.mark.tensorflow
def test_an_event_file_that_a_kill_cut_off_keeps_what_it_has(tmp_path):
    (tracked,) = open_trackers(Trackers(tensorboard="boards"))
    tracked.began(beginning())
    for number in (1, 2, 3):
        tracked.epoch_done(epoch(number))
    tracked.ended(finished=False)
    (path,) = (tmp_path / "boards" / "small-distill-0a1b2c3d").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert tracked._tracker.open(beginning(epoch(1))) == {1, 2}


def drawn_on_a_terminal(work):
    """What some work draws on stderr where that is a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    with pytest.MonkeyPatch.context() as patch, os.fdopen(theirs, "w", buffering=1) as stream:
        patch.setenv("COLUMNS", "80")
        patch.setattr("sys.stderr", stream)
        work()
    drawn = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 65536):
            drawn += part
    os.close(ours)
    return drawn.decode()


@pytest.mark.parametrize(("level", "term", "bar", "lines"), [
    (logging.INFO, "xterm", True, 0), (logging.INFO, "dumb", False, 2), (logging.ERROR, "xterm", False, 0),
])  # fmt: skip
def test_each_training_is_shown_as_stderr_can(monkeypatch, caplog, level, term, bar, lines):
    monkeypatch.setenv("TERM", term)
    caplog.set_level(level, logger="tinsmith")

    def train():
        progress = Progress()
        for kind in ("magnitude", "distill"):
            progress.began(beginning(kind=kind))
            progress.stepped(StepRecord(epoch=1, step=1, loss=2.0, learning_rate=5e-4))
            progress.epoch_done(epoch(1))
            progress.ended(finished=kind == "distill")

    drawn = drawn_on_a_terminal(train)
    for kind in ("magnitude", "distill"):
        assert (kind in drawn) is bar
    assert ("epoch 1/4  step 2/2" in drawn) is bar
    assert ("loss 1.0000, top-5 0.1000, learning rate 1.00e-03" in drawn) is bar
    assert [record.message for record in caplog.records] == [
        f"{kind}: epoch 1 of 4, loss 1.0000, top-5 0.1000, learning rate 1.00e-03, 2.0 s, at most 0:00:06 left"
        for kind in ("magnitude", "distill")[:lines]
    ]


def test_a_training_that_goes_on_says_where(caplog):
    caplog.set_level(logging.INFO, logger="tinsmith")
    progress = Progress()
    progress.began(beginning(epoch(1), epoch(2)))
    assert caplog.messages == ["distill: goes on after epoch 2 of 4"]


def test_a_dry_run_says_what_each_step_needs_and_moves(golden, tmp_path, capsys):
    steps = [{"kind": "channels", "macs": 0.5}, {"kind": "distill"}, {"kind": "quantize", "scheme": "int8"}]
    (tmp_path / "r.yaml").write_text(json.dumps({"version": 1, "target": "tflite", "steps": steps}))
    command = ["compress", str(golden / "cnn.keras"), "-r", "r.yaml", "-o", "x.tflite", "--dry-run"]
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    assert [line.split()[5:] for line in shown.splitlines() if line.strip()[:1].isdigit()] == [
        ["data", "all"], ["data,", "training", "accuracy"], ["-", "nothing"], ["data", "all"],
    ]  # fmt: skip
    assert "channels: follow it by distill" in shown
    assert run([*command, "--format", "json"]) == 0
    distill = json.loads(capsys.readouterr().out)["plan"][1]
    assert distill["needs"] == {"data": True, "labels": False, "training": True}
    assert (distill["moves"], distill["remark"]) == (["accuracy"], "")
