"""Whose a folder is, and what a search delivers there."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import pytest

from tests.unit.search.conftest import Arithmetic
from tinsmith.compress.search.bounds import Ask
from tinsmith.compress.search.folder import Folder
from tinsmith.compress.search.search import Hands, Limits, Settings, search
from tinsmith.compress.search.store import Store
from tinsmith.compress.search.subject import Baseline, Subject, artifact_in
from tinsmith.runtime.errors import BusyError, HostError, StepDefectError, UsageError, VerificationError
from tinsmith.runtime.measurement import Measurement


@pytest.fixture
def folder(tmp_path):
    return Folder(path=tmp_path / "run")


def test_two_searches_are_not_at_one_folder(folder):
    with folder.taken(resume=False), pytest.raises(BusyError, match="another search"), folder.taken(resume=True):
        pass


def test_a_search_that_could_not_begin_leaves_no_claim(folder):
    with contextlib.suppress(ZeroDivisionError), folder.taken(resume=False):
        raise ZeroDivisionError
    with folder.taken(resume=False):
        Store(folder.store, "run").close()
    with pytest.raises(UsageError, match="holds a search"), folder.taken(resume=False):
        pass
    with folder.taken(resume=True):
        pass


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["letter.txt", "work/letter.txt", ".lock"])
def test_what_is_not_of_a_search_is_left_alone(tmp_path, folder, resume, name):
    (folder.path / name).parent.mkdir(parents=True)
    (folder.path / name).touch()
    (folder.path / "other.txt").touch()
    with pytest.raises(UsageError, match="something else"), folder.taken(resume=resume):
        pass
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


def test_an_artifact_that_somebody_removed_is_said(tmp_path):
    with pytest.raises(HostError, match="has lost abc"):
        artifact_in(tmp_path, "abc")


class Crew(Arithmetic):
    """Carries nothing out in truth."""

    baseline = Baseline(metric="accuracy", score=0.9, data_sha256="63", samples=9, names_classes=True)


class Watch:
    """Every artifact takes as long as its name's first digits say."""

    facts = ({"name": "local", "profile": "host", "threads": 1, "emulated": False},)

    def __call__(self, artifact, device, threads):
        times = {"median_ms": 1.0, "interval_ms": None, "peak_memory_bytes": 1}
        return SimpleNamespace(spec=Measurement, placement=SimpleNamespace(units={}), **times)


@pytest.fixture
def searched(monkeypatch, golden, folder):
    """Searches; artifacts of some trials don't stand the proof."""

    def make(model, recipe, output, *, unproven, error, **_):
        if int(output.stem) in unproven:
            raise error("it answers NaN")
        output.write_text(output.stem)
        return SimpleNamespace(delivery=SimpleNamespace(artifact=SimpleNamespace(sha256="")), to_json=dict)

    def run(*unproven, resume=False, error=VerificationError, **said):
        monkeypatch.setattr("tinsmith.compress.search.search.compress", lambda *args, **kwargs: make(
            *args, unproven=unproven, error=error, **kwargs))  # fmt: skip
        hands = Hands(stopwatch=Watch(), hiring=lambda *_: contextlib.nullcontext(Crew()))
        subject = Subject(model=golden / "cnn.tflite", data="d.npz")
        settings = Settings(limits=Limits(trials=12, minutes=1e6), training=False, resume=resume, **said)
        return search(subject, Ask(), folder.path, hands, settings=settings)

    return run


def delivered(folder):
    return sorted(path.name for path in (folder.path / "artifacts").iterdir())


@pytest.mark.parametrize("error", [VerificationError, StepDefectError])
def test_what_does_not_stand_the_proof_is_no_find(searched, folder, error):
    first = searched()
    again = searched(first.chosen, resume=True, error=error)

    assert again.finished
    assert again.chosen not in (None, first.chosen)
    assert first.chosen not in again.front
    assert again.trial(first.chosen).state == "failed"
    assert "it answers NaN" in again.trial(first.chosen).remark
    assert set(again.artifacts) == set(again.front)
    assert json.loads((folder.path / "run.json").read_text())["chosen"] == again.chosen
    assert folder.chosen("tflite").read_text() == f"{again.chosen:03d}"


def test_nothing_that_stands_the_proof_is_no_defect(searched):
    found = searched(*range(1, 20))
    assert (found.front, found.chosen, found.nearest, found.artifacts) == ((), None, None, {})


def test_what_an_earlier_go_delivered_goes_away(searched, folder):
    searched()
    last = searched(resume=True, targets=("onnx",))

    assert delivered(folder) == sorted(f"{n:03d}.{end}" for n in last.front for end in ("onnx", "yaml"))
    assert not folder.chosen("tflite").exists()
    assert folder.chosen("onnx").exists()
