"""What every measurer does: the fake one, this machine, and a device that only a transport reaches."""

import json
import os
import sys
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from tinsmith.devices.asking import Agent
from tinsmith.devices.benchmarking.benchmark import benchmark
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.devices.benchmarking.fake import FakeMeasurer
from tinsmith.devices.benchmarking.measurer import DeviceMeasurer
from tinsmith.devices.benchmarking.sending import bring
from tinsmith.devices.benchmarking.subject import subject_of
from tinsmith.devices.inventory import local_device
from tinsmith.devices.transports.faults import Cut, FaultyTransport
from tinsmith.devices.transports.local import LocalTransport
from tinsmith.runtime.errors import DeviceError, LinkLostError, VerificationError
from tinsmith.runtime.fields import Fields
from tinsmith.runtime.measurement import Measurement
from tinsmith.runtime.measuring.measure import Measured
from tinsmith.runtime.measuring.requests import Amount, Measure

AMOUNT = Amount(runs=20, most_s=5, warm_s=0.1)


class OverTransport(DeviceMeasurer):
    """This machine, reached like any board: the artifact is sent, and the program started by the transport."""

    def __init__(self, base):
        super().__init__(local_device())
        self._here = False
        self._asked = Agent(
            device="board", transport=self._transport, base=PurePosixPath(base), python=self._asked.python,
            module=self._asked.module,
        )  # fmt: skip


@pytest.fixture(params=["fake", "local", "over a transport"])
def measurer(request, tmp_path):
    made = {"fake": FakeMeasurer, "local": lambda: DeviceMeasurer(local_device())}
    measurer = made.get(request.param, lambda: OverTransport(tmp_path / "base"))()
    yield measurer
    measurer.close()


@pytest.fixture
def subject(golden):
    return subject_of(golden / "dense.tflite")


def test_it_measures_as_many_runs_as_were_asked_for(measurer, subject):
    path = measurer.prepare(subject, lambda done, size: None)

    measured = measurer.measure(Measure(path=path, sha256=subject.sha256, amount=AMOUNT, operators=True))

    process = measured.process
    assert process.runs == len(process.samples_ns) == 20
    assert all(ns > 0 for ns in process.samples_ns)
    assert process.query_ns >= max(process.samples_ns)
    assert (measured.engine, measured.accelerator) == ("litert", "cpu")
    assert process.operators.operators or process.operators.why
    assert process.usage.wall_s > 0


def test_what_it_says_survives_its_document(measurer, subject):
    path = measurer.prepare(subject, lambda done, size: None)
    measured = measurer.measure(Measure(path=path, sha256=subject.sha256, amount=AMOUNT))

    assert Measured.read(Fields(measured.to_json(), of="it", hint="")) == measured


def test_another_file_than_was_meant_is_refused(measurer, subject):
    path = measurer.prepare(subject, lambda done, size: None)

    with pytest.raises(VerificationError):
        measurer.measure(Measure(path=path, sha256="0" * 64, amount=AMOUNT))


def test_an_artifact_is_brought_once(tmp_path, subject):
    measurer = OverTransport(tmp_path)
    told = []

    first = measurer.prepare(subject, lambda done, size: told.append((done, size)))
    assert told[-1] == (subject.size_bytes, subject.size_bytes)
    assert (tmp_path / first).read_bytes() == subject.path.read_bytes()

    told.clear()
    assert measurer.prepare(subject, lambda done, size: told.append(done)) == first
    assert told == []


def test_a_transfer_that_was_cut_goes_on_where_it_was(tmp_path):
    artifact = tmp_path / "big.onnx"
    artifact.write_bytes(os.urandom(3 << 20))
    subject, base = subject_of(artifact), tmp_path / "base"
    way = FaultyTransport(LocalTransport())
    way.faults.append(Cut(after_bytes=1 << 20))
    agent = Agent(
        device="board", transport=way, base=PurePosixPath(base), python=sys.executable,
        module="tinsmith.runtime.measuring",
    )  # fmt: skip

    with pytest.raises(LinkLostError):
        bring(subject, agent, way, lambda done, size: None)
    path = bring(subject, agent, way, lambda done, size: None)

    assert way.put_bytes == subject.size_bytes
    assert (base / path).read_bytes() == artifact.read_bytes()


def test_what_arrives_damaged_is_not_measured(tmp_path, golden):
    subject = subject_of(golden / "dense.tflite")
    agent = Agent(
        device="board", transport=LocalTransport(), base=PurePosixPath(tmp_path), python=sys.executable,
        module="tinsmith.runtime.measuring",
    )  # fmt: skip

    class Flipping(LocalTransport):
        def put(self, source, destination, **options):
            super().put(source, destination, **options)
            (tmp_path / destination).write_bytes(bytes(source.stat().st_size))

    with pytest.raises(DeviceError, match=r"board: sending dense.tflite: .*sha256 differs"):
        bring(subject, agent, Flipping(), lambda done, size: None)
    assert list((tmp_path / "bench").iterdir()) == []


class Away:
    """A cable that is pulled out once so many processes have measured."""

    def __init__(self, way, after):
        self._way, self._after = way, after

    def sent(self, device, done_bytes, size_bytes):
        pass

    def measured(self, device, artifact, number, processes):
        self._way.is_lost = number == self._after


class OverFaulty(OverTransport):
    """As ``OverTransport``, with faults on the way."""

    def __init__(self, base, way):
        super().__init__(base)
        self._transport = way
        self._asked = replace(self._asked, transport=way)


class Telling(LocalTransport):
    """A device that tells of itself what a test wants: changes the answers of its measuring processes, by number."""

    def __init__(self, changes):
        super().__init__()
        self.changes, self.told = changes, 0

    def run(self, arguments, **options):
        ran = super().run(arguments, **options)
        document = json.loads(ran.stdout)
        if "process" not in document:
            return ran
        if change := self.changes.get(self.told):
            change(document["process"])
        self.told += 1
        return replace(ran, stdout=json.dumps(document).encode())


def measured_over(way, base, golden, watch=None, names=("dense.tflite",), time_limit_s=60.0):
    plan = Plan(effort=replace(EFFORTS["rapid"], amount=AMOUNT), time_limit_s=time_limit_s)
    device, models = replace(local_device(), name="board"), [golden / name for name in names]
    return benchmark(models, [device], plan, watch=watch, measurer_of=lambda _: OverFaulty(base, way))


def test_a_cable_that_is_pulled_out_keeps_the_processes_before(tmp_path, golden):
    way = FaultyTransport(LocalTransport())

    report = measured_over(way, tmp_path, golden, Away(way, after=2))

    (measurement,) = report.measurements
    assert (len(measurement.processes), report.failures[0].processes, report.exit_code) == (2, 2, 5)
    assert measurement.verdict.state == "noisy"
    assert any("ended early: " in reason for reason in measurement.verdict.reasons)
    assert Measurement.from_json(measurement.to_json()).processes == measurement.processes


@pytest.mark.parametrize(
    ("change", "state", "said"),
    [
        (lambda process: process["after"].update(throttled_bits=4), "throttled", "throttled"),
        (lambda process: process["usage"].update(clock_jump_ms=3.6e6), "noisy", "clock of the day jumped"),
    ],
)
def test_what_a_device_tells_of_one_process_in_the_middle_is_in_the_verdict(tmp_path, golden, change, state, said):
    (measurement,) = measured_over(Telling({2: change}), tmp_path, golden).measurements

    assert len(measurement.processes) == 5
    assert measurement.verdict.state == state
    assert any(said in reason for reason in measurement.verdict.reasons)


def test_an_answer_that_is_damaged_is_a_device_that_failed_and_keeps_the_rest(tmp_path, golden):
    report = measured_over(Telling({1: lambda process: process.update(samples_ns=[])}), tmp_path, golden)

    assert len(report.measurements[0].processes) == 1
    assert report.exit_code == 5


def test_a_model_that_hangs_there_is_the_models_fault_and_the_others_are_measured(tmp_path, golden):
    way = FaultyTransport(LocalTransport())

    report = measured_over(way, tmp_path, golden, names=("endless.tflite", "dense.tflite"), time_limit_s=5.0)

    assert [(m.artifact, len(m.processes)) for m in report.measurements] == [("dense.tflite", 5)]
    (failure,) = report.failures
    assert (failure.artifact, failure.error.code, report.exit_code) == ("endless.tflite", "model-timeout", 4)
    assert "board: loading" in failure.error.message
