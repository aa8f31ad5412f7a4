"""An engine that dies: the user hears of a damaged file where it was the user's, and of a step where that wrote it."""

import json

import pytest

from tinsmith.__main__ import run
from tinsmith.compress.passes.base import Pass, PassResult, Step
from tinsmith.compress.planner import PlannedPass
from tinsmith.compress.running import Runner
from tinsmith.convert.delivery import Job, Made, Workbench, deliver
from tinsmith.convert.model import Model
from tinsmith.convert.parity import EXACT
from tinsmith.convert.predictors import SandboxedArtifact
from tinsmith.convert.quantization import Plan, WeightsInt4, choose_quantizer
from tinsmith.convert.slimming import Slimmed
from tinsmith.convert.slimming.reading import in_tensors, read_model
from tinsmith.convert.slimming.writing import write_model
from tinsmith.convert.writers import writers_named
from tinsmith.runtime.errors import EngineDiedError, StepDefectError

DAMAGED = "the file is damaged or made to harm; get it again from its source"


@pytest.fixture(scope="module")
def source(matrix_model, tmp_path_factory):
    """A sound model with weights in blocks of 4 bits."""
    folder = tmp_path_factory.mktemp("blocks")
    path = matrix_model(folder / "float.tflite")
    choose_quantizer("tflite").quantize(path, folder / "mine.tflite", Plan(scheme=WeightsInt4()))
    return folder / "mine.tflite"


@pytest.fixture(scope="module")
def killer(source):
    """The bytes of one whose scales are far away from all that LiteRT has."""
    model = read_model(source.read_bytes(), "mine")
    (details,) = filter(None, map(in_tensors, model.subgraphs[0].tensors))
    details.scales = 1 << 27
    return write_model(model)


def test_a_file_of_the_users_that_kills_the_engine_is_damaged(killer, tmp_path, capsys):
    (tmp_path / "mine.tflite").write_bytes(killer)

    assert run(["compress", "mine.tflite", "-r", "slim", "-o", "small.tflite", "--format", "json"]) == 4

    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "engine-died"
    assert error["message"].startswith("the engine died on mine.tflite: SIGSEGV")
    assert error["hint"] == DAMAGED


def test_a_step_that_writes_such_a_file_is_named_and_the_users_is_not_blamed(source, killer, monkeypatch, capfd):
    slimmed = Slimmed(content=killer, before={"file": 2}, after={"file": 1})
    monkeypatch.setattr("tinsmith.convert.slimming.slim_file", lambda _: slimmed)
    log = source.with_name("a.log")

    assert run(["compress", str(source), "-r", "slim", "-o", "small.tflite"], log=log) == 70

    said = capfd.readouterr().err
    assert "error: the engine died on what the step slim wrote: SIGSEGV" in said
    assert "a defect in tinsmith, and none of mine.tflite" in said
    assert f"leave the step slim out, and please report it with the log {log}" in said
    assert "damaged" not in said
    assert "EngineDiedError: the engine died on" in log.read_text()


class Copies(Pass):
    """Writes what it is told to, or runs what it is given."""

    reads = Step
    takes, gives, tolerance = frozenset(["tflite"]), "tflite", EXACT

    def __init__(self, kind, content=b""):
        self.kind, self._content = kind, content

    def run(self, model, bench):
        if not self._content:
            SandboxedArtifact(model.path)
            return PassResult(model=model, modified=False)
        path = bench.place("copy.tflite")
        path.write_bytes(self._content)
        return PassResult(model=Model(path=path, format="tflite"), modified=True)


def planned(*passes):
    sorts = {"inserted": False, "takes": "tflite", "gives": "tflite"}
    return tuple(PlannedPass(step=Step(kind=one.kind), work=one, **sorts) for one in passes)


def test_the_step_that_wrote_it_is_named_where_another_one_runs_it(source, killer, tmp_path):
    runner = Runner(Job.of(source, tmp_path / "x.tflite"), Workbench(folder=tmp_path, dataset=None, seed=0), None)

    with pytest.raises(StepDefectError, match="the step second wrote"):
        runner.run(planned(Copies("first", source.read_bytes()), Copies("second", killer), Copies("third")))


def test_what_was_made_is_named_where_its_proof_dies(source, killer, tmp_path):
    def make(bench):
        path = bench.place("made.tflite")
        path.write_bytes(killer)
        return Made(path=path, tolerance=EXACT, steps=[{"kind": "convert"}])

    with pytest.raises(StepDefectError, match="the step convert wrote") as raised:
        deliver(Job.of(source, tmp_path / "x.tflite"), make)

    assert raised.value.hint == "please report it"
    assert list(tmp_path.iterdir()) == []


def test_who_wrote_a_file_is_told_by_its_path(tmp_path):
    mine, written, other = (tmp_path / name for name in ("mine", "written", "other"))

    def died_on(path):
        with writers_named([mine], {written: "quantize"}, otherwise="slim"):
            raise EngineDiedError(path, "SIGBUS")

    with pytest.raises(EngineDiedError) as raised:
        died_on(mine)
    assert raised.value.hint == DAMAGED
    for path, step in ((written, "quantize"), (other, "slim")):
        with pytest.raises(StepDefectError, match=rf"the step {step} wrote: SIGBUS: .* none of mine") as raised:
            died_on(path)
        assert raised.value.hint.startswith(f"leave the step {step} out")


def test_what_another_machine_has_said_stays_as_it_was_said(tmp_path):
    told = EngineDiedError.revive("the engine died on there.tflite: SIGSEGV", "a hint")

    with pytest.raises(EngineDiedError) as raised, writers_named([tmp_path / "mine"], {}):
        raise told
    assert raised.value.hint == "a hint"
