"""Room for the bodies of all requests together, so that many clients can't fill the memory that one may not."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from tinsmith.runtime.server.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Room"]


class Room:
    """So many bytes; safe to use from many threads at once."""

    def __init__(self, size_bytes: int) -> None:
        self._lock = threading.Lock()
        self._size_bytes = size_bytes
        self._taken_bytes = 0

    @contextlib.contextmanager
    def hold(self, wanted_bytes: int) -> Iterator[None]:
        """Take room before a body is read, until it is answered; a single one that is larger than all gets all.

        Raises:
            Refusal: Others hold too much of it (503).
        """
        self._take(wanted_bytes)
        try:
            yield
        finally:
            with self._lock:
                self._taken_bytes -= wanted_bytes

    def _take(self, wanted_bytes: int) -> None:
        with self._lock:
            taken_bytes = self._taken_bytes + wanted_bytes
            if self._taken_bytes and taken_bytes > self._size_bytes:
                raise Refusal(503, "busy", "the bodies of other requests fill the server's memory", retry_after_s=1)
            self._taken_bytes = taken_bytes
