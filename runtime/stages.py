"""The stages of an update: how long each took, and in which one it failed."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Stages"]


class Stages:
    """Kept by one request.

    Attributes:
        now: The stage that is gone through, or in which the request failed.
        durations_ms: Of those that are done, by name.
    """

    def __init__(self, first: str) -> None:
        self.now = first
        self.durations_ms: dict[str, float] = {}

    @contextlib.contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Go through a stage; where it raises, it stays the one that is gone through."""
        before, self.now = self.now, name
        started = time.perf_counter()
        yield
        self.durations_ms[name] = (time.perf_counter() - started) * 1e3
        self.now = before
