"""Starting virtual boards, and stopping them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from typing import TYPE_CHECKING

from tinsmith.devices.boards.adb import ADB
from tinsmith.devices.boards.board import Board, Kind, read_board, write_board
from tinsmith.devices.boards.namespaces import cable_of, power_off
from tinsmith.devices.boards.places import state_folder
from tinsmith.devices.boards.programs import installing, lacking, packages_of
from tinsmith.devices.boards.proot import PROOT
from tinsmith.devices.boards.ssh import SSH
from tinsmith.devices.boards.vm import ICOUNT, VM
from tinsmith.runtime.errors import HostError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["KINDS", "best_kind", "boot", "cut", "find_board", "lack_of", "running", "start_board", "stop_board"]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (SSH, PROOT, ADB, VM, ICOUNT)}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def lack_of(kind: Kind) -> HostError | None:
    """What this machine lacks for a kind of board; None where it can start one."""
    missing = lacking(kind.programs)
    root = kind.needs_root and os.geteuid() != 0
    if not missing and not root:
        return None
    packages = packages_of(missing)
    words = [*(["root"] if root else []), *(f"the program {name}" for name in missing)]
    hint = installing(packages) if packages else "start it with sudo, or take one that needs no root: --kind proot"
    return HostError(f"a virtual board of the kind {kind.name} needs {', '.join(words)}", hint=hint)


def best_kind() -> Kind:
    """The most real board with a quick start that this machine can have.

    Raises:
        HostError: It can have none.
    """
    lacks = {kind: lack_of(KINDS[kind]) for kind in ("ssh", "proot") if kind in KINDS}
    for kind, lack in lacks.items():
        if lack is None:
            return KINDS[kind]
    raise lacks["proot"] or AssertionError


def start_board(name: str, *, kind: str | None = None) -> Board:
    """Start a board; seconds, and some more for the first one, whose system is made.

    Args:
        name: Letters, digits, dashes and underscores.
        kind: One of ``KINDS``; the best that this machine can have unless given.

    Raises:
        UsageError: There is no such kind, it is no name, or that board is on.
        HostError: This machine lacks something for it.
        OutputError: Its folder can't be written.
    """
    chosen = best_kind() if kind is None else _kind(kind)
    if lack := lack_of(chosen):
        raise lack
    folder = _folder(name)
    if (there := read_board(folder)) and there.runs:
        hint = f"stop it first: tinsmith devices down {name}"
        raise UsageError(f"the virtual board {name} is on, at {there.address}", hint=hint)
    stop_board(name)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise OutputError.from_os_error(folder, error) from error
    try:
        board = chosen.start(name, folder, None)
        write_board(board)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return board


def find_board(name: str) -> Board | None:
    """The board of that name, on or not; None where there is none."""
    return read_board(_folder(name))


def stop_board(name: str) -> bool:
    """Stop a board, and remove its disk; also one that this machine's own end has stopped.

    Returns:
        Whether there was one.
    """
    folder = _folder(name)
    if not folder.exists():
        return False
    if board := read_board(folder):
        cut(board)
    shutil.rmtree(folder)
    return True


@contextlib.contextmanager
def running(name: str, *, kind: str) -> Iterator[Board]:
    """A board that is stopped at the end of the block; raises as ``start_board``."""
    board = start_board(name, kind=kind)
    try:
        yield board
    finally:
        stop_board(name)


def cut(board: Board) -> None:
    """Cut the power of a board: everything that runs there ends at once; its disk stays as it is."""
    if board.link:
        power_off(board.process, cable_of(board.link))
    else:
        board.process.end_with_all()
    if forget := _kind(board.kind).forget:
        forget(board)


def boot(board: Board) -> Board:
    """Start a board again, whose power is cut before where it is on: same disk, same keys, same address.

    Raises:
        HostError: It did not start.
    """
    cut(board)
    again = _kind(board.kind).start(board.name, board.folder, board)
    write_board(again)
    return again


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise UsageError(f"there is no kind of virtual board {name!r}", hint=f"the kinds are {', '.join(KINDS)}")
    return KINDS[name]


def _folder(name: str) -> Path:
    if not _NAME.fullmatch(name) or name == "local":
        hint = "a name has up to 63 letters, digits, dashes and underscores; local is this machine"
        raise UsageError(f"{name!r} is no name for a virtual board", hint=hint)
    return state_folder() / name
