"""The two slots of a device as the rules of an update see them, wherever the files lie and however they are reached."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.state import Entry
from tinsmith.runtime.errors import NoRoomError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.runtime.agent.clock import Moment
    from tinsmith.runtime.agent.state import Installed, State
    from tinsmith.runtime.audit import Newest

__all__ = ["Slots"]

_MOST_OWED = 30


class Slots(ABC):
    """What is served, what is known, and the audit log.

    Attributes:
        now: The clock of the device.
    """

    now: Callable[[], Moment]

    @abstractmethod
    def serving(self) -> str | None:
        """The slot that the link leads to; None where there is no link, or one that leads elsewhere."""

    @abstractmethod
    def serve(self, slot: str | None) -> None:
        """Let the link lead to a slot; None takes the link away."""

    @abstractmethod
    def state(self) -> State:
        """What is known; raises ``VerificationError`` where that is damaged, which no cut of power does."""

    @abstractmethod
    def save(self, state: State) -> State:
        """Write what is known from now on."""

    @abstractmethod
    def newest_line(self) -> Newest:
        """The last line of the audit log; raises ``VerificationError`` where it can't be read."""

    @abstractmethod
    def is_whole(self, installed: Installed) -> bool:
        """Whether every file of a slot is what it was when it passed its checks."""

    @abstractmethod
    def append(self, entry: Entry) -> None:
        """Write a line of the audit log; raises ``OutputError`` or ``NoRoomError`` where the disk has no room."""

    def record(self, state: State, event: str, about: Installed | None = None, **facts: str) -> State:
        """Write what is known from now on together with the line that the audit log owes it, and then the line.

        Args:
            state: What is known from now on.
            event: As the audit log takes it.
            about: The bundle that it is about.
            **facts: What else to say.
        """
        said = {} if about is None else _said(about)
        serial = state.entries[-1].serial + 1 if state.entries else 1
        entry = Entry(serial=serial, event=event, facts={**said, **facts})
        state = self.save(replace(state, entries=(*self._owed(state)[-_MOST_OWED:], entry)))
        self.pay(state)
        return state

    def pay(self, state: State) -> None:
        """Write the lines that the audit log owes to the state, unless they are there.

        A disk that is too full for them does not stop an update from being taken back: they stay owed.
        """
        with contextlib.suppress(OutputError, NoRoomError):
            for entry in self._owed(state):
                self.append(entry)

    def _owed(self, state: State) -> tuple[Entry, ...]:
        last = str(self.newest_line().facts.get("serial", ""))
        written = int(last) if last.isdecimal() else 0
        return tuple(entry for entry in state.entries if entry.serial > written)


def _said(about: Installed) -> dict[str, str]:
    said = {"model": about.name, "version": str(about.version), "sha256": about.sha256, "slot": about.slot}
    return {**said, "signed_by": about.signed_by} if about.signed_by else said
