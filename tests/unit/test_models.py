"""The repository of models: swaps that nobody notices, refusals that harm nobody, leases that hold."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tinsmith.runtime.audit import AuditLog, verify_log
from tinsmith.runtime.bundle.golden import Golden
from tinsmith.runtime.errors import ModelError, ModelLoadError, OutputError, UsageError, VerificationError
from tinsmith.runtime.server.messages import Refusal
from tinsmith.runtime.server.models import Models
from tinsmith.runtime.server.servables import Servables, Source
from tinsmith.runtime.server.serving import Limits, Servable, instances_of
from tinsmith.runtime.session import Session
from tinsmith.runtime.tensors import TensorSpec

PATIENCE_S = 20.0
LATER_S = 1e9
ONE = {"x": np.ones((1, 1), np.float32)}


class Times:
    """y = factor * x, the factor being what the file says."""

    name, version, accelerator = "fake", "0", "cpu"
    inputs = (TensorSpec(name="x", dtype="float32", shape=(None, 1)),)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(None, 1)),)

    def __init__(self, factor):
        self.factor = factor
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.closed = False

    def run(self, feeds):
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        assert not self.closed, "freed while in use"
        return [np.float32(self.factor) * feeds[0]]

    def close(self):
        self.closed = True


class House:
    """Models over files of the form ``PK\\x03\\x04VERSION FACTOR``, with everything that they did."""

    def __init__(self, folder, names=("m",), limits=None, engine=Times, may_fall=False, **settings):
        self.folder = folder
        self.engine = engine
        self.engines = []
        self.bad = set()
        self.store = Servables(folder / "store", self.unpack)
        self.log = folder / "audit.jsonl"
        sources = [Source(name=n, path=folder / n, limits=limits or Limits(), may_fall=may_fall) for n in names]
        self.models = Models(
            sources, self.store, audit=AuditLog(self.log), vet=self.vet, open_session=self.open, **settings
        )

    def write(self, text, name="m"):
        (self.folder / name).write_bytes(b"PK\x03\x04" + text.encode())

    def load(self, text, name="m"):
        self.write(text, name)
        self.models.load(name)

    @staticmethod
    def unpack(path, folder):
        version, factor = path.read_bytes()[4:].decode().split()
        (folder / "x.tflite").write_text(factor)
        golden = Golden(inputs={}, outputs={}, tolerance={})
        return Servable(
            name="", version=version, path=folder / "x.tflite", format="tflite", sha256=factor, golden=golden
        )

    def vet(self, servable, limits):
        if servable.sha256 in self.bad:
            raise VerificationError("the golden inputs give other outputs")

    def open(self, servable):
        self.engines.append(self.engine(int(servable.path.read_text())))
        return Session(self.engines[-1])

    def ask(self, name="m", version=None):
        with self.models.lease(name, version) as served:
            return float(served.infer(ONE, deadline_s=LATER_S).outputs["y"][0, 0])

    def state(self, name="m"):
        return next(state for state in self.models.index() if state.name == name)

    def events(self):
        verify_log(self.log)
        return [json.loads(line)["event"] for line in self.log.read_text().splitlines()]


@pytest.fixture
def house(tmp_path):
    opened = House(tmp_path)
    yield opened
    opened.models.close()


def test_a_server_that_waits_for_its_first_model_has_not_loaded_numpy():
    code = (
        "import sys, tinsmith.runtime.audit, tinsmith.runtime.server.models, tinsmith.runtime.server.watching; "
        "sys.exit('numpy' in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_before_it_is_loaded_a_model_is_unavailable_and_the_server_not_ready(house):
    assert (house.state().state, house.state().version) == ("UNAVAILABLE", "")
    assert not house.models.ready
    with pytest.raises(Refusal) as refusal:
        house.ask()
    assert (refusal.value.status, refusal.value.retry_after_s) == (503, 5)


def test_loads_and_serves(house):
    house.load("1 2")

    assert house.ask() == 2
    assert house.models.ready
    assert (house.state().state, house.state().version, house.state().reason) == ("READY", "1", "")
    assert house.events() == ["load"]


def test_another_name_or_version_is_not_found(house):
    house.load("3 2")

    assert house.ask(version="3") == 2
    for arguments in (("other", None), ("m", "2")):
        with pytest.raises(Refusal) as refusal:
            house.ask(*arguments)
        assert refusal.value.status == 404
    for change in (house.models.load, house.models.unload):
        with pytest.raises(Refusal) as refusal:
            change("other")
        assert refusal.value.status == 404


def test_a_swap_frees_the_old_one_and_its_files(house):
    house.load("1 2")
    house.load("2 3")

    assert house.ask() == 3
    assert [engine.closed for engine in house.engines] == [True, False]
    assert [path.name for path in house.store.folder.iterdir() if path.is_dir()] == ["3"]
    assert house.events() == ["load", "swap"]


def swapped(house, version):
    """Wait until this version serves."""
    deadline_s = time.monotonic() + PATIENCE_S
    while house.state().version != version:
        assert time.monotonic() < deadline_s
        time.sleep(0)  # let the other thread go on


def test_a_swap_waits_for_the_requests_of_the_old_one_and_new_ones_go_to_the_new_one(house):
    house.load("1 2")
    old = house.engines[0]
    old.gate.clear()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(house.ask()))
    asking.start()
    assert old.entered.acquire(timeout=PATIENCE_S)
    house.write("2 3")
    swapping = threading.Thread(target=house.models.load, args=["m"])
    swapping.start()
    swapped(house, "2")

    assert house.ask() == 3
    assert not old.closed
    old.gate.set()
    asking.join(PATIENCE_S)
    swapping.join(PATIENCE_S)
    assert answers == [2]
    assert old.closed


def test_a_lease_outlives_a_swap(house):
    house.load("1 2")
    house.write("2 3")
    swapping = threading.Thread(target=house.models.load, args=["m"])
    with house.models.lease("m") as served:
        swapping.start()
        swapped(house, "2")
        assert served.infer(ONE, deadline_s=LATER_S).outputs["y"] == 2
    swapping.join(PATIENCE_S)

    assert house.engines[0].closed


@pytest.mark.parametrize(
    ("bad", "error", "said"),
    [
        ("2 13", VerificationError, "golden inputs give other"),
        ("0 3", VerificationError, "version 0 of m is older than 1, which is served"),
        ("1 3", VerificationError, "other bytes under the same number"),
        ("2 none", ValueError, "none"),
    ],
)
def test_a_bad_model_leaves_the_old_one_serving_and_says_why(house, bad, error, said):
    house.load("1 2")
    house.bad.add("13")

    with pytest.raises(error, match=said):
        house.load(bad)

    assert house.ask() == 2
    assert (house.state().state, house.state().version) == ("READY", "1")
    assert said in house.state().reason
    assert [path.name for path in house.store.folder.iterdir() if path.is_dir()] == ["2"]
    assert house.events() == ["load", "refusal"]
    assert house.models.events == {("m", "load"): 1, ("m", "refusal"): 1}
    house.load("2 4")
    assert (house.ask(), house.state().reason) == (4, "")


def test_a_bad_first_model_is_unavailable_and_says_why(house):
    with pytest.raises(ModelLoadError, match="cannot read"):
        house.models.load("m")

    assert house.state().state == "UNAVAILABLE"
    assert "cannot read" in house.state().reason
    with pytest.raises(Refusal, match="cannot read"):
        house.ask()


def test_a_swap_that_can_not_be_logged_does_not_happen(house):
    house.load("1 2")
    shutil.move(house.log, house.log.with_name("kept"))
    house.log.mkdir()

    with pytest.raises(OutputError):
        house.load("2 3")

    assert house.ask() == 2
    assert house.engines[1].closed


def test_where_an_agent_decides_an_older_version_is_swapped_in(tmp_path):
    followed = House(tmp_path, may_fall=True)
    followed.load("2 20")
    followed.load("1 10")
    followed.load("1 11")  # other bytes under the same number: so the agent was told

    assert (followed.ask(), followed.state().version, followed.state().reason) == (11, "1", "")
    followed.models.close()


def test_unloaded_and_loaded_again_even_in_an_older_version(house):
    house.load("2 2")
    house.models.unload("m")

    assert (house.state().state, house.state().reason) == ("UNAVAILABLE", "unloaded")
    assert house.engines[0].closed
    with pytest.raises(Refusal, match="unloaded") as refusal:
        house.ask()
    assert refusal.value.status == 503
    house.models.unload("m")
    house.load("1 3")
    assert house.ask() == 3
    assert house.events() == ["load", "unload", "load"]


def test_a_changed_file_is_swapped_in_and_one_that_only_looks_changed_is_not(house):
    house.load("1 2")
    house.write("1 2")
    house.models.refresh("m")
    assert len(house.engines) == 1
    house.write("2 3")
    house.models.refresh("m")
    assert house.ask() == 3
    (house.folder / "m").unlink()
    house.models.refresh("m")

    assert house.ask() == 3
    assert "cannot read" in house.state().reason
    assert [json.loads(line)["by"] for line in house.log.read_text().splitlines()] == ["", "file change", "file change"]


def test_a_defect_that_one_model_brings_out_does_not_keep_the_others_from_serving(tmp_path):
    house = House(tmp_path, names=("a", "b"))
    house.write("1 none", "a")
    house.write("1 2", "b")
    house.models.load_all()

    assert house.ask("b") == 2
    assert (house.state("a").state, "none" in house.state("a").reason) == ("UNAVAILABLE", True)
    house.models.close()


def test_several_models_do_not_know_each_other(tmp_path):
    house = House(tmp_path, names=("b", "a"))
    house.bad.add("13")
    house.write("1 2", "a")
    house.write("1 13", "b")
    house.models.load_all()

    assert [(state.name, state.state) for state in house.models.index()] == [("a", "READY"), ("b", "UNAVAILABLE")]
    assert house.ask("a") == 2
    assert not house.models.ready
    house.load("1 3", "b")
    assert house.models.ready
    house.models.close()


def test_the_same_file_under_two_names_is_kept_until_both_are_gone(tmp_path):
    house = House(tmp_path, names=("a", "b"))
    house.load("1 2", "a")
    house.load("1 2", "b")
    house.models.unload("a")

    assert house.ask("b") == 2
    assert [path.name for path in house.store.folder.iterdir() if path.is_dir()] == ["2"]
    house.models.close()


def test_no_request_fails_while_models_are_swapped(house):
    house.load("1 1")
    stop, wrong = threading.Event(), []

    def ask():
        before = 0.0
        while not stop.is_set():
            try:
                answer = house.ask()
            except (Refusal, ModelError) as error:
                wrong.append(error)
                return
            if answer < before:
                wrong.append((before, answer))
            before = answer

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    for number in range(2, 22):
        house.load(f"{number} {number}")
    stop.set()
    for client in clients:
        client.join(PATIENCE_S)

    assert not wrong
    assert [engine.closed for engine in house.engines] == [True] * 20 + [False]


def test_a_lost_model_is_unavailable_until_it_is_loaded_again(house):
    house.load("1 2")
    with house.models.lease("m") as served:
        served.pool.close()

    assert house.state().state == "UNAVAILABLE"
    assert not house.models.ready
    with pytest.raises(Refusal) as refusal:
        house.ask()
    assert (refusal.value.status, refusal.value.reason) == (503, "lost")
    house.load("1 2")
    assert house.ask() == 2


class Fixed(Times):
    inputs = (TensorSpec(name="x", dtype="float32", shape=(1, 1)),)


def test_batching_is_refused_where_a_first_axis_is_fixed(tmp_path):
    house = House(tmp_path, limits=Limits(max_batch=4), engine=Fixed)

    with pytest.raises(UsageError, match=r"first axis of x \[1, 1\] is not free"):
        house.load("1 2")
    assert house.engines[0].closed
    house.models.close()


class Seeing:
    def __init__(self):
        self.seen = []

    def saw(self, feeds, outputs):
        self.seen.append((float(feeds["x"][0, 0]), float(outputs["y"][0, 0])))


class Failing:
    def saw(self, feeds, outputs):
        raise RuntimeError("the monitor's disk is full")


def test_watchers_see_each_run_and_their_faults_cost_no_answer(tmp_path):
    seeing = Seeing()
    house = House(tmp_path, watchers_of=lambda servable, inputs: [Failing(), seeing])
    house.load("1 2")

    assert house.ask() == 2
    assert seeing.seen == [(1.0, 2.0)]
    house.models.close()


def test_a_watcher_may_refuse_a_model_and_nothing_is_left_of_it(tmp_path):
    def refuse(servable, inputs):
        raise UsageError(f"{inputs[0].name} can't be captured")

    house = House(tmp_path, watchers_of=refuse)
    with pytest.raises(UsageError, match="x can't be captured"):
        house.load("1 2")

    assert house.engines[0].closed
    house.models.close()


def test_runs_are_counted_and_batches_with_them(tmp_path):
    house = House(tmp_path, limits=Limits(max_batch=4))
    house.load("1 2")
    house.ask()

    with house.models.lease("m") as served:
        assert served.batches
        assert served.statistics.snapshot().batches == {1: 1}
    house.models.close()


def test_a_full_queue_is_429_and_says_when_to_come_again(tmp_path):
    house = House(tmp_path, limits=Limits(queue=0))
    house.load("1 2")
    engine = house.engines[0]
    engine.gate.clear()
    asking = threading.Thread(target=house.ask)
    asking.start()
    assert engine.entered.acquire(timeout=PATIENCE_S)

    for refused in (house.ask, lambda: room(house)):
        with pytest.raises(Refusal) as refusal:
            refused()
        assert (refusal.value.status, refusal.value.reason, refusal.value.retry_after_s) == (429, "queue-full", 1)
    engine.gate.set()
    asking.join(PATIENCE_S)
    room(house)
    house.models.close()


def room(house):
    with house.models.lease("m") as served:
        served.check_room()


def test_a_deadline_that_has_passed_is_504(house):
    house.load("1 2")

    with pytest.raises(Refusal) as refusal, house.models.lease("m") as served:
        served.infer(ONE, deadline_s=0.0)
    assert (refusal.value.status, refusal.value.reason) == (504, "deadline")


class TestRealModels:
    """The same with golden models, a child process and the engines themselves."""

    @pytest.fixture
    def repository(self, tmp_path):
        store = Servables(tmp_path / "store", lambda path, folder: None)
        made = Models([Source(name="m", path=tmp_path / "m.tflite", limits=Limits(instances=2))], store)
        yield made
        made.close()

    def test_a_swap_and_a_file_that_kills_nobody(self, repository, golden, tmp_path):
        path = tmp_path / "m.tflite"
        shutil.copy(golden / "cnn.tflite", path)
        repository.load("m")
        image = np.ones((1, 8, 8, 1), np.float32)
        with repository.lease("m") as served:
            before = served.infer({"image": image}, deadline_s=LATER_S).outputs["score"]
            path.write_bytes(path.read_bytes()[:700])
            with pytest.raises(ModelLoadError, match=re.escape(f"can't load {path}: ")):
                repository.load("m")
            after = served.infer({"image": image}, deadline_s=LATER_S).outputs["score"]

        np.testing.assert_array_equal(before, after)
        shutil.copy(golden / "cnn_int8.tflite", path)
        repository.load("m")
        with repository.lease("m") as served:
            assert served.inputs[0].dtype == "int8"
            assert served.engine.startswith("litert ")


@pytest.mark.parametrize(("asked", "given"), [(None, 3), (1, 1), (5, 5)])
def test_a_bundle_says_how_many_interpreters_unless_the_server_does(tmp_path, asked, given):
    servable = Servable(name="m", version="1", path=tmp_path, format="tflite", sha256="", instances=3)

    assert instances_of(servable, Limits(instances=asked)) == given
