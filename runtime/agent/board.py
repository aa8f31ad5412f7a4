"""The folder of a board: where things lie, who may change them, and what is known of them."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.clock import read_clock
from tinsmith.runtime.agent.filesystem import FileSystem
from tinsmith.runtime.agent.slots import Slots
from tinsmith.runtime.agent.state import SLOTS, State, read_state, state_bytes
from tinsmith.runtime.audit import AuditLog, Newest, newest_line
from tinsmith.runtime.errors import DataError, DeviceError, VerificationError, first_line
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tinsmith.runtime.agent.clock import Moment
    from tinsmith.runtime.agent.state import Entry, Installed

__all__ = ["BUNDLE", "SERVER_SETTINGS", "Board"]

BUNDLE = "app.tin"
SERVER_SETTINGS = "server.json"
_LOOK_AGAIN_S = 0.05


class Board(Slots):
    """Reads and writes what lies in the folder; the rules of an update are elsewhere.

    Attributes:
        base: The folder.
        files: Through which all changes go.
        now: The clock.
        patience_s: How long a request that changes something waits for another one to end.
    """

    def __init__(
        self,
        base: Path,
        *,
        files: FileSystem | None = None,
        now: Callable[[], Moment] = read_clock,
        patience_s: float = 0.0,
    ) -> None:
        self.base = base
        self.patience_s = patience_s
        self.files = files or FileSystem()
        self.now = now
        self.parts = base / "parts"
        self.slots = base / "slots"
        self.trusted = base / "trusted"
        self.current = base / "current"
        self.audit_path = base / "audit.jsonl"
        self._state_path = base / "state.json"
        self._lock_path = base / "lock"

    @contextlib.contextmanager
    def locked(self, *, patience_s: float = 0.0) -> Iterator[None]:
        """Make the folders where they are missing, and keep everybody else from changing anything.

        The lock ends with the process that holds it, however that dies. The device's own look at an update on trial
        holds it for moments, in which the host's word must not be turned away: that is what the patience is for.

        Raises:
            DeviceError: Somebody else is at it.
            OutputError: The folder can't be written.
        """
        for folder in (self.base, self.parts, self.slots, self.trusted):
            self.files.make_folder(folder)
        handle = self.files.open_lock(self._lock_path)
        try:
            if not _lock(handle, patience_s):
                raise DeviceError(
                    "somebody else is updating this device right now",
                    hint="wait until it is done, then ask for its status",
                )
            yield
        finally:
            os.close(handle)

    def serving(self) -> str | None:
        """The slot that the link leads to; None where there is no link, or one that leads elsewhere."""
        try:
            name = self.current.readlink().name
        except OSError:
            return None
        return name if name in SLOTS and self.slot(name).is_dir() else None

    def slot(self, name: str) -> Path:
        """The folder of a slot."""
        return self.slots / name

    def serve(self, slot: str | None) -> None:
        """Let the link lead to a slot; None takes the link away."""
        if slot is None:
            self.files.unlink(self.current)
            self.files.sync_folder(self.base)
        else:
            self.files.switch(self.current, f"{self.slots.name}/{slot}")

    def state(self) -> State:
        """What is known.

        Raises:
            VerificationError: The file is damaged, which no cut of power does.
        """
        try:
            return read_state(self._state_path.read_bytes(), of=str(self._state_path))
        except FileNotFoundError:
            return State()
        except (OSError, DataError) as error:
            raise VerificationError(
                f"cannot read the state of the device, {self._state_path}: {first_line(error)}",
                hint="what is active stays so; move that file away and flash again, and versions count anew",
            ) from error

    def save(self, state: State) -> State:
        """Write what is known from now on."""
        self.files.write(self._state_path, [state_bytes(state)])
        return state

    def append(self, entry: Entry) -> None:
        """Write a line of the audit log."""
        self.files.step("audit", self.audit_path)
        AuditLog(self.audit_path).append(entry.event, serial=str(entry.serial), **entry.facts)

    def newest_line(self) -> Newest:
        """The last line of the audit log; raises ``VerificationError`` where it can't be read."""
        return newest_line(self.audit_path)

    def is_whole(self, installed: Installed) -> bool:
        """Whether every file of a slot is what it was when it passed its checks."""
        home = self.slot(installed.slot)
        try:
            return all(sha256_of(home / name) == sha256 for name, sha256 in installed.files.items())
        except OSError:
            return False


def _lock(handle: int, patience_s: float) -> bool:
    """Whether the lock was had; no system call waits for one with a limit."""
    import fcntl

    ends_s = time.monotonic() + patience_s
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= ends_s:
            return False
        time.sleep(_LOOK_AGAIN_S)
