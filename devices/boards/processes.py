"""Processes that outlive the one that started them, and that another one stops, even after a restart between them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Process", "start"]

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of this machine, never mistaken for a later one with its number.

    Attributes:
        number: As the system counts them.
        began: When: the boot of this machine, and the kernel's ticks since.
    """

    number: int
    began: str

    @classmethod
    def numbered(cls, number: int) -> Process:
        """The one that has the number now; one that never lives where there is none."""
        return cls(number=number, began=_began(number))

    @property
    def lives(self) -> bool:
        """Whether it runs; one that has ended and is not yet waited for does not."""
        return bool(self.began) and _began(self.number) == self.began

    def children(self) -> tuple[Process, ...]:
        """Those that it has started, and that live."""
        try:
            numbers = (_PROC / str(self.number) / "task" / str(self.number) / "children").read_text().split()
        except OSError:
            return ()
        return tuple(Process.numbered(int(number)) for number in numbers)

    def end(self, *, patience_s: float = 0.0) -> None:
        """Ask it to end, wait for so long, then kill it; without patience, kill it at once."""
        if patience_s:
            self._signal(signal.SIGTERM)
            self.wait(patience_s)
        self._signal(signal.SIGKILL)
        self.wait(10.0)

    def wait(self, time_limit_s: float) -> bool:
        """Wait for its end; whether it came in time."""
        try:
            handle = os.pidfd_open(self.number)
        except ProcessLookupError:
            return True
        try:
            has_ended = not self.lives or bool(select.select([handle], [], [], time_limit_s)[0])
        finally:
            os.close(handle)
        if has_ended:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.number, os.WNOHANG)
        return has_ended

    def _signal(self, number: int) -> None:
        if self.lives:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.number, number)


def start(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, stdin: int | None = None
) -> Process:
    """Start a program that lives on when this process ends, in a session of its own.

    Args:
        command: The path of the program, and its arguments.
        log: Where it writes what it says.
        environment: What it gets besides what this process has.
        stdin: What it reads; nothing unless given.
    """
    written = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    source = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    number = os.posix_spawn(
        command[0], list(command), {**os.environ, **(environment or {})}, setsid=True,
        file_actions=[
            *([(os.POSIX_SPAWN_DUP2, stdin, 0)] if stdin is not None else source),
            (os.POSIX_SPAWN_OPEN, 1, str(log), written, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )  # fmt: skip
    return Process.numbered(number)


def _began(number: int) -> str:
    """Empty where there is none, or one that has ended."""
    try:
        # the name in brackets may hold anything
        words = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else f"{boot} {words[19]}"
