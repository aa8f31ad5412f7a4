"""Several interpreters of one artifact, and a fair queue in front of them.

An interpreter is not thread-safe, and handing work to another thread costs 20 to 50 µs; so the caller's own thread
takes an interpreter, runs the model and gives it back. Who comes when all are taken waits in line: first come, first
served.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from tinsmith.runtime.engines import Interruptible
from tinsmith.runtime.errors import BusyError, ModelLostError, ModelTimeoutError, TinsmithError, first_line
from tinsmith.runtime.turns import SingleTurn, Slot, expired, too_late

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.session import Session
    from tinsmith.runtime.turns import Turn

    Feeds = Mapping[str, NDArray[np.generic]]
    Outputs = dict[str, NDArray[np.generic]]

__all__ = ["Pool", "Ran", "open_pool"]

# So many threads may hang in a run before the model is given up; each holds an interpreter that can't be freed.
_MOST_LOST = 2
# Weights of the newest run in the moving mean and deviation of run times, and how many deviations are allowed for:
# those of TCP's retransmission timer (RFC 6298), which estimates the same thing.
_MEAN_WEIGHT, _DEVIATION_WEIGHT, _DEVIATIONS = 1 / 8, 1 / 4, 4
_MILDER = 0.9


class Ran(NamedTuple):
    """What a run gave, how long it waited for its turn, how long it took, and how many requests shared it."""

    outputs: Outputs
    queue_ns: int
    infer_ns: int
    batch: int = 1


class Pool:
    """Interpreters in use, free ones, and those who wait for one; safe to call from many threads at once.

    Attributes:
        lock: Guards the line and all that stands in it.
    """

    def __init__(
        self,
        sessions: list[Session],
        open_another: Callable[[], Session],
        *,
        queue: int,
        time_limit_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lock = threading.Lock()
        self.inputs, self.outputs = sessions[0].inputs, sessions[0].outputs
        self.engine = f"{sessions[0].engine.name} {sessions[0].engine.version}"
        self.time_limit_s = time_limit_s
        self._open_another = open_another
        self._instances = len(sessions)
        self._queue = queue
        self._clock = clock
        self._free = [Slot(session) for session in sessions]
        self._taken: set[Slot] = set()
        self._line: deque[Turn] = deque()
        self._hanging = self._opening = 0
        self._mean_s = self._deviation_s = 0.0
        self._end: ModelLostError | None = None

    @property
    def waiting(self) -> int:
        """How many requests stand in line."""
        with self.lock:
            return sum(turn.requests() for turn in self._line)

    @property
    def backlog_s(self) -> float:
        """How long it will take until those who wait now have been served, by the run times seen."""
        return self._mean_s * (len(self._line) + 1) / self._instances

    @property
    def lost(self) -> ModelLostError | None:
        """Why it runs nothing any more; None while it does."""
        return self._end

    def run(self, feeds: Feeds, *, deadline_s: float = math.inf) -> Ran:
        """Wait for an interpreter, and run once on stored dtypes.

        Args:
            feeds: As ``Session.run_raw`` takes them.
            deadline_s: On the pool's clock; a run that can't end by then does not begin.

        Raises:
            BusyError: The line is full, or so long that the turn would come, or has come, too late.
            ExpiredError: The deadline passed in the line.
            ModelTimeoutError: The run passed its time limit, and its interpreter was given up.
            ModelLostError: The interpreters were lost.
            DataError: As ``Session.run_raw``.
            ModelError: The engine failed.
        """
        asked_ns = time.perf_counter_ns()
        turn = SingleTurn(deadline_s)
        with self.lock:
            self.enter(turn)
        with self.holding(self._await(turn)) as slot:
            started_ns = time.perf_counter_ns()
            outputs = self.execute(slot, feeds)
            ended_ns = time.perf_counter_ns()
        return Ran(outputs, started_ns - asked_ns, ended_ns - started_ns)

    def check_room(self, *, deadline_s: float = math.inf) -> None:
        """Raise what ``enter`` would raise now."""
        if self._end is not None:
            raise ModelLostError(self._end.message, hint=self._end.hint)  # one traceback each
        if self._free and not self._line:
            return
        if len(self._line) >= self._queue:
            raise BusyError(f"{len(self._line)} requests wait already, and no more may")
        if self._clock() + self.backlog_s + self._run_s() > deadline_s:
            raise BusyError(f"{len(self._line)} requests wait already, too many to be done before the deadline")

    def enter(self, turn: Turn) -> None:
        """Stand in line; with the lock held. Raises ``BusyError`` or ``ModelLostError``."""
        self.check_room(deadline_s=turn.latest_s())
        now_s = self._clock()
        if self._free and not self._line and turn.due(now_s) and now_s < turn.latest_s():
            turn.settle(self._take(now_s))
            return
        self._line.append(turn)
        self.serve()

    def leave(self, turn: Turn) -> None:
        """Step out of the line; with the lock held."""
        with contextlib.suppress(ValueError):
            self._line.remove(turn)

    def serve(self) -> None:
        """Give free interpreters to those first in line, and drop who can't be done in time; with the lock held."""
        now_s = self._clock()
        for turn in tuple(self._line):
            if not self._free:
                return
            if turn.latest_s() <= now_s + self._run_s():
                self._line.remove(turn)
                turn.settle(self.no_time(turn.latest_s()))
            elif turn.due(now_s):
                self._line.remove(turn)
                turn.settle(self._take(now_s))

    def patience_s(self, deadline_s: float) -> float:
        """How long it is of use to stand in line: a run must end before the deadline."""
        return deadline_s - self._run_s() - self._clock()

    def no_time(self, deadline_s: float) -> BusyError:
        """The refusal of one who has stood in line for too long; with the lock held."""
        if self._clock() >= deadline_s:
            return expired()
        # make the estimate milder, or a wrong one could refuse for ever
        self._mean_s, self._deviation_s = _MILDER * self._mean_s, _MILDER * self._deviation_s
        return too_late()

    @contextlib.contextmanager
    def holding(self, slot: Slot) -> Iterator[Slot]:
        """Give an interpreter back at the end, whatever happens."""
        try:
            yield slot
        finally:
            self._give_back(slot)

    def execute(self, slot: Slot, feeds: Feeds) -> Outputs:
        """Run once in a slot that the caller holds; raises as ``run``."""
        slot.started_s = self._clock()
        try:
            outputs = slot.session.run_raw(feeds)
        except TinsmithError:
            if slot.given_up:  # it was interrupted
                raise self._too_long() from None
            raise
        finally:
            slot.started_s = None
        if slot.given_up:
            raise self._too_long()
        return outputs

    def give_up_overdue(self) -> float:
        """Give up the interpreters whose runs passed the time limit, and open new ones in their places.

        Returns:
            In how many seconds it is worth looking again.
        """
        now_s = self._clock()
        with self.lock:
            runs = [(slot, slot.started_s) for slot in self._taken]
            overdue = [slot for slot, since in runs if since is not None and now_s - since >= self.time_limit_s]
            for slot in overdue:
                self._give_up(slot)
            missing = 0 if self._end else self._instances - len(self._free) - len(self._taken) - self._opening
        for slot in overdue:
            if isinstance(slot.session.engine, Interruptible):
                slot.session.engine.interrupt()
        for _ in range(missing):
            self._start_replacing()
        ends = [since + self.time_limit_s - now_s for _, since in runs if since is not None]
        return min([left for left in ends if left > 0], default=self.time_limit_s)

    def close(self) -> None:
        """Free what is free, and everything else as soon as it is given back; who waits is refused."""
        with self.lock:
            self._finish(ModelLostError("the model was unloaded"))
            free, self._free = self._free, []
        for slot in free:
            slot.session.close()

    def _await(self, turn: SingleTurn) -> Slot:
        if not turn.wait(self.patience_s(turn.latest_s())):
            with self.lock:
                if turn.outcome is None:
                    self.leave(turn)
                    turn.outcome = self.no_time(turn.latest_s())
        if not isinstance(turn.outcome, Slot):
            raise turn.outcome or expired()
        if self._clock() >= turn.latest_s():  # this thread woke up too late
            self._give_back(turn.outcome)
            raise expired()
        return turn.outcome

    def _take(self, now_s: float) -> Slot:
        slot = self._free.pop()
        slot.taken_s = now_s
        self._taken.add(slot)
        return slot

    def _give_back(self, slot: Slot) -> None:
        with self.lock:
            self._taken.discard(slot)
            self._hanging -= slot.given_up
            if not slot.given_up and self._end is None:
                self._learn(self._clock() - slot.taken_s)
                self._free.append(slot)
                self.serve()
                return
        slot.session.close()

    def _learn(self, run_s: float) -> None:
        if not self._mean_s:
            self._mean_s, self._deviation_s = run_s, run_s / 2
            return
        self._deviation_s += _DEVIATION_WEIGHT * (abs(run_s - self._mean_s) - self._deviation_s)
        self._mean_s += _MEAN_WEIGHT * (run_s - self._mean_s)

    def _run_s(self) -> float:
        """What a run takes at most, as a rule; 0 before the first."""
        return self._mean_s + _DEVIATIONS * self._deviation_s

    def _give_up(self, slot: Slot) -> None:
        slot.given_up = True
        self._taken.discard(slot)
        self._hanging += 1
        if self._hanging >= _MOST_LOST:
            self._finish(
                ModelLostError(f"{self._hanging} runs passed the time limit of {self.time_limit_s:g} s and hang")
            )

    def _finish(self, reason: ModelLostError) -> None:
        self._end = self._end or reason
        while self._line:
            self._line.popleft().settle(self._end)

    def _start_replacing(self) -> None:
        """Raises ``RuntimeError`` where the system gives no thread; the next look tries again."""
        threading.Thread(target=self._replace, name="tinsmith-replace", daemon=True).start()
        with self.lock:
            self._opening += 1

    def _replace(self) -> None:
        try:
            session = self._open_another()
        except Exception as error:  # noqa: BLE001 - memory may be short, and nobody else would hear of it
            reason = error.message if isinstance(error, TinsmithError) else first_line(error)
            with self.lock:
                self._opening -= 1
                self._finish(ModelLostError(f"a run was given up, and no new interpreter opens: {reason}"))
            return
        with self.lock:
            self._opening -= 1
            if self._end is None:
                self._free.append(Slot(session))
                self.serve()
                return
        session.close()

    def _too_long(self) -> ModelTimeoutError:
        return ModelTimeoutError(f"the run did not end within {self.time_limit_s:g} s, and was given up")


def open_pool(
    open_one: Callable[[], Session],
    *,
    instances: int,
    queue: int,
    time_limit_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Pool:
    """Open interpreters of one artifact, all or none.

    Args:
        open_one: Opens one; is called again for each that is given up later.
        instances: At least 1.
        queue: How many may wait in line; 0 for none.
        time_limit_s: For one run.
        clock: Of deadlines, in seconds; never goes back.

    Raises:
        TinsmithError: Whatever ``open_one`` raises.
    """
    sessions: list[Session] = []
    try:
        for _ in range(instances):
            sessions.append(open_one())  # noqa: PERF401 - those that opened must be closed if one does not
    except BaseException:
        for session in sessions:
            session.close()
        raise
    return Pool(sessions, open_one, queue=queue, time_limit_s=time_limit_s, clock=clock)
