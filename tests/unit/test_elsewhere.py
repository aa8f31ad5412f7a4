"""Devices beside this machine, on predictors that are arithmetic: what differs is counted, what is lost is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.convert.data import open_dataset
from tinsmith.convert.elsewhere import evaluate_on, other_rows, part_samples
from tinsmith.convert.evaluation import evaluate
from tinsmith.convert.metrics import metric_named
from tinsmith.runtime.errors import LinkLostError, ModelError
from tinsmith.runtime.tensors import TensorSpec

CLASSES = 4
# one part holds 64 samples of this many numbers
NUMBERS = (4 << 20) // (4 * 64)
LOST = LinkLostError("b: running sh: the link was lost", hint="see whether it is on")


class Echo:
    """Answers with the first numbers that it is fed."""

    inputs = (TensorSpec(name="x", dtype="float32", shape=(None, NUMBERS)),)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(None, CLASSES)),)

    def run(self, feeds):
        return {"y": feeds["x"][:, :CLASSES]}


class There:
    """The same on a device, changed as a test wants it."""

    device, engine, engine_version = "b", "litert", "2.3.0"

    def __init__(self, change=lambda answers: answers, lost_after=None):
        self.asked, self.change, self.lost_after = [], change, lost_after

    def answer(self, feeds):
        if self.lost_after == len(self.asked):
            raise LOST
        self.asked.append(len(feeds["x"]))
        return [self.change(feeds["x"][:, :CLASSES].copy())]

    def close(self):
        pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = np.random.default_rng(3)
    x = np.zeros((150, NUMBERS), np.float32)
    x[:, :CLASSES] = rng.random((150, CLASSES))
    path = tmp_path_factory.mktemp("data") / "d.npz"
    np.savez(path, x=x, y=rng.integers(0, CLASSES, 150))
    return open_dataset(path, Echo.inputs)


def test_both_sides_are_judged_as_one_alone_is_and_no_part_is_large(dataset):
    there = There()

    accuracy = metric_named("accuracy")
    here, (device,) = evaluate_on(Echo(), [there], dataset, accuracy)

    assert here == evaluate(Echo(), dataset, accuracy)
    assert device.evaluation == here
    assert (device.samples, device.other_outputs, device.other_answers, device.error) == (150, 0, 0, None)
    assert there.asked == [64, 64, 22]


def test_a_number_that_differs_is_no_other_answer_until_it_names_another_class(dataset):
    def change(answers):
        answers[0, answers[0].argmax()] += 1
        answers[1] = -answers[1]
        return answers

    _, (device,) = evaluate_on(Echo(), [There(change)], dataset)

    assert (device.other_outputs, device.other_answers) == (6, 3)


def test_a_device_that_is_lost_in_the_middle_keeps_what_it_answered_and_is_asked_no_more(dataset):
    lost, other = There(lost_after=2), There()

    here, (device, fine) = evaluate_on(Echo(), [lost, other], dataset)

    assert (device.samples, device.error, len(lost.asked)) == (128, LOST, 2)
    assert device.evaluation.answers == here.answers[:128]
    assert device.evaluation.correct <= here.correct
    assert (fine.samples, fine.error) == (150, None)


def test_a_device_that_never_answers_has_no_score(dataset):
    here, (device,) = evaluate_on(Echo(), [There(lost_after=0)], dataset)

    assert (device.samples, device.evaluation, device.other_answers) == (0, None, None)
    assert device.to_json()["error"]["code"] == "link-lost"
    assert here.samples == 150


@pytest.mark.parametrize("change", [lambda answers: answers[:, :2], lambda answers: answers * np.nan])
def test_answers_of_another_shape_or_with_nan_are_the_fault_of_the_device_alone(dataset, change):
    here, (device,) = evaluate_on(Echo(), [There(change)], dataset)

    assert isinstance(device.error, ModelError)
    assert (device.samples, here.samples) == (0, 150)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=3))
def test_a_part_is_whole_steps_and_holds_no_more_than_it_may(lengths):
    spec = TensorSpec(name="x", dtype="int8", shape=(1, *lengths))

    samples = part_samples([spec])

    assert samples % 64 == 0
    assert samples == 64 or samples * 4 * np.prod(lengths, dtype=float) <= 4 << 20


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_rows_that_differ_in_any_output_are_counted_once(differ):
    ones = [np.zeros((len(differ), 2)), np.zeros((len(differ), 3, 3))]
    others = [array.copy() for array in ones]
    others[0][differ, 1] = others[1][differ, 2, 0] = 1

    assert other_rows(ones, others, "b") == sum(differ)
