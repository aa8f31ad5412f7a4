"""Instructions: counted by somebody else, kept apart from times, and kept when a device goes away."""

import errno
import json
from dataclasses import replace

import pytest

from tinsmith.devices.benchmarking.instructions import CountPlan, count_instructions
from tinsmith.devices.inventory import local_device
from tinsmith.runtime import instructions
from tinsmith.runtime.agent.requests import request_json
from tinsmith.runtime.errors import DataError, HostError, LinkLostError, ModelTimeoutError
from tinsmith.runtime.fields import Fields
from tinsmith.runtime.instructions import InstructionCounter, count_runs
from tinsmith.runtime.measuring.counting import Counted
from tinsmith.runtime.measuring.requests import Answer, Count, Opening, read_request
from tinsmith.runtime.profile import load_profile

LOST = LinkLostError("b: running sh: the link was lost", hint="see whether it is on")


class Machine:
    """Counts what a run says that it executes, and some more for each reading."""

    def __init__(self):
        self.total = 0

    def run(self):
        self.total += 1000

    def read(self):
        self.total += 3
        return self.total

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class FakeCounter:
    """Counts as it was told; fails at the calls that it was told."""

    def __init__(self, counts=((1000, 1001, 1002),), failures=None):
        self.asked, self.counts, self.failures = [], counts, failures or {}
        self.closed = False

    def prepare(self, subject, sent):
        return f"bench/{subject.sha256}.{subject.format}"

    def count(self, request):
        number = len(self.asked)
        self.asked.append(request)
        if number in self.failures:
            raise self.failures[number]
        counts = self.counts[min(number, len(self.counts) - 1)]
        return Counted(engine="litert", engine_version="2.3.0", method="a fake", counts=counts)

    def close(self):
        self.closed = True


@pytest.fixture
def models(golden):
    return [golden / "dense.tflite", golden / "cnn.tflite"]


def counted(models, counter, plan=None, device=None):
    return count_instructions(models, [device or local_device()], plan, counter_of=lambda _: counter)


def test_each_run_is_counted_and_the_first_is_not():
    machine, runs = Machine(), []

    counts = count_runs(lambda: (runs.append(1), machine.run()), runs=4, counter=machine)

    assert counts == [1003] * 4
    assert len(runs) == 5


def test_a_machine_that_counts_says_the_same_twice():
    try:
        InstructionCounter().__exit__(None, None, None)
    except HostError as error:
        pytest.skip(error.message)

    few, many = (min(count_runs(lambda n=n: sum(range(n)), runs=5)) for n in (1000, 100_000))

    assert 10 * few < many


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSYS, "--kind icount"), (errno.ENOENT, "--kind icount"), (errno.EACCES, "sysctl")]
)
def test_a_machine_that_counts_nothing_says_why_and_what_does(monkeypatch, number, hint):
    class Library:
        def syscall(self, *_):
            instructions.ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(instructions.ctypes, "CDLL", lambda *_, **__: Library())
    monkeypatch.setattr(instructions.platform, "machine", lambda: "aarch64")

    with pytest.raises(HostError, match="perf_event_open") as caught:
        InstructionCounter()
    assert hint in caught.value.hint


def test_a_machine_whose_call_nobody_knows_counts_nothing(monkeypatch):
    monkeypatch.setattr(instructions.platform, "machine", lambda: "vax")

    with pytest.raises(HostError, match="vax"):
        InstructionCounter()


def test_requests_and_answers_survive_their_documents():
    opening = Opening(path="bench/x.onnx", sha256="0" * 64, engine="onnxruntime", threads=2, time_limit_s=3.0)
    count = Count(opening=opening, runs=7, seed=1)
    answer = Answer(opening=opening, samples="bench/a", samples_sha256="1" * 64, answers="bench/b")
    for request in (count, answer):
        assert read_request(json.dumps(request_json(request)).encode()) == request

    said = Counted(engine="litert", engine_version="2", method="m", counts=(1, 2))
    assert Counted.read(Fields(said.to_json(), of="it", hint="")) == said
    with pytest.raises(DataError, match="no count"):
        Counted.read(Fields({**said.to_json(), "counts": []}, of="it", hint=""))


def test_processes_are_counted_apart_and_their_spread_is_said(models):
    counter = FakeCounter([(100, 100), (110, 110), (104, 104), (5, 5), (5, 5), (5, 5)])

    report = counted(models, counter, CountPlan(runs=2))

    first, second = report.counts
    assert (first.instructions, first.spread) == (104, pytest.approx(10 / 104))
    assert (second.instructions, second.spread) == (5, 0)
    assert {request.opening.threads for request in counter.asked} == {1}
    assert counter.closed


def test_no_document_calls_them_a_time(models):
    virtual = replace(local_device(), name="v", profile=load_profile("virtual-arm64"))
    document = counted(models, FakeCounter(), device=virtual).to_json()

    assert document["instruction_counts"][0]["emulated"]
    said = json.dumps(document)
    assert not any(word in said for word in ("latency", "_ms", "_ns", "median"))


def test_a_device_that_goes_away_is_asked_no_more_and_what_it_counted_is_kept(models):
    counter = FakeCounter(failures={2: LOST})

    report = counted(models, counter)

    assert [len(count.counts) for count in report.counts] == [2]
    assert [(f.artifact, f.processes, f.error) for f in report.failures] == [
        ("dense.tflite", 2, LOST), ("cnn.tflite", 0, LOST),
    ]  # fmt: skip
    assert len(counter.asked) == 3
    assert report.worst.exit_code == 5


def test_a_model_that_hangs_costs_the_others_nothing(models):
    report = counted(models, FakeCounter(failures={0: ModelTimeoutError("b: counting: it did not answer")}))

    assert [count.artifact for count in report.counts] == ["cnn.tflite"]
    assert report.worst.exit_code == 4
