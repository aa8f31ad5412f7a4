"""The line in front of a pool: who stands in it, and what they wait for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from tinsmith.runtime.errors import BusyError, ExpiredError

if TYPE_CHECKING:
    from tinsmith.runtime.errors import TinsmithError
    from tinsmith.runtime.session import Session

__all__ = ["SingleTurn", "Slot", "Turn", "expired", "too_late"]


class Slot:
    """The place of one interpreter.

    Attributes:
        session: The interpreter.
        taken_s: When somebody took it.
        started_s: When the run that is under way began; None while there is none.
        given_up: Whether a run passed its time limit, so that nobody may use the interpreter again.
    """

    __slots__ = ("given_up", "session", "started_s", "taken_s")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.taken_s = 0.0
        self.started_s: float | None = None
        self.given_up = False


class Turn(Protocol):
    """A place in the line, of one request or of a batch; every method is called with the pool's lock held."""

    def due(self, now_s: float) -> bool:
        """Whether it would take an interpreter now; a batch may wait for more."""
        ...

    def latest_s(self) -> float:
        """When its deadline is."""
        ...

    def requests(self) -> int:
        """How many wait here."""
        ...

    def settle(self, outcome: Slot | TinsmithError) -> None:
        """It has left the line: with an interpreter, or with the reason why it gets none."""
        ...


class SingleTurn:
    """The turn of one thread, which waits for it."""

    __slots__ = ("_deadline_s", "_woken", "outcome")

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._woken = threading.Lock()  # the cheapest thing that a thread can wait for
        self._woken.acquire()
        self.outcome: Slot | TinsmithError | None = None

    def due(self, now_s: float) -> bool:  # noqa: ARG002 - a batch needs it
        """Always."""
        return True

    def latest_s(self) -> float:
        """Its deadline."""
        return self._deadline_s

    def requests(self) -> int:
        """One."""
        return 1

    def settle(self, outcome: Slot | TinsmithError) -> None:
        """Wake the thread."""
        self.outcome = outcome
        self._woken.release()

    def wait(self, timeout_s: float) -> bool:
        """Whether it was settled in time."""
        if self.outcome is not None:
            return True
        return self._woken.acquire(timeout=min(max(timeout_s, 0.0), threading.TIMEOUT_MAX))


def expired() -> ExpiredError:
    """The deadline has passed."""
    return ExpiredError("the deadline passed before an interpreter was free")


def too_late() -> BusyError:
    """The deadline has not passed, and will have by the end of a run."""
    return BusyError("the line was so long that no time is left to run before the deadline")
