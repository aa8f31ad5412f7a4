"""Interpreters in a pool: one run at a time each, a fair line, deadlines, and runs that never end."""

import threading
import time

import numpy as np
import pytest

from tinsmith.runtime.errors import (
    BusyError,
    DataError,
    ExpiredError,
    ModelError,
    ModelLoadError,
    ModelLostError,
    ModelTimeoutError,
    TinsmithError,
)
from tinsmith.runtime.pool import Pool, open_pool
from tinsmith.runtime.session import Session
from tinsmith.runtime.tensors import TensorSpec

PATIENCE_S = 20.0


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class Doubling:
    """y = 2 x; a run stops at the gate until it is opened."""

    name, version, accelerator = "fake", "0", "cpu"
    inputs = (TensorSpec(name="x", dtype="float32", shape=(None, 1)),)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(None, 1)),)

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.seen = []
        self.running = 0
        self.closed = False
        self.interrupted = False

    def run(self, feeds):
        self.running += 1
        assert self.running == 1, "an interpreter is not thread-safe"
        self.seen.append(float(feeds[0][0, 0]))
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        self.running -= 1
        if self.interrupted:
            raise ModelError("interrupted")
        return [2 * feeds[0]]

    def close(self):
        self.closed = True


class Stoppable(Doubling):
    """One whose run can be ended from outside, as onnxruntime's."""

    def interrupt(self):
        self.interrupted = True
        self.gate.set()


def feeds(number):
    return {"x": np.full((1, 1), number, np.float32)}


class WatchedPool(Pool):
    """Says when somebody came."""

    came = threading.Semaphore(0)

    def enter(self, turn):
        super().enter(turn)
        self.came.release()


def pool_of(*engines, queue=8, spares=(), time_limit_s=1.0, clock=None):
    spare = iter(spares)
    sessions = [Session(engine) for engine in engines]
    return WatchedPool(
        sessions, lambda: Session(next(spare)), queue=queue, time_limit_s=time_limit_s, clock=clock or Clock()
    )


class Caller(threading.Thread):
    """A client with one request."""

    def __init__(self, pool, number, deadline_s=PATIENCE_S):
        super().__init__(daemon=True)
        self.pool, self.number, self.deadline_s = pool, number, deadline_s
        self.answer = self.error = None
        self.start()

    def run(self):
        try:
            self.answer = float(self.pool.run(feeds(self.number), deadline_s=self.deadline_s).outputs["y"][0, 0])
        except TinsmithError as error:
            self.error = error

    def outcome(self):
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self.error or self.answer


def in_line(pool, count):
    """Wait until so many stand in line."""
    while pool.waiting != count:
        assert pool.came.acquire(timeout=PATIENCE_S)


def test_runs_and_says_how_long_it_waited():
    ran = pool_of(Doubling()).run(feeds(3))

    assert ran.outputs["y"] == 6
    assert ran.queue_ns >= 0
    assert ran.infer_ns > 0


def test_first_come_first_served():
    engine = Doubling()
    engine.gate.clear()
    pool = pool_of(engine)
    callers = [Caller(pool, 0)]
    assert engine.entered.acquire(timeout=PATIENCE_S)
    for number in range(1, 7):
        callers.append(Caller(pool, number))
        in_line(pool, number)
    engine.gate.set()

    assert [caller.outcome() for caller in callers] == [2.0 * n for n in range(7)]
    assert engine.seen == [0, 1, 2, 3, 4, 5, 6]


def test_many_threads_get_each_its_own_answer():
    pool = pool_of(Doubling(), Doubling(), Doubling(), queue=64)
    callers = [Caller(pool, number) for number in range(60)]

    assert [caller.outcome() for caller in callers] == [2.0 * n for n in range(60)]


def test_a_full_line_takes_nobody_else():
    engine = Doubling()
    engine.gate.clear()
    pool = pool_of(engine, queue=1)
    first = Caller(pool, 1)
    assert engine.entered.acquire(timeout=PATIENCE_S)
    second = Caller(pool, 2)
    in_line(pool, 1)

    with pytest.raises(BusyError, match="1 requests wait already"):
        pool.check_room()
    with pytest.raises(BusyError):
        pool.run(feeds(3))

    engine.gate.set()
    assert (first.outcome(), second.outcome()) == (2, 4)
    assert engine.seen == [1, 2]


def test_a_request_without_a_free_interpreter_is_refused_where_nobody_may_wait():
    engine = Doubling()
    engine.gate.clear()
    pool = pool_of(engine, queue=0)
    first = Caller(pool, 1)
    assert engine.entered.acquire(timeout=PATIENCE_S)

    with pytest.raises(BusyError):
        pool.run(feeds(2))

    engine.gate.set()
    assert first.outcome() == 2


def test_a_request_whose_deadline_has_passed_never_runs():
    clock, engine = Clock(), Doubling()
    pool = pool_of(engine, clock=clock)
    clock.now_s = 10.0

    with pytest.raises(ExpiredError):
        pool.run(feeds(1), deadline_s=10.0)

    assert engine.seen == []


def test_those_who_expired_in_line_never_run_and_the_next_one_does():
    clock, engine = Clock(), Doubling()
    engine.gate.clear()
    pool = pool_of(engine, clock=clock)
    first = Caller(pool, 1)
    assert engine.entered.acquire(timeout=PATIENCE_S)
    late = Caller(pool, 2, deadline_s=PATIENCE_S)
    in_line(pool, 1)
    patient = Caller(pool, 3, deadline_s=1000.0)
    in_line(pool, 2)
    clock.now_s = 21.0
    engine.gate.set()

    assert (first.outcome(), patient.outcome()) == (2, 6)
    assert isinstance(late.outcome(), ExpiredError)
    assert engine.seen == [1, 3]


def test_nobody_stands_in_line_who_would_come_too_late():
    clock, engine = Clock(), Doubling()
    pool = pool_of(engine, clock=clock, time_limit_s=100.0)
    engine.gate.clear()
    first = Caller(pool, 1)
    assert engine.entered.acquire(timeout=PATIENCE_S)
    clock.now_s = 4.0
    engine.gate.set()
    assert first.outcome() == 2  # took 4 s
    engine.gate.clear()
    second = Caller(pool, 2, deadline_s=1000.0)
    assert engine.entered.acquire(timeout=PATIENCE_S)

    with pytest.raises(BusyError, match="before the deadline"):
        pool.run(feeds(3), deadline_s=6.0)

    engine.gate.set()
    assert second.outcome() == 4


def test_whose_turn_comes_too_late_for_a_run_is_refused_and_not_run():
    clock, engine = Clock(), Doubling()
    pool = pool_of(engine, clock=clock, time_limit_s=100.0)
    pool._mean_s = 1.0  # runs take 1 s, so far
    engine.gate.clear()
    first = Caller(pool, 1)
    assert engine.entered.acquire(timeout=PATIENCE_S)
    hasty = Caller(pool, 2, deadline_s=7.0)
    in_line(pool, 1)
    patient = Caller(pool, 3, deadline_s=1000.0)
    in_line(pool, 2)
    clock.now_s = 6.5
    engine.gate.set()

    assert (first.outcome(), patient.outcome()) == (2, 6)
    assert isinstance(hasty.outcome(), BusyError)
    assert not isinstance(hasty.outcome(), ExpiredError)
    assert engine.seen == [1, 3]


def test_who_has_no_time_left_for_a_run_leaves_the_line_before_the_deadline():
    engine = Doubling()
    engine.gate.clear()
    pool = pool_of(engine, clock=time.monotonic, time_limit_s=100.0)
    first = Caller(pool, 1, deadline_s=time.monotonic() + 100.0)
    assert engine.entered.acquire(timeout=PATIENCE_S)
    pool._mean_s = 40.0  # runs take so long, as it seems now
    deadline_s = time.monotonic() + 40.001
    pool.check_room = lambda **_: None

    with pytest.raises(BusyError, match="no time is left"):
        pool.run(feeds(2), deadline_s=deadline_s)

    assert time.monotonic() < deadline_s - 20.0
    assert pool.waiting == 0
    engine.gate.set()
    assert first.outcome() == 2


def test_a_wrong_estimate_can_not_refuse_for_ever():
    clock, engine = Clock(), Doubling()
    pool = pool_of(engine, clock=clock)
    pool._learn(1000.0)

    assert pool.run(feeds(1), deadline_s=1.0).outputs["y"] == 2


def test_a_run_beyond_its_time_limit_loses_its_interpreter_and_its_answer():
    clock, stuck, spare = Clock(), Doubling(), Doubling()
    stuck.gate.clear()
    pool = pool_of(stuck, spares=[spare], clock=clock)
    lost = Caller(pool, 1)
    assert stuck.entered.acquire(timeout=PATIENCE_S)
    waiting = Caller(pool, 2)
    in_line(pool, 1)
    clock.now_s = 1.0
    pool.give_up_overdue()

    assert waiting.outcome() == 4
    assert spare.seen == [2]
    stuck.gate.set()
    assert isinstance(lost.outcome(), ModelTimeoutError)
    assert stuck.closed
    assert pool.run(feeds(3)).outputs["y"] == 6
    assert stuck.seen == [1]


def test_an_interpreter_that_finds_no_thread_to_be_opened_in_is_opened_later(monkeypatch):
    clock, stuck = Clock(), Doubling()
    stuck.gate.clear()
    pool = pool_of(stuck, spares=[Doubling(), Doubling()], clock=clock)
    hanging = Caller(pool, 1)
    assert stuck.entered.acquire(timeout=PATIENCE_S)
    clock.now_s = 1.0
    start = pool._start_replacing
    monkeypatch.setattr(pool, "_start_replacing", lambda: (_ for _ in ()).throw(RuntimeError("can't start new thread")))
    with pytest.raises(RuntimeError):
        pool.give_up_overdue()
    pool._start_replacing = start
    pool.give_up_overdue()

    assert pool.run(feeds(2)).outputs["y"] == 4
    pool.give_up_overdue()
    assert len(pool._free) == 1
    stuck.gate.set()
    assert isinstance(hanging.outcome(), ModelTimeoutError)


def test_a_run_within_its_time_limit_is_left_alone():
    clock, engine = Clock(), Doubling()
    engine.gate.clear()
    pool = pool_of(engine, clock=clock)
    caller = Caller(pool, 1)
    assert engine.entered.acquire(timeout=PATIENCE_S)
    clock.now_s = 0.75

    assert pool.give_up_overdue() == 0.25
    engine.gate.set()
    assert caller.outcome() == 2


def test_an_engine_that_can_be_interrupted_is():
    clock, stuck = Clock(), Stoppable()
    stuck.gate.clear()
    pool = pool_of(stuck, spares=[Doubling()], clock=clock)
    caller = Caller(pool, 1)
    assert stuck.entered.acquire(timeout=PATIENCE_S)
    clock.now_s = 1.0
    pool.give_up_overdue()

    assert isinstance(caller.outcome(), ModelTimeoutError)
    assert stuck.closed


def test_two_runs_that_hang_are_the_end_of_the_model():
    clock, engines = Clock(), [Doubling(), Doubling()]
    for engine in engines:
        engine.gate.clear()
    pool = pool_of(*engines, clock=clock)
    hanging = [Caller(pool, 1), Caller(pool, 2)]
    for engine in engines:
        assert engine.entered.acquire(timeout=PATIENCE_S)
    waiting = Caller(pool, 3)
    in_line(pool, 1)
    clock.now_s = 1.0
    pool.give_up_overdue()

    assert isinstance(waiting.outcome(), ModelLostError)
    with pytest.raises(ModelLostError, match="2 runs passed the time limit of 1 s"):
        pool.run(feeds(4))
    for engine in engines:
        engine.gate.set()
    assert all(isinstance(caller.outcome(), ModelTimeoutError) for caller in hanging)


@pytest.mark.parametrize("error", [ModelLoadError("the file is gone"), MemoryError("the file is gone")])
def test_a_model_that_can_not_be_opened_again_is_lost_and_says_why(error):
    clock, stuck = Clock(), Doubling()
    stuck.gate.clear()

    def refuse():
        raise error

    pool = WatchedPool([Session(stuck)], refuse, queue=8, time_limit_s=1.0, clock=clock)
    hanging = Caller(pool, 1)
    assert stuck.entered.acquire(timeout=PATIENCE_S)
    waiting = Caller(pool, 2)
    in_line(pool, 1)
    clock.now_s = 1.0
    pool.give_up_overdue()

    assert "the file is gone" in waiting.outcome().message
    stuck.gate.set()
    assert isinstance(hanging.outcome(), ModelTimeoutError)


def test_an_error_of_the_engine_gives_the_interpreter_back():
    pool = pool_of(Doubling())

    with pytest.raises(DataError):
        pool.run({"x": np.ones((1, 1), np.float64)})

    assert pool.run(feeds(1)).outputs["y"] == 2


def test_closing_frees_what_is_free_and_the_rest_once_it_comes_back():
    busy, idle = Doubling(), Doubling()
    busy.gate.clear()
    pool = pool_of(idle, busy)
    caller = Caller(pool, 1)
    assert busy.entered.acquire(timeout=PATIENCE_S)
    pool.close()

    assert idle.closed
    assert not busy.closed
    busy.gate.set()
    assert caller.outcome() == 2
    assert busy.closed
    with pytest.raises(ModelLostError, match="unloaded"):
        pool.run(feeds(2))


def test_a_pool_opens_all_its_interpreters_or_none():
    opened = [Doubling()]

    def open_one():
        if not opened[0].seen:
            opened[0].seen.append(0)
            return Session(opened[0])
        raise ModelLoadError("no memory")

    with pytest.raises(ModelLoadError):
        open_pool(open_one, instances=2, queue=1, time_limit_s=1.0)

    assert opened[0].closed
