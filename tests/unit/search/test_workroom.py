"""Recipes carried out on a trained model, by this process and by workers, and delivered afterwards."""

import math
from pathlib import Path

import numpy as np
import pytest

from tinsmith.compress.budget import Budget
from tinsmith.compress.compression import Training, compress
from tinsmith.compress.passes.base import Pass
from tinsmith.compress.recipe import Recipe
from tinsmith.compress.recovery.judging import Found
from tinsmith.compress.search.sensing import MeasuredSensitivities
from tinsmith.compress.search.spreading import Care, LocalSpread
from tinsmith.compress.search.store import Store
from tinsmith.compress.search.subject import Subject
from tinsmith.compress.search.trying import Job
from tinsmith.compress.search.workroom import ModelRoom
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.files import sha256_of

pytestmark = pytest.mark.tensorflow


def job(*steps, effort="whole"):
    recipe = Recipe.model_validate({"version": 1, "target": "tflite", "steps": [*steps, {"kind": "slim"}]})
    return Job(recipe=recipe, target="tflite", effort=effort)


AGAIN = {"kind": "bn-recalibrate"}
INT8 = {"kind": "quantize", "scheme": "int8"}
DISTILLED = ({"kind": "channels", "macs": 0.6, "samples": 128}, {"kind": "distill", "epochs": 4, "batch_size": 128})


@pytest.fixture(scope="module")
def subject(studio):
    return Subject(model=studio / "stale.keras", data=str(studio / "train.npz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def room(subject, folder):
    return ModelRoom(subject, folder)


@pytest.fixture
def ran(monkeypatch):
    """Kinds of the passes that ran."""
    kinds, apply = [], Pass.apply
    monkeypatch.setattr(Pass, "apply", lambda self, *args: kinds.append(self.kind) or apply(self, *args))
    return kinds


def test_figures_are_those_of_the_artifact(room, studio):
    produced = room.carry_out(job(AGAIN, INT8))
    figures, baseline = produced.outcome.figures, room.baseline
    assert (baseline.metric, baseline.samples, baseline.trainable) == ("accuracy", 1500, False)
    assert produced.path.name == f"{produced.outcome.sha256}.tflite"
    assert sha256_of(produced.path) == produced.outcome.sha256
    assert figures.file_bytes == figures.flash_bytes == produced.path.stat().st_size
    assert figures.zip_bytes < figures.file_bytes
    assert figures.drop == pytest.approx(baseline.score - figures.score)
    assert figures.class_drop >= figures.drop
    assert figures.worst.startswith("class ")
    assert 0 < figures.agreement < 1
    assert figures.distance > 0
    (tested,) = evaluate_models([produced.path], studio / "test.npz")
    assert tested.score == pytest.approx(figures.score, abs=0.08)


def test_what_recipes_share_runs_once(room, ran):
    first = room.carry_out(job(AGAIN, INT8))
    ran.clear()
    assert room.carry_out(job(AGAIN, {**INT8, "calibration": "percentile"})).outcome.failure == ""
    assert ran == ["quantize", "slim"]
    ran.clear()
    again = room.carry_out(job(AGAIN, INT8))
    assert again.outcome.sha256 == first.outcome.sha256
    assert again.outcome.figures == first.outcome.figures


def test_a_recipe_that_can_not_be_carried_out_says_why(room):
    outcome = room.carry_out(job({**INT8, "keep": {"nobody": "float32"}})).outcome
    assert outcome.figures is None
    assert "nobody" in outcome.failure


def test_what_answers_nan_is_no_artifact(room, monkeypatch):
    broken = Found(after=None, agreement=None, misses=(), distance=math.nan)
    monkeypatch.setattr(room, "_judge", lambda *_: broken)
    outcome = room.carry_out(job(AGAIN, INT8)).outcome
    assert outcome.figures is None
    assert "NaN" in outcome.failure


def test_a_training_counts_its_epochs_once_and_whenever_it_is_asked_for(room, ran):
    sketch = room.carry_out(job(*DISTILLED, INT8, effort="sketch")).outcome
    assert sketch.training_s > 0
    ran.clear()
    again = room.carry_out(job(*DISTILLED, effort="sketch")).outcome
    assert "distill" not in ran
    assert again.training_s == sketch.training_s


def test_what_was_trained_is_delivered_without_training_again(room, subject, folder, ran):
    wanted = job(*DISTILLED, INT8)
    tried = room.carry_out(wanted).outcome
    ran.clear()
    training = Training(kept=folder / "passes")
    delivered = compress(subject.model, wanted.recipe, Path("small.tflite"), data=subject.data, training=training)
    assert not {"channels", "distill"} & set(ran)
    assert delivered.delivery.artifact.sha256 == tried.sha256
    assert delivered.layers is not None
    assert not Path("small.tflite.work").exists()


def test_a_bound_that_nothing_can_be_held_against_is_refused_before_any_work(subject, tmp_path, studio):
    blind = tmp_path / "blind.npz"
    np.savez(blind, x=np.load(studio / "train.npz")["x"][:300])
    with pytest.raises(DataError, match="labels"):
        ModelRoom(Subject(model=subject.model, data=str(blind), budget=Budget(max_drop=0.01)), tmp_path)


def test_the_test_split_is_never_looked_at(subject, tmp_path, studio, monkeypatch):
    with np.load(studio / "train.npz") as file:
        x, y = file["x"][:900], file["y"][:900]
    split = np.array(["train"] * 500 + ["validation"] * 250 + ["test"] * 150)
    np.savez(tmp_path / "split.npz", x=x, y=y, split=split)
    room = ModelRoom(Subject(model=subject.model, data=str(tmp_path / "split.npz")), tmp_path)
    assert (room.baseline.samples, room.baseline.trainable) == (250, True)
    assert "validation" in room.baseline.judged_on


def test_without_samples_bytes_and_distance_are_known(subject, tmp_path):
    room = ModelRoom(Subject(model=subject.model, data=None), tmp_path)
    figures = room.carry_out(job({"kind": "quantize", "scheme": "float16"})).outcome.figures
    assert (figures.score, figures.drop, figures.agreement) == (None, None, None)
    assert 0 < figures.distance < 1e-3


def test_workers_give_the_same_as_one_process(room, subject, tmp_path, folder):
    jobs = [job(AGAIN, INT8), job(AGAIN, {**INT8, "rounding": "second-order"})]
    here = {one.key: room.carry_out(one).outcome for one in jobs}
    with LocalSpread(subject, folder, Care(workers=2)) as spread, Store(tmp_path / "s.sqlite", "run") as store:
        assert spread.baseline == room.baseline
        there = {one.key: outcome for one, outcome in spread.outcomes(jobs)}
        asked = MeasuredSensitivities(spread, store)
        narrowing = asked.narrowing(jobs[0].recipe, "tflite")
        assert MeasuredSensitivities(None, store).narrowing(jobs[0].recipe, "tflite") == narrowing
    assert {key: (one.figures, one.sha256) for key, one in there.items()} == {
        key: (one.figures, one.sha256) for key, one in here.items()
    }
    assert {"one", "three"} <= {part for name, _ in narrowing for part in ("one", "two", "three") if part in name}
    assert all(saves > 0 for _, saves in narrowing)
