"""Boards without root: an SSH server of ours on a port of this machine, and a folder that proot shows as ``/``.

Programs see the processes and the memory of this machine. Where links lead outside, neither SFTP nor programs follow.
"""

from __future__ import annotations

import shutil
import socket
import sys
import uuid
from functools import partial
from typing import TYPE_CHECKING

from tinsmith.devices.boards.board import Board, Kind
from tinsmith.devices.boards.cpuinfo import cpuinfo
from tinsmith.devices.boards.keys import keys_in
from tinsmith.devices.boards.processes import start
from tinsmith.devices.boards.programs import program, run
from tinsmith.devices.boards.systems import BOARD, PROGRAMS, is_made, made

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PROOT"]

_CORES = 4
_COPY_LIMIT_S = 120.0


def _start(name: str, folder: Path, before: Board | None) -> Board:
    program("proot")
    program("qemu-aarch64-static")
    _copy_system(folder / "root")
    keys = keys_in(folder)
    (folder / "cpuinfo").write_text(cpuinfo(_CORES))
    (folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
    with socket.create_server(("127.0.0.1", 0 if before is None else before.port)) as listening:
        port = listening.getsockname()[1]
        process = start(
            [sys.executable, "-m", "tinsmith.devices.boards.proot_server", str(folder)],
            log=folder / "log", stdin=listening.fileno(),
        )  # fmt: skip
    return Board(
        name=name,
        kind=PROOT.name,
        folder=folder,
        address=f"ssh://root@127.0.0.1:{port}?key={keys.user}",
        host_key=keys.fingerprint,
        process=process,
        port=port,
    )


def _copy_system(root: Path) -> None:
    """Every board has a disk of its own; on file systems that can, blocks are shared until they are written."""
    if root.exists():
        return
    staged = root.with_name(".root")
    shutil.rmtree(staged, ignore_errors=True)
    run(["cp", "--archive", "--reflink=auto", str(made(BOARD)), str(staged)], doing="copying the system",
        time_limit_s=_COPY_LIMIT_S)  # fmt: skip
    staged.rename(root)


PROOT = Kind(
    name="proot",
    programs=(*PROGRAMS, "proot", "qemu-aarch64-static"),
    needs_root=False,
    prepare=partial(made, BOARD),
    is_prepared=partial(is_made, BOARD),
    start=_start,
)
