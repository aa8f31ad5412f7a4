"""Room for the bodies of all requests together, so that many clients can't fill the memory that one may not."""

from __future__ import annotations

import threading

from tinsmith.runtime.server.messages import Refusal

__all__ = ["Room"]


class Room:
    """So many bytes; safe to use from many threads at once."""

    def __init__(self, size_bytes: int) -> None:
        self._lock = threading.Lock()
        self._size_bytes = size_bytes
        self._taken_bytes = 0

    def take(self, wanted_bytes: int) -> None:
        """Take room before a body is read; a single one that is larger than all gets all.

        Raises:
            Refusal: Others hold too much of it (503).
        """
        with self._lock:
            taken_bytes = self._taken_bytes + wanted_bytes
            if self._taken_bytes and taken_bytes > self._size_bytes:
                raise Refusal(503, "busy", "the bodies of other requests fill the server's memory", retry_after_s=1)
            self._taken_bytes = taken_bytes

    def give_back(self, taken_bytes: int) -> None:
        """What was taken, once the request is answered."""
        with self._lock:
            self._taken_bytes -= taken_bytes
