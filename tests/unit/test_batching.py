"""Batching: whatever comes together, each client gets the answer that it would get alone."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.runtime.errors import BusyError, ExpiredError, ModelError, ModelTimeoutError, TinsmithError, UsageError
from tinsmith.runtime.pool import Pool
from tinsmith.runtime.server.batching import Batcher, check_free_axes, check_independent
from tinsmith.runtime.session import Session
from tinsmith.runtime.tensors import TensorSpec

PATIENCE_S = 20.0
LONG_S = 1000.0


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class Sums:
    """y = row sums, z = 3 x; refuses 13, and a run stops at the gate until it is opened."""

    name, version, accelerator = "fake", "0", "cpu"
    inputs = (TensorSpec(name="x", dtype="int64", shape=(None, None)),)
    outputs = (
        TensorSpec(name="y", dtype="int64", shape=(None,)),
        TensorSpec(name="z", dtype="int64", shape=(None, None)),
    )

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches = []
        self.closed = False

    def run(self, feeds):
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        if (feeds[0] == 13).any():
            raise ModelError("13 brings bad luck")
        self.batches.append(len(feeds[0]))
        return [feeds[0].sum(axis=1), 3 * feeds[0]]

    def close(self):
        self.closed = True


class Joining(Batcher):
    """Says when somebody has joined."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.joined = threading.Semaphore(0)

    def _join(self, member):
        batch = super()._join(member)
        self.joined.release()
        return batch


def batcher_of(*engines, room=64, max_batch=4, max_delay_s=0.0, clock=None, sizes=None):
    clock = clock or Clock()
    pool = Pool(
        [Session(engine) for engine in engines], lambda: Session(Sums()), queue=room, time_limit_s=1.0, clock=clock
    )
    executed = [].append if sizes is None else sizes.append
    return Joining(pool, room=room, max_batch=max_batch, max_delay_s=max_delay_s, executed=executed, clock=clock)


class Caller(threading.Thread):
    def __init__(self, batcher, rows, deadline_s=LONG_S):
        super().__init__(daemon=True)
        self.batcher, self.rows, self.deadline_s = batcher, np.asarray(rows, np.int64), deadline_s
        self.ran = self.error = None
        self.start()

    def run(self):
        try:
            self.ran = self.batcher.run({"x": self.rows}, deadline_s=self.deadline_s)
        except TinsmithError as error:
            self.error = error

    def outcome(self):
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self.error or self.ran.outputs["y"].tolist()

    def is_right(self):
        assert self.outcome() == self.rows.sum(axis=1).tolist(), self.error
        np.testing.assert_array_equal(self.ran.outputs["z"], 3 * self.rows)


def joined(batcher, count):
    for _ in range(count):
        assert batcher.joined.acquire(timeout=PATIENCE_S)


def held_up(**settings):
    """A batcher whose one interpreter is busy with a first request."""
    engine = Sums()
    engine.gate.clear()
    batcher = batcher_of(engine, **settings)
    first = Caller(batcher, [[1]])
    assert engine.entered.acquire(timeout=PATIENCE_S)
    joined(batcher, 1)
    return engine, batcher, first


def test_requests_that_wait_for_an_interpreter_share_the_next_run():
    sizes = []
    engine, batcher, first = held_up(sizes=sizes)
    callers = [Caller(batcher, [[n]]) for n in (5, 6, 7)]
    joined(batcher, 3)
    engine.gate.set()

    for caller in (first, *callers):
        caller.is_right()
    assert engine.batches == [1, 3]
    assert sizes == [1, 3]
    assert [caller.ran.batch for caller in (first, *callers)] == [1, 3, 3, 3]


def test_a_full_batch_does_not_wait_for_its_delay():
    engine = Sums()
    batcher = batcher_of(engine, max_batch=3, max_delay_s=LONG_S)
    callers = [Caller(batcher, [[n]]) for n in (5, 6, 7)]

    for caller in callers:
        caller.is_right()
    assert engine.batches == [3]


def test_no_batch_is_larger_than_allowed():
    engine, batcher, _ = held_up(max_batch=2)
    callers = [Caller(batcher, [[n]]) for n in range(5)]
    joined(batcher, 5)
    engine.gate.set()

    for caller in callers:
        caller.is_right()
    assert sorted(engine.batches) == [1, 1, 2, 2]


def test_a_batch_that_is_not_full_runs_after_its_delay():
    batcher = batcher_of(Sums(), max_delay_s=0.001, clock=time.monotonic)

    assert batcher.run({"x": np.ones((1, 2), np.int64)}, deadline_s=1e9).outputs["y"] == 2


class Jumping:
    """A clock that is a millisecond later whenever it is looked at: a machine where threads wake up late."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        self.now_s += 0.001
        return self.now_s


@pytest.mark.parametrize("delay_s", [0.0005, 0.0015, 0.0025, 0.0035, 0.0045, 0.0055])
def test_a_thread_that_wakes_up_late_does_not_miss_its_batch(delay_s):
    batcher = batcher_of(Sums(), max_delay_s=delay_s, clock=Jumping())
    caller = Caller(batcher, [[1]], deadline_s=1e9)

    caller.is_right()


def test_other_shapes_go_into_another_batch():
    engine, batcher, _ = held_up()
    callers = [Caller(batcher, rows) for rows in ([[1]], [[1, 2]], [[3]], [[4, 5]])]
    joined(batcher, 4)
    assert batcher.pool.waiting == 4
    engine.gate.set()

    for caller in callers:
        caller.is_right()
    assert sorted(engine.batches) == [1, 2, 2]


def test_a_request_that_fails_does_so_alone():
    engine, batcher, _ = held_up()
    callers = [Caller(batcher, [[n]]) for n in (5, 13, 7)]
    joined(batcher, 3)
    engine.gate.set()

    callers[0].is_right()
    callers[2].is_right()
    assert isinstance(callers[1].outcome(), ModelError)


def test_who_has_expired_is_dropped_before_the_run_and_the_others_are_not():
    clock = Clock()
    engine, batcher, _ = held_up(clock=clock)
    late = Caller(batcher, [[5]], deadline_s=PATIENCE_S)
    joined(batcher, 1)
    patient = Caller(batcher, [[6]])
    joined(batcher, 1)
    clock.now_s = 21.0
    batcher.pool._mean_s = 1e-9  # the first run took no time
    engine.gate.set()

    patient.is_right()
    assert isinstance(late.outcome(), ExpiredError)
    assert engine.batches == [1, 1]


def test_a_full_queue_takes_nobody_else():
    engine, batcher, first = held_up(room=3, max_batch=2)
    callers = [Caller(batcher, [[n]]) for n in (5, 6)]
    joined(batcher, 2)

    with pytest.raises(BusyError, match="3 requests are at work"):
        batcher.run({"x": np.ones((1, 1), np.int64)}, deadline_s=LONG_S)

    engine.gate.set()
    for caller in (first, *callers):
        caller.is_right()
    batcher.run({"x": np.ones((1, 1), np.int64)}, deadline_s=LONG_S)


def test_a_run_that_hangs_costs_all_who_share_it_and_nobody_else():
    clock, engine = Clock(), Sums()
    engine.gate.clear()
    batcher = batcher_of(engine, clock=clock, max_batch=2, max_delay_s=LONG_S)
    sharing = [Caller(batcher, [[n]]) for n in (5, 6)]
    assert engine.entered.acquire(timeout=PATIENCE_S)
    clock.now_s = 1.0
    batcher.pool.give_up_overdue()
    others = [Caller(batcher, [[n]]) for n in (7, 8)]

    for caller in others:
        caller.is_right()
    engine.gate.set()
    assert all(isinstance(caller.outcome(), ModelTimeoutError) for caller in sharing)


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(
        st.lists(st.lists(st.integers(0, 20), min_size=2, max_size=2), min_size=0, max_size=3), min_size=1, max_size=24
    ),
    max_batch=st.integers(2, 5),
    instances=st.integers(1, 3),
    held=st.integers(0, 24),
)
def test_every_client_gets_exactly_its_own_answer(requests, max_batch, instances, held):
    engines = [Sums() for _ in range(instances)]
    for engine in engines:
        engine.gate.clear()
    batcher = batcher_of(*engines, max_batch=max_batch)
    arrays = [np.array(rows, np.int64).reshape(len(rows), 2) for rows in requests]
    callers = [Caller(batcher, array) for array in arrays[:held]]
    joined(batcher, len(callers))
    for engine in engines:
        engine.gate.set()
    callers += [Caller(batcher, array) for array in arrays[held:]]

    for caller in callers:
        if (caller.rows == 13).any():
            assert isinstance(caller.outcome(), ModelError)
        else:
            caller.is_right()
    assert batcher._inside == 0
    assert batcher.pool.waiting == 0


def test_a_fixed_first_axis_is_named():
    fixed = TensorSpec(name="image", dtype="float32", shape=(1, 8))

    with pytest.raises(UsageError, match=r"first axis of image \[1, 8\] is not free") as raised:
        check_free_axes([fixed], Sums.outputs)
    assert "without --max-batch" in raised.value.hint


def test_a_model_that_mixes_its_samples_is_told_apart():
    inputs = (TensorSpec(name="x", dtype="float32", shape=(None, 4)),)

    check_independent(lambda feeds: {"y": feeds["x"] * 2}, inputs)
    with pytest.raises(UsageError, match="depends on the other samples"):
        check_independent(lambda feeds: {"y": feeds["x"] - feeds["x"].mean(axis=0)}, inputs)
    with pytest.raises(UsageError, match="depends on the other samples"):
        check_independent(lambda feeds: {"y": feeds["x"].sum(axis=0, keepdims=True)}, inputs)


@pytest.mark.parametrize("name", ["cnn.tflite", "cnn.onnx"])
def test_real_models_answer_in_a_batch_as_they_do_alone(golden, name):
    from tinsmith.runtime.session import artifact_format, open_vetted

    path = golden / name
    assert artifact_format(path) == path.suffix[1:]
    sessions = [open_vetted(path, engine=None, accelerator="cpu", threads=1) for _ in range(2)]
    check_independent(sessions[1].run_raw, sessions[1].inputs)
    images = np.random.default_rng(0).random((12, 1, 8, 8, 1), np.float32)
    pool = Pool(sessions[:1], lambda: sessions[1], queue=32, time_limit_s=10.0)
    batcher = Batcher(pool, room=32, max_batch=4, max_delay_s=0.05, executed=lambda size: None)
    answers = {}

    def call(at):
        answers[at] = batcher.run({"image": images[at]}, deadline_s=1e9).outputs["score"]

    threads = [threading.Thread(target=call, args=[at]) for at in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for at in range(12):
        np.testing.assert_allclose(answers[at], sessions[1].run_raw({"image": images[at]})["score"], rtol=1e-5)
