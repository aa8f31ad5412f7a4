"""Faults of boards of the kind ``ssh``: of cable, disk and memory. A cut of the power, which all can have, is ``cut``.

Each raises ``HostError`` where this machine can't bring it about.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tinsmith.devices.boards.control_groups import limit
from tinsmith.devices.boards.namespaces import inside
from tinsmith.devices.boards.programs import run
from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from tinsmith.devices.boards.board import Board

__all__ = ["fast_link", "limit_memory", "link_down", "link_up", "read_only", "remove_disk", "slow_link", "small_disk",
           "writable"]  # fmt: skip

_ROOT = "/mnt/board"
_LIMIT_S = 10.0


def link_down(board: Board) -> None:
    """Pull the cable out."""
    _run(board, ["ip", "link", "set", board.link, "down"])


def link_up(board: Board) -> None:
    """Put the cable in again."""
    _run(board, ["ip", "link", "set", board.link, "up"])


def slow_link(board: Board, *, bits_per_s: int) -> None:
    """Let no more than that through, either way (tc-tbf(8))."""
    shaped = ["root", "tbf", "rate", f"{bits_per_s}bit", "burst", "16k", "latency", "200ms"]
    _run(board, ["tc", "qdisc", "replace", "dev", board.link, *shaped])
    _run(board, _in_board(board, "net", ["tc", "qdisc", "replace", "dev", "eth0", *shaped]))


def fast_link(board: Board) -> None:
    """Let as much through as there is."""
    with contextlib.suppress(HostError):
        _run(board, ["tc", "qdisc", "delete", "dev", board.link, "root"])
        _run(board, _in_board(board, "net", ["tc", "qdisc", "delete", "dev", "eth0", "root"]))


def small_disk(board: Board, folder: PurePosixPath, *, size_bytes: int) -> None:
    """Put an empty disk of so many bytes at a folder, which is made; it is in memory, and gone with the power."""
    place = f"{_ROOT}{folder}"
    _run(board, _in_board(board, "mount", ["mkdir", "-p", place]))
    _run(board, _in_board(board, "mount", ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "small", place]))


def remove_disk(board: Board, folder: PurePosixPath) -> None:
    """Take a small disk away, with what is on it."""
    _run(board, _in_board(board, "mount", ["umount", f"{_ROOT}{folder}"]))


def read_only(board: Board) -> None:
    """Let nobody write to the board's disk, as the kernel does after an error of the disk."""
    _run(board, _in_board(board, "mount", ["mount", "-o", "remount,ro", _ROOT]))


def writable(board: Board) -> None:
    """Let it be written to again."""
    _run(board, _in_board(board, "mount", ["mount", "-o", "remount,rw", _ROOT]))


def limit_memory(board: Board, *, limit_bytes: int | None) -> None:
    """Let what logs in from now on have no more memory than that together; None for all that this machine has."""
    limit(board.link, inside(board.process, board.folder), limit_bytes=limit_bytes)


def _in_board(board: Board, namespace: str, arguments: list[str]) -> list[str]:
    """The programs of this machine, among the board's mounts or in its network."""
    return ["nsenter", "--target", str(inside(board.process, board.folder).number), f"--{namespace}", *arguments]


def _run(board: Board, arguments: list[str]) -> None:
    if not board.link:
        raise ValueError(f"a board of the kind {board.kind} has no cable of its own")
    run(arguments, doing=f"breaking the virtual board {board.name}", time_limit_s=_LIMIT_S)
