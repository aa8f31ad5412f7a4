"""One loaded version of a model, as ``ServedModel`` of ``serving.py`` describes it."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import BusyError, ExpiredError, ModelLostError, ModelTimeoutError
from tinsmith.runtime.pool import open_pool
from tinsmith.runtime.server.batching import Batcher, check_free_axes
from tinsmith.runtime.server.messages import Refusal
from tinsmith.runtime.server.serving import Answered, instances_of
from tinsmith.runtime.server.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.errors import TinsmithError
    from tinsmith.runtime.pool import Pool, Ran
    from tinsmith.runtime.server.serving import Limits, Servable, Watcher
    from tinsmith.runtime.session import Session
    from tinsmith.runtime.tensors import TensorSpec

    Feeds = Mapping[str, NDArray[np.generic]]

__all__ = ["Served", "open_served"]

_LOG = logging.getLogger(__name__)
_LONGEST_RETRY_S = 60


def _no_watchers(inputs: Sequence[TensorSpec]) -> Sequence[Watcher]:  # noqa: ARG001 - as those that do watch
    return ()


class Served:
    """A queue in front of some interpreters; see ``ServedModel``."""

    def __init__(self, servable: Servable, pool: Pool, *, limits: Limits, watchers: Sequence[Watcher] = ()) -> None:
        self.servable = servable
        self.inputs, self.outputs = pool.inputs, pool.outputs
        self.batches = all(spec.batch is None for spec in (*pool.inputs, *pool.outputs))
        self.engine = pool.engine
        self.statistics = Statistics()
        self.pool = pool
        self._watchers = tuple(watchers)
        self._batcher = self._make_batcher(limits) if limits.max_batch > 1 else None

    @property
    def waiting(self) -> int:
        """How many requests wait for an interpreter."""
        return self.pool.waiting

    def infer(self, feeds: Feeds, *, deadline_s: float) -> Answered:
        """Wait for an interpreter and run once; see ``ServedModel``.

        Raises:
            Refusal: 429 ``queue-full``, 504 ``deadline`` or ``time-limit``, 503 ``lost``.
            DataError: The feeds do not fit the model.
            ModelError: The engine failed.
        """
        try:
            ran = self._run(feeds, deadline_s)
        except (BusyError, ModelTimeoutError, ModelLostError) as error:
            raise self._refusal(error) from error
        self._tell(feeds, ran)
        return Answered(outputs=ran.outputs, queue_ns=ran.queue_ns, infer_ns=ran.infer_ns, batch=ran.batch)

    def check_room(self) -> None:
        """Raise the refusal that a request would get now, before its body is read."""
        try:
            if self._batcher is None:
                self.pool.check_room()
            else:
                self._batcher.check_room()
        except (BusyError, ModelLostError) as error:
            raise self._refusal(error) from error

    def close(self) -> None:
        """Free the interpreters."""
        self.pool.close()

    def _run(self, feeds: Feeds, deadline_s: float) -> Ran:
        if self._batcher is not None:
            return self._batcher.run(feeds, deadline_s=deadline_s)
        ran = self.pool.run(feeds, deadline_s=deadline_s)
        self.statistics.executed(1)
        return ran

    def _tell(self, feeds: Feeds, ran: Ran) -> None:
        for watcher in self._watchers:
            try:
                watcher.saw(feeds, ran.outputs)
            except Exception:  # noqa: PERF203, BLE001 - what only watches must not cost the client its answer
                _LOG.warning("%s: a watcher failed", self.servable.name, exc_info=True)

    def _refusal(self, error: TinsmithError) -> Refusal:
        name = self.servable.name
        if isinstance(error, ExpiredError):
            return Refusal(504, "deadline", f"{name}: {error.message}")
        if isinstance(error, BusyError):
            retry_after_s = min(max(1, math.ceil(self.pool.backlog_s)), _LONGEST_RETRY_S)
            return Refusal(429, "queue-full", f"{name}: {error.message}", retry_after_s=retry_after_s)
        if isinstance(error, ModelTimeoutError):
            return Refusal(504, "time-limit", f"{name}: {error.message}")
        return Refusal(503, "lost", f"{name} can't run: {error.message}")

    def _make_batcher(self, limits: Limits) -> Batcher:
        return Batcher(
            self.pool,
            room=limits.queue + instances_of(self.servable, limits) * limits.max_batch,
            max_batch=limits.max_batch,
            max_delay_s=limits.max_delay_ms / 1e3,
            executed=self.statistics.executed,
        )


def open_served(
    servable: Servable,
    open_session: Callable[[], Session],
    *,
    limits: Limits,
    watchers_of: Callable[[Sequence[TensorSpec]], Sequence[Watcher]] = _no_watchers,
) -> Served:
    """Open the interpreters of a servable in this process; only after a child process has accepted it.

    Args:
        servable: What to open.
        open_session: Opens one interpreter; is called again for each that is given up later.
        limits: How much it takes on.
        watchers_of: Gives those who see its requests, by what it takes.

    Raises:
        UsageError: Batching is asked for, and the model can't.
        TinsmithError: Whatever ``open_session`` and ``watchers_of`` raise.
    """
    # a batch waits for its turn like a request, and the batcher keeps count of those inside
    instances = instances_of(servable, limits)
    queue = limits.queue if limits.max_batch == 1 else limits.queue + instances * limits.max_batch
    pool = open_pool(open_session, instances=instances, queue=queue, time_limit_s=limits.time_limit_s)
    try:
        if limits.max_batch > 1:
            check_free_axes(pool.inputs, pool.outputs)
        return Served(servable, pool, limits=limits, watchers=watchers_of(pool.inputs))
    except BaseException:
        pool.close()
        raise
