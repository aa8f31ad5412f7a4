"""Boards without root: an SSH server of ours on a port of this machine, and a folder that proot shows as ``/``.

Programs see the processes and the memory of this machine. Links lead out of the folder neither for SFTP nor for them.
What the system brings below ``/usr`` and its like is shared by all such boards, and not to be written.
"""

from __future__ import annotations

import shutil
import socket
import sys
import uuid
from functools import partial
from typing import TYPE_CHECKING

from tinsmith.devices.boards.board import Board, Kind
from tinsmith.devices.boards.cpuinfo import describe_cpu
from tinsmith.devices.boards.keys import keys_in
from tinsmith.devices.boards.listening import wait_for_ssh
from tinsmith.devices.boards.processes import ended_by_errors, start
from tinsmith.devices.boards.programs import program
from tinsmith.devices.boards.systems import BOARD, PROGRAMS, is_made, made
from tinsmith.devices.boards.trees import SHARED

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PROOT"]

_START_LIMIT_S = 30.0


def _start(name: str, folder: Path, before: Board | None) -> Board:
    program("proot")
    program("qemu-aarch64-static")
    system = made(BOARD)
    _furnish(folder / "root", system)
    keys = keys_in(folder)
    describe_cpu(folder)
    (folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
    with socket.create_server(("127.0.0.1", 0 if before is None else before.port)) as listening:
        port = listening.getsockname()[1]
        process = start(
            [sys.executable, "-m", "tinsmith.devices.boards.proot_server", str(folder), str(system)],
            log=folder / "log", stdin=listening.fileno(),
        )  # fmt: skip
    with ended_by_errors(process):
        wait_for_ssh(process, folder, ("127.0.0.1", port), time_limit_s=_START_LIMIT_S)
    return Board(
        name=name,
        kind=PROOT.name,
        folder=folder,
        address=f"ssh://root@127.0.0.1:{port}?key={keys.user}",
        host_key=keys.fingerprint,
        process=process,
        port=port,
    )


def _furnish(root: Path, system: Path) -> None:
    """Make the disk of a board: what others don't share."""
    if root.exists():
        return
    staged = root.with_name(".root")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    for there in system.iterdir():
        if there.name in SHARED:
            (staged / there.name).mkdir()
        else:
            shutil.copytree(there, staged / there.name, symlinks=True)
    staged.rename(root)


PROOT = Kind(
    name="proot",
    programs=(*PROGRAMS, "proot", "qemu-aarch64-static"),
    needs_root=False,
    prepare=partial(made, BOARD),
    is_prepared=partial(is_made, BOARD),
    start=_start,
)
