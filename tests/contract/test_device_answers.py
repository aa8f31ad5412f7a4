"""An artifact that answers over a transport says what it says here; cables, disks and models fail as on any device."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from tinsmith.convert.data import open_dataset
from tinsmith.convert.elsewhere import evaluate_on
from tinsmith.convert.predictors import SandboxedArtifact
from tinsmith.devices.answering import DeviceAnswers
from tinsmith.devices.inventory import local_device
from tinsmith.devices.transports.faults import Cut, FaultyTransport, Full
from tinsmith.devices.transports.local import LocalTransport
from tinsmith.runtime.errors import DeviceError, ModelLoadError, NoRoomError, VerificationError


@pytest.fixture
def base(tmp_path):
    """The folder of a board that was set up: its Python is ours."""
    python = tmp_path / "base" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path / "base"


@pytest.fixture
def board(base):
    return replace(local_device(), name="board", address="ssh://board", base=str(base))


@pytest.fixture
def way():
    return FaultyTransport(LocalTransport())


@pytest.fixture
def answers(board, way, golden):
    made = DeviceAnswers(board, golden / "cnn_int8.tflite", transport=way)
    yield made
    made.close()


@pytest.fixture
def dataset(tmp_path, golden):
    rng = np.random.default_rng(5)
    np.savez(tmp_path / "d.npz", x=rng.random((70, 8, 8, 1), np.float32), y=rng.integers(0, 3, 70))
    with SandboxedArtifact(golden / "cnn_int8.tflite") as model:
        yield model, open_dataset(tmp_path / "d.npz", model.inputs)


def feeds(dataset, count=70):
    return next(dataset[1].batches(count)).feeds


def test_it_answers_to_the_bit_what_this_machine_answers_and_leaves_only_the_artifact(answers, dataset, base, way):
    model, samples = dataset

    here, (there,) = evaluate_on(model, [answers], samples)

    assert (there.samples, there.other_outputs, there.other_answers, there.error) == (70, 0, 0, None)
    assert there.evaluation.score == here.score
    opened = model.sandbox.opened
    assert (there.engine, there.engine_version) == (opened.engine, opened.version)
    answers.close()
    assert [path.suffix for path in (base / "bench").iterdir()] == [".tflite"]


def test_the_artifact_is_sent_once_and_samples_each_time(answers, dataset, way, golden):
    answers.answer(feeds(dataset))
    first_bytes = way.put_bytes
    answers.answer(feeds(dataset))

    artifact_bytes = (golden / "cnn_int8.tflite").stat().st_size
    assert first_bytes > artifact_bytes
    assert way.put_bytes - first_bytes == first_bytes - artifact_bytes


@pytest.mark.parametrize(
    ("fault", "error"), [(Cut(after_bytes=500), DeviceError), (Full(after_bytes=500), NoRoomError)]
)
def test_samples_that_do_not_come_through_are_the_fault_of_the_device(answers, dataset, way, fault, error):
    answers.answer(feeds(dataset, 2))
    way.faults.append(fault)
    model, samples = dataset

    here, (there,) = evaluate_on(model, [answers], samples)

    assert isinstance(there.error, error)
    assert (there.samples, there.error.exit_code, here.samples) == (0, 5, 70)


def test_samples_whose_content_a_full_disk_has_lost_are_found_by_their_hash(board, dataset, golden, base):
    class Hollow(LocalTransport):
        """Keeps the size of what is put, and none of it, as sparse files on a full disk do."""

        def put(self, source, destination, **options):
            super().put(source, destination, **options)
            if destination.suffix == ".samples":
                (base / "bench" / destination.name).write_bytes(bytes(source.stat().st_size))

    answers = DeviceAnswers(board, golden / "cnn_int8.tflite", transport=Hollow())

    with pytest.raises(VerificationError, match=r"board: checking: .*sha256"):
        answers.answer(feeds(dataset, 2))
    answers.close()


def test_answers_that_arrive_damaged_are_not_judged(board, dataset, golden):
    class Flipping(LocalTransport):
        def get(self, source, destination, **options):
            super().get(source, destination, **options)
            destination.write_bytes(destination.read_bytes()[:-1] + b"\xff")

    answers = DeviceAnswers(board, golden / "cnn_int8.tflite", transport=Flipping())

    with pytest.raises(VerificationError, match="getting answers"):
        answers.answer(feeds(dataset, 2))
    answers.close()


def test_a_model_that_its_engine_refuses_there_is_the_models_fault(board, way, tmp_path, dataset):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\0\0\0\0TFL3" + bytes(100))

    answers = DeviceAnswers(board, broken, transport=way)

    with pytest.raises(ModelLoadError, match="board: loading"):
        answers.answer(feeds(dataset, 2))
    answers.close()
