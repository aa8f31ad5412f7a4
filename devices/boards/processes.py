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
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Process", "ended_by_errors", "start"]

_PROC = Path("/proc")
_END_LIMIT_S = 10.0


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
        if not self.lives:
            # its number may be another's by now
            return ()
        numbers: list[str] = []
        for thread in (_PROC / str(self.number) / "task").glob("*"):
            with contextlib.suppress(OSError):
                numbers += (thread / "children").read_text().split()
        found = (Process.numbered(int(number)) for number in numbers)
        return tuple(child for child in found if child.lives)

    def descendants(self) -> tuple[Process, ...]:
        """Its children, and theirs."""
        return tuple(found for child in self.children() for found in (child, *child.descendants()))

    def end(self) -> None:
        """Kill it, and wait for its end."""
        _tell(self, signal.SIGKILL)
        self.wait(_END_LIMIT_S)

    def end_with_all(self) -> None:
        """Kill it with all that it has started, and what those have."""
        # stopped, it starts no more; what those leave behind comes to it, where it has asked for that (prctl(2))
        _tell(self, signal.SIGSTOP)
        while below := self.descendants():
            # all at once: one that is traced ends when its tracer has
            for process in below:
                _tell(process, signal.SIGKILL)
            for process in below:
                process.wait(_END_LIMIT_S)
        self.end()

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


@contextlib.contextmanager
def ended_by_errors(process: Process) -> Iterator[None]:
    """End it with all that it has started, where the block ends with an error."""
    try:
        yield
    except BaseException:
        process.end_with_all()
        raise


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


def _tell(process: Process, number: int) -> None:
    if process.lives:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.number, number)


def _began(number: int) -> str:
    """Empty where there is none, or one that has ended."""
    try:
        # the name in brackets may hold anything
        words = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else f"{boot} {words[19]}"
