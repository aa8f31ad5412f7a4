"""Dynamic batching: requests that come at about the same time, and have the same shape, share a run.

A batch stands in the pool's line as one turn, and takes in others until an interpreter is its own. The thread of one of
its members then runs it for all; no thread is kept for that. Only the pool's lock is used, so there is no second order
of locks to get wrong.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import (
    BusyError,
    ModelError,
    ModelLostError,
    ModelTimeoutError,
    TinsmithError,
    UsageError,
)
from tinsmith.runtime.pool import Ran
from tinsmith.runtime.turns import Slot, expired

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.pool import Pool
    from tinsmith.runtime.tensors import TensorSpec

    Feeds = Mapping[str, NDArray[np.generic]]
    Outputs = dict[str, NDArray[np.generic]]
    Shape = tuple[tuple[str, tuple[int, ...]], ...]

__all__ = ["Batcher", "check_free_axes", "check_independent"]

# How far a sample's answer may move when another sample shares its run: rounding of a matrix product in another order.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-4


class Batcher:
    """Runs requests together in the interpreters of a pool; safe to call from many threads at once."""

    def __init__(
        self,
        pool: Pool,
        *,
        room: int,
        max_batch: int,
        max_delay_s: float,
        executed: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args are as in ``Limits``; ``room`` requests at most are inside, and ``executed`` hears the size of runs."""
        self.pool = pool
        self.max_batch = max_batch
        self._room = room
        self._max_delay_s = max_delay_s
        self._executed = executed
        self._clock = clock
        self._inside = 0
        self._open: dict[Shape, _Batch] = {}

    def run(self, feeds: Feeds, *, deadline_s: float) -> Ran:
        """As ``Pool.run``, and with the same answer, but perhaps in company; raises as ``Pool.run``."""
        member = _Member(feeds, deadline_s)
        with self.pool.lock:
            self.check_room()
            batch = self._join(member)
            self._inside += 1
        try:
            slot = self._await(member, batch)
            if slot is not None:
                self._lead(batch, slot)
            return member.answer()
        finally:
            with self.pool.lock:
                self._inside -= 1

    def check_room(self) -> None:
        """Raise what ``run`` would raise now."""
        if self.pool.lost is not None:
            raise ModelLostError(self.pool.lost.message, hint=self.pool.lost.hint)
        if self._inside >= self._room:
            raise BusyError(f"{self._inside} requests are at work or wait already, and no more may")

    def forget(self, batch: _Batch) -> None:
        """Nobody may join any more; with the lock held."""
        if batch.shape is not None and self._open.get(batch.shape) is batch:
            del self._open[batch.shape]

    def _join(self, member: _Member) -> _Batch:
        shape = _shape(member.feeds)
        batch = None if shape is None else self._open.get(shape)
        if batch is not None:
            batch.members.append(member)
            if len(batch.members) >= self.max_batch:
                self.forget(batch)
                self.pool.serve()
            return batch
        batch = _Batch(self, shape, member, delay_s=0.0 if shape is None else self._max_delay_s, now_s=self._clock())
        if shape is not None:
            self._open[shape] = batch
        try:
            self.pool.enter(batch)
        except TinsmithError:
            self.forget(batch)
            raise
        return batch

    def _await(self, member: _Member, batch: _Batch) -> Slot | None:
        """The interpreter in which to run the batch, or None when somebody else has seen to it."""
        # somebody must look once when it is ripe, however late the thread wakes up for it
        wake_s = batch.ripe_s if batch.ripens else math.inf
        while not member.wait(min(wake_s - self._clock(), self._patience_s(member, batch))):
            if self._clock() >= wake_s:
                wake_s = math.inf
            with self.pool.lock:
                if self._patience_s(member, batch) <= 0:
                    batch.leave(member)
                else:
                    self.pool.serve()
        return member.slot

    def _patience_s(self, member: _Member, batch: _Batch) -> float:
        return member.deadline_s - self._clock() if batch.runs else self.pool.patience_s(member.deadline_s)

    def _lead(self, batch: _Batch, slot: Slot) -> None:
        with self.pool.lock:
            members = batch.drop_late(self._clock())
        try:
            with self.pool.holding(slot):
                if members:
                    self._run_together(members, slot)
        finally:
            lost = ModelError("the thread that ran the batch was stopped")
            self._settle([(member, lost) for member in members if not member.settled])

    def _run_together(self, members: Sequence[_Member], slot: Slot) -> None:
        started_ns = time.perf_counter_ns()
        try:
            outputs = _split(self.pool.execute(slot, _together(members)), [member.rows for member in members])
        except ModelTimeoutError as error:
            self._settle([(member, error) for member in members])
        except TinsmithError as error:
            # one bad request must not fail the others
            if len(members) == 1:
                self._settle([(members[0], error)])
            else:
                self._run_alone(members, slot)
        else:
            self._executed(len(members))
            took_ns, size = time.perf_counter_ns() - started_ns, len(members)
            self._settle(
                [(m, Ran(o, started_ns - m.asked_ns, took_ns, size)) for m, o in zip(members, outputs, strict=True)]
            )

    def _run_alone(self, members: Sequence[_Member], slot: Slot) -> None:
        for member in members:
            started_ns = time.perf_counter_ns()
            if self._clock() >= member.deadline_s:
                self._settle([(member, expired())])
                continue
            try:
                outputs = self.pool.execute(slot, member.feeds)
            except TinsmithError as error:
                self._settle([(member, error)])
                if slot.given_up:
                    self._settle([(other, error) for other in members])
                    return
            else:
                self._executed(1)
                ran = Ran(outputs, started_ns - member.asked_ns, time.perf_counter_ns() - started_ns)
                self._settle([(member, ran)])

    def _settle(self, outcomes: Sequence[tuple[_Member, Ran | TinsmithError]]) -> None:
        with self.pool.lock:
            for member, outcome in outcomes:
                member.settle(outcome)


class _Member:
    """One request in a batch."""

    __slots__ = ("_outcome", "_woken", "asked_ns", "deadline_s", "feeds", "slot")

    def __init__(self, feeds: Feeds, deadline_s: float) -> None:
        self.feeds = feeds
        self.deadline_s = deadline_s
        self.asked_ns = time.perf_counter_ns()
        self.slot: Slot | None = None
        self._outcome: Ran | TinsmithError | None = None
        self._woken = threading.Lock()
        self._woken.acquire()

    @property
    def rows(self) -> int:
        return len(next(iter(self.feeds.values())))

    @property
    def settled(self) -> bool:
        return self._outcome is not None

    def lead(self, slot: Slot) -> None:
        self.slot = slot
        self._woken.release()

    def settle(self, outcome: Ran | TinsmithError) -> None:
        """The first outcome counts: who has left is not answered any more."""
        if self._outcome is None:
            self._outcome = outcome
            if self.slot is None:
                self._woken.release()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has to lead, or is settled."""
        if self.slot is not None or self.settled:
            return True
        return self._woken.acquire(timeout=min(max(timeout_s, 0.0), threading.TIMEOUT_MAX))

    def answer(self) -> Ran:
        if isinstance(self._outcome, Ran):
            return self._outcome
        error = self._outcome or expired()
        raise type(error).revive(error.message, error.hint)  # one traceback each


class _Batch:
    """A turn in the pool's line that others may join; see ``tinsmith.runtime.pool.Turn``."""

    def __init__(self, batcher: Batcher, shape: Shape | None, first: _Member, *, delay_s: float, now_s: float) -> None:
        self.members = [first]
        self.shape = shape
        self.ripe_s = now_s + delay_s
        self.ripens = delay_s > 0
        self.runs = False
        self._batcher = batcher

    def due(self, now_s: float) -> bool:
        return now_s >= self.ripe_s or len(self.members) >= self._batcher.max_batch

    def latest_s(self) -> float:
        return max(member.deadline_s for member in self.members)

    def requests(self) -> int:
        return len(self.members)

    def settle(self, outcome: Slot | TinsmithError) -> None:
        self._batcher.forget(self)
        self.runs = isinstance(outcome, Slot)
        if not isinstance(outcome, Slot):
            for member in self.members:
                member.settle(outcome)
            return
        # one is left: the line holds nobody whose ``latest_s`` has passed
        self.drop_late(outcome.taken_s)[0].lead(outcome)

    def drop_late(self, now_s: float) -> list[_Member]:
        """Refuse the members whose deadlines have passed, and give the others; with the lock held."""
        for member in self.members:
            if member.deadline_s <= now_s:
                member.settle(expired())
        self.members = [member for member in self.members if member.deadline_s > now_s]
        return self.members

    def leave(self, member: _Member) -> None:
        """It has no time left to be run, or to be answered; with the lock held."""
        if member.slot is not None or member.settled:
            return
        member.settle(expired() if self.runs else self._batcher.pool.no_time(member.deadline_s))
        if self.shape is not None and len(self.members) > 1:
            self.members = [other for other in self.members if other is not member]
            return
        self._batcher.forget(self)
        self._batcher.pool.leave(self)


def check_free_axes(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Make sure that every tensor has a free first axis.

    Raises:
        UsageError: One has not; names each of them.
    """
    fixed = [f"{spec.name} {list(spec.shape)}" for spec in (*inputs, *outputs) if spec.batch is not None]
    if fixed:
        raise UsageError(
            f"requests can't share a run: the first axis of {', '.join(fixed)} is not free",
            hint="serve it without --max-batch, in a server of its own, or convert it with a free batch axis",
        )


def check_independent(run: Callable[[Feeds], Outputs], inputs: tuple[TensorSpec, ...]) -> None:
    """Make sure that two samples in one run get the answers that each of them gets alone.

    A free first axis does not say so: a mean along it mixes samples, and with them clients; so does a quantization
    whose scale is found anew from the whole tensor.

    Args:
        run: The model, on stored dtypes.
        inputs: What it takes.

    Raises:
        UsageError: They do not.
    """
    import numpy as np

    from tinsmith.runtime.feeds import random_feeds

    pair = [random_feeds(inputs, seed=seed) for seed in (0, 1)]
    alone = [run(feeds) for feeds in pair]
    together = run({spec.name: np.concatenate([feeds[spec.name] for feeds in pair]) for spec in inputs})
    for name, both in together.items():
        want = np.concatenate([outputs[name] for outputs in alone]).astype(np.float64)
        if both.shape != want.shape or not np.allclose(both, want, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True):
            raise UsageError(
                f"the output {name!r} of a sample depends on the other samples in its run, so requests can't share one",
                hint="serve it without --max-batch, in a server of its own",
            )


def _shape(feeds: Feeds) -> Shape | None:
    """What requests in one batch must have in common; None for one that can't share a run."""
    rows = {array.shape[0] for array in feeds.values()}
    if len(rows) != 1 or 0 in rows:
        return None
    return tuple((name, feeds[name].shape[1:]) for name in sorted(feeds))


def _together(members: Sequence[_Member]) -> Feeds:
    import numpy as np

    first = members[0].feeds
    if len(members) == 1:
        return first
    return {name: np.concatenate([member.feeds[name] for member in members]) for name in first}


def _split(outputs: Outputs, rows: Sequence[int]) -> list[Outputs]:
    """Give each member its rows back; raises ``ModelError`` where the model gave another number of rows."""
    if len(rows) == 1:
        return [outputs]
    parts: list[Outputs] = [{} for _ in rows]
    for name, array in outputs.items():
        if len(array) != sum(rows):
            raise ModelError(f"the output {name!r} has {len(array)} rows for {sum(rows)} samples")
        start = 0
        for part, count in zip(parts, rows, strict=True):
            part[name] = array[start : start + count]
            start += count
    return parts
