"""What every measurer does: the fake one, this machine, and a device that only a transport reaches."""

import os
import sys
from pathlib import PurePosixPath

import pytest

from tinsmith.devices.asking import Agent
from tinsmith.devices.benchmarking.fake import FakeMeasurer
from tinsmith.devices.benchmarking.measurer import DeviceMeasurer
from tinsmith.devices.benchmarking.sending import bring
from tinsmith.devices.benchmarking.subject import subject_of
from tinsmith.devices.inventory import local_device
from tinsmith.devices.transports.faults import Cut, FaultyTransport
from tinsmith.devices.transports.local import LocalTransport
from tinsmith.runtime.errors import DeviceError, LinkLostError, VerificationError
from tinsmith.runtime.fields import Fields
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
