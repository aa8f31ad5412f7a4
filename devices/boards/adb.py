"""Boards behind a real adbd: that of Android as Debian builds it, in an arm64 root without Python.

It is no Android: there is no bionic, no NNAPI, no ``getprop``; adbd lets everybody in who reaches its address.
"""

from __future__ import annotations

import contextlib
import os
import socket
from functools import partial
from typing import TYPE_CHECKING

from tinsmith.devices.boards.binfmt import know_arm
from tinsmith.devices.boards.board import Board, Kind
from tinsmith.devices.boards.cpuinfo import CPU
from tinsmith.devices.boards.listening import wait_for_adb
from tinsmith.devices.boards.namespaces import PROGRAMS as NAMESPACES
from tinsmith.devices.boards.namespaces import cable_of, power_on
from tinsmith.devices.boards.processes import ended_by_errors
from tinsmith.devices.boards.programs import program, run
from tinsmith.devices.boards.systems import PHONE, PROGRAMS, is_made, made
from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ADB"]

_PORT = 5555
# of the adb program's own server
_ADB_PORT = 5037
_DISCONNECT_LIMIT_S = 10.0
_START_LIMIT_S = 30.0
_SERVER = "/usr/lib/android-sdk/platform-tools/adbd"
_ENVIRONMENT = (
    f"ADBD_PORT={_PORT}", f"QEMU_CPU={CPU}", "HOME=/root", "SHELL=/bin/sh", "LANG=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)  # fmt: skip


def _start(name: str, folder: Path, before: Board | None) -> Board:
    know_arm()
    server = [program("chroot"), "/mnt/board", "/usr/bin/env", "-i", *_ENVIRONMENT, _SERVER]
    process, cable = power_on(name, folder, made(PHONE), server, cable=cable_of(before.link) if before else None)
    with ended_by_errors(process):
        wait_for_adb(process, folder, (cable.board, _PORT), time_limit_s=_START_LIMIT_S)
    return Board(
        name=name,
        kind=ADB.name,
        folder=folder,
        address=f"adb:{cable.board}:{_PORT}",
        process=process,
        link=cable.link,
    )


def _forget(board: Board) -> None:
    """The server of the adb program, where one runs, would take the next board at that address for this one."""
    with contextlib.suppress(OSError, HostError):
        port = int(os.environ.get("ANDROID_ADB_SERVER_PORT", _ADB_PORT))
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        serial = board.address.removeprefix("adb:")
        run(["adb", "disconnect", serial], doing=f"disconnecting {serial}", time_limit_s=_DISCONNECT_LIMIT_S)


ADB = Kind(
    name="adb",
    programs=(*PROGRAMS, *NAMESPACES, "adb", "chroot", "qemu-aarch64-static"),
    needs_root=True,
    prepare=partial(made, PHONE),
    is_prepared=partial(is_made, PHONE),
    start=_start,
    profile="android-arm64",
    forget=_forget,
)
