"""Whose a folder is, and what a search delivers there."""

from __future__ import annotations

import contextlib
import hashlib
import json
from types import SimpleNamespace

import pytest

from tests.unit.search.conftest import Arithmetic
from tinsmith.compress.search.bounds import Ask, FileBound
from tinsmith.compress.search.folder import Folder
from tinsmith.compress.search.search import Hands, Limits, Settings, search
from tinsmith.compress.search.store import Store
from tinsmith.compress.search.subject import Baseline, Subject, artifact_in
from tinsmith.convert.placing import put
from tinsmith.runtime.artifact import Artifact, Lineage, read_artifact
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

    baseline = Baseline(metric="accuracy", score=0.9, data_sha256="63", samples=9)


class Watch:
    """Every artifact takes as long as its name's first digits say."""

    facts = ({"name": "local", "profile": "host", "threads": 1, "emulated": False},)

    def __call__(self, artifact, device, threads):
        times = {"median_ms": 1.0, "interval_ms": None, "peak_memory_bytes": 1}
        return SimpleNamespace(spec=Measurement, placement=SimpleNamespace(units={}), **times)


def written(folder, output):
    """An artifact as ``compress`` leaves it: its content is its name."""
    produced = folder / "produced"
    produced.write_text(output.stem)
    sha256 = hashlib.sha256(output.stem.encode()).hexdigest()
    lineage = Lineage(source="cnn.tflite", source_format="tflite", source_sha256="5f" * 32, steps=())
    artifact = Artifact(
        path=output, format=output.suffix[1:], sha256=sha256, size_bytes=3, inputs=(), outputs=(), operators=(),
        lineage=lineage,
    )  # fmt: skip
    put(produced, artifact)
    return artifact


@pytest.fixture
def searched(monkeypatch, golden, folder, tmp_path):
    """Searches, and lists what was made whole; artifacts of some trials don't stand the proof."""
    made = []

    def make(model, recipe, output, *, unproven, error, training, **_):
        assert training.announce is None  # what each step moves is not said over again for every artifact
        if int(output.stem) in unproven:
            raise error("it answers NaN")
        made.append(int(output.stem))
        artifact = written(tmp_path, output)
        said = {"artifact": str(output), "made": len(made)}
        return SimpleNamespace(delivery=SimpleNamespace(artifact=artifact), to_json=lambda: said)

    def run(*unproven, ask=None, resume=False, error=VerificationError, **said):
        monkeypatch.setattr("tinsmith.compress.search.delivering.compress", lambda *args, **kwargs: make(
            *args, unproven=unproven, error=error, **kwargs))  # fmt: skip
        hands = Hands(stopwatch=Watch(), hiring=lambda *_: contextlib.nullcontext(Crew()))
        subject = Subject(model=golden / "cnn.tflite", data="d.npz")
        settings = Settings(limits=Limits(trials=12, minutes=1e6), training=False, resume=resume, **said)
        return search(subject, ask or Ask(), folder.path, hands, settings=settings)

    run.made = made
    return run


def delivered(folder):
    return sorted(path.name for path in (folder.path / "artifacts").iterdir())


def beside(folder):
    """The chosen one, and what belongs to it."""
    return sorted(path.name for path in folder.path.glob("chosen.*"))


@pytest.mark.parametrize("error", [VerificationError, StepDefectError])
def test_what_does_not_stand_the_proof_is_no_find(searched, folder, error):
    first = searched()
    folder.artifact(first.chosen, "tflite").unlink()
    again = searched(first.chosen, resume=True, error=error)

    assert again.finished
    assert again.chosen not in (None, first.chosen)
    assert first.chosen not in again.front
    assert again.trial(first.chosen).state == "failed"
    assert "it answers NaN" in again.trial(first.chosen).remark
    assert set(again.artifacts) == set(again.front)
    assert json.loads((folder.path / "run.json").read_text())["chosen"] == again.chosen
    assert folder.chosen("tflite").read_text() == f"{again.chosen:03d}"


def test_what_was_made_whole_and_proven_is_made_once(searched, folder):
    first = searched()
    assert sorted(searched.made) == sorted(first.front)

    again = searched(resume=True)

    assert sorted(searched.made) == sorted(first.front)
    assert (again.finished, again.chosen) == (True, first.chosen)
    assert again.artifacts == first.artifacts
    assert read_artifact(folder.chosen("tflite")).lineage.source == "cnn.tflite"


@pytest.mark.parametrize("damaged", ["{:03d}.tflite", "{:03d}.tflite.json"])
def test_what_is_not_what_was_proven_is_made_again(searched, folder, damaged):
    first = searched()
    path = folder.path / "artifacts" / damaged.format(first.chosen)
    path.write_bytes(path.read_bytes()[:-2])

    searched(resume=True)

    assert searched.made.count(first.chosen) == 2
    assert len(searched.made) == len(first.front) + 1
    read_artifact(folder.artifact(first.chosen, "tflite"))


def test_what_another_go_has_removed_is_made_again(searched):
    first = searched()
    searched(resume=True, threads=(2,), targets=("onnx",))
    back = searched(resume=True)
    assert searched.made.count(back.chosen) >= 2  # the onnx search has removed it
    assert back.front == first.front


def test_nothing_that_stands_the_proof_is_no_defect(searched):
    found = searched(*range(1, 20))
    assert (found.front, found.chosen, found.nearest, found.artifacts) == ((), None, None, {})


@pytest.mark.parametrize("most", [10**6, 1])
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_what_the_best_was_made_from_stands_beside_it(searched, folder, target, most):
    found = searched(ask=Ask(files=(FileBound(kind="size", most=most),)), targets=(target,))

    assert (found.chosen is None) == (most == 1)
    best = read_artifact(folder.chosen(target))  # holds all files against it
    assert best.lineage.source == "cnn.tflite"
    assert folder.chosen(target).read_text() == f"{found.best.number:03d}"
    assert json.loads((folder.path / f"chosen.{target}.json").read_text())["file"] == f"chosen.{target}"
    assert read_artifact(folder.artifact(found.best.number, target)).sha256 == best.sha256


def test_what_an_earlier_go_delivered_goes_away(searched, folder):
    searched()
    last = searched(resume=True, targets=("onnx",))

    ends = ("onnx", "onnx.json", "yaml")
    assert delivered(folder) == sorted(f"{n:03d}.{end}" for n in last.front for end in ends)
    assert beside(folder) == ["chosen.onnx", "chosen.onnx.json"]

    searched(resume=True)
    assert beside(folder) == ["chosen.tflite", "chosen.tflite.json"]
