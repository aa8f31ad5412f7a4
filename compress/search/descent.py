"""A process and all that it started, as Linux shows them in ``/proc``."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
from pathlib import Path

__all__ = ["descendants", "kill_descendants", "resident_bytes", "scratch_of"]

_PARENT = 1  # behind the state in /proc/PID/stat


def scratch_of(pid: int) -> str:
    """How the names of folders begin that a process of this machine works in, where machines share a folder."""
    return f"trial-{platform.node()}-{pid}-"


def descendants(pid: int) -> tuple[int, ...]:
    """All processes that a process has started, and those that these have, and so on; empty where nobody tells."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended by now
            # the name of the program, which may hold anything, stands in parentheses
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    found: list[int] = []
    open_ = [pid]
    while open_:
        below = children.get(open_.pop(), [])
        found += below
        open_ += below
    return tuple(found)


def kill_descendants(pid: int) -> None:
    """End whatever a process has started."""
    for child in descendants(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def resident_bytes(pid: int) -> int:
    """Memory that a process and its descendants hold, shared pages counted for each of them; 0 where nobody tells."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{one}/statm").read_text(encoding="ascii").split()[1]) * page
    return total
