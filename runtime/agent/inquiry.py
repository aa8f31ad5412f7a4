"""What a device is, has and serves."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime._version import __version__
from tinsmith.runtime.agent.answers import Bundled, DeviceFacts, DeviceStatus
from tinsmith.runtime.agent.installing import trusted_keys
from tinsmith.runtime.bundle.minisign import key_name
from tinsmith.runtime.cpu import Cpu, read_cpu
from tinsmith.runtime.engines import ENGINES

if TYPE_CHECKING:
    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.slots import Slots
    from tinsmith.runtime.agent.state import State

__all__ = ["facts_of", "status_of"]

_MACHINE_ID = Path("/etc/machine-id")


def status_of(
    board: Slots, state: State, *, resolved: str = "", busy: bool = False, unwritable: str = ""
) -> DeviceStatus:
    """What is served."""
    active = state.at(board.serving())
    on_trial = state.trial is not None and active is not None and active.slot == state.trial.slot
    previous = state.at(state.committed if on_trial else state.back)
    return DeviceStatus(
        active=None if active is None else Bundled.of(active),
        previous=None if previous is None else Bundled.of(previous),
        on_trial=on_trial,
        trial_until_s=state.trial.until_wall_s if on_trial and state.trial is not None else None,
        highest={name: highest.version for name, highest in state.highest.items()},
        audit_head=board.newest_line().head,
        resolved=resolved,
        busy=busy,
        unwritable=unwritable,
    )


def facts_of(board: Board) -> DeviceFacts:
    """What a device is and has; changes nothing, and needs nothing to be there."""
    cpu = read_cpu() or Cpu(arch=platform.machine(), features=frozenset())
    keys = trusted_keys(board)
    return DeviceFacts(
        agent=__version__,
        python=platform.python_version(),
        engines=_engines(),
        arch=cpu.arch,
        cpu=cpu.model,
        cpu_features=tuple(sorted(cpu.features)),
        cores=_cores(),
        ram_bytes=_ram_bytes(),
        disk_free_bytes=shutil.disk_usage(_there(board.base)).free,
        machine_id=_machine_id(),
        keys=() if keys is None else tuple(key_name(key.id) for key in keys.keys),
        status=status_of(board, board.state()),
    )


def _engines() -> dict[str, str]:
    found = {}
    for engine in ENGINES:
        try:
            found[engine.name] = version(engine.package)
        except PackageNotFoundError:  # noqa: PERF203 - a handful of engines
            continue
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ram_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


def _machine_id() -> str:
    try:
        return _MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _there(path: Path) -> Path:
    """The folder, or the one above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
