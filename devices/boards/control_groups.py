"""Memory limits of boards, by a control group of the kernel, version 1 or 2 (cgroups(7))."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from tinsmith.devices.boards.processes import Process

__all__ = ["forget", "limit"]

_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hierarchy:
    """Where the kernel has them, and what the files of one are called.

    Attributes:
        folder: Of all of them.
        most: The file of the limit.
        none: What it holds where there is no limit.
    """

    folder: Path
    most: str
    none: str


def limit(name: str, process: Process, *, limit_bytes: int | None) -> None:
    """Limit what a process starts from now on, together; None for no limit.

    Raises:
        HostError: The kernel can't.
    """
    hierarchy = _hierarchy()
    group = hierarchy.folder / name
    try:
        group.mkdir(exist_ok=True)
        (group / hierarchy.most).write_text(hierarchy.none if limit_bytes is None else str(limit_bytes))
        (group / "cgroup.procs").write_text(str(process.number))
    except OSError as error:
        raise HostError(f"the kernel takes no memory limit at {group}: {error.strerror}") from error


def forget(name: str) -> None:
    """Remove the group of a board that is off."""
    with contextlib.suppress(HostError, OSError):
        (_hierarchy().folder / name).rmdir()


def _hierarchy() -> _Hierarchy:
    if (_ROOT / "memory/memory.limit_in_bytes").exists():
        return _Hierarchy(folder=_ROOT / "memory", most="memory.limit_in_bytes", none="-1")
    if not (_ROOT / "cgroup.controllers").exists():
        raise HostError(f"the kernel has no control groups for memory at {_ROOT}")
    with contextlib.suppress(OSError):
        (_ROOT / "cgroup.subtree_control").write_text("+memory")
    return _Hierarchy(folder=_ROOT, most="memory.max", none="max")
