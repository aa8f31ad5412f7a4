"""Looks after the runs of all pools: one that passes its time limit loses its interpreter."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinsmith.runtime.pool import Pool

__all__ = ["Watchdog"]

# A run is given up at most this part of its time limit too late.
_PART = 0.25
_LEAST_S = 0.05
_AGAIN_S = 1.0
_LOG = logging.getLogger(__name__)


class Watchdog:
    """One thread for all pools; it starts with the first of them, and sleeps while there is none."""

    def __init__(self) -> None:
        self._pools: list[Pool] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def watch(self, pool: Pool) -> None:
        """Look after a pool until ``forget``."""
        with self._changed:
            self._pools = [*self._pools, pool]
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_looking, name="tinsmith-watchdog", daemon=True)
                self._thread.start()

    def forget(self, pool: Pool) -> None:
        """It holds no interpreter that matters any more."""
        with self._changed:
            self._pools = [other for other in self._pools if other is not pool]

    def look(self) -> float:
        """Give up what is overdue; gives the seconds after which to look again."""
        waits = [min(pool.give_up_overdue(), _PART * pool.time_limit_s) for pool in self._pools]
        return max(_LEAST_S, min(waits, default=threading.TIMEOUT_MAX))

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _keep_looking(self) -> None:
        while True:
            try:
                wait_s = self.look()
            except RuntimeError:  # the system gives no further thread; it may later
                _LOG.exception("an interpreter could not be replaced")
                wait_s = _AGAIN_S
            with self._changed:
                if self._closed:
                    return
                self._changed.wait(wait_s)
                if self._closed:
                    return
