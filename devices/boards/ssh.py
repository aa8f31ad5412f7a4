"""Boards with an address of their own: the real sshd of OpenSSH, which puts whoever logs in into an arm64 Debian."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tinsmith.devices.boards.binfmt import know_arm
from tinsmith.devices.boards.board import Board, Kind
from tinsmith.devices.boards.cpuinfo import CPU
from tinsmith.devices.boards.keys import keys_in
from tinsmith.devices.boards.listening import wait_for_ssh
from tinsmith.devices.boards.namespaces import PROGRAMS as NAMESPACES
from tinsmith.devices.boards.namespaces import cable_of, power_on
from tinsmith.devices.boards.processes import ended_by_errors
from tinsmith.devices.boards.programs import program
from tinsmith.devices.boards.systems import BOARD, PROGRAMS, is_made, made

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SSH"]

_PORT = 22
_START_LIMIT_S = 30.0
# sshd itself lies outside of the board's root, where nobody of the board comes
_CONFIG = f"""\
Port {_PORT}
HostKey /mnt/state/host_key
AuthorizedKeysFile /mnt/state/authorized_keys
ChrootDirectory /mnt/board
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
PidFile none
MaxStartups 100
SetEnv QEMU_CPU={CPU} PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
Subsystem sftp internal-sftp
"""


def _start(name: str, folder: Path, before: Board | None) -> Board:
    know_arm()
    keys = keys_in(folder)
    (folder / "sshd_config").write_text(_CONFIG)
    # it must be started by its path; -e: what it says goes into the board's log
    server = [program("sshd"), "-D", "-e", "-f", "/mnt/state/sshd_config"]
    process, cable = power_on(name, folder, made(BOARD), server, cable=cable_of(before.link) if before else None)
    with ended_by_errors(process):
        wait_for_ssh(process, folder, (cable.board, _PORT), time_limit_s=_START_LIMIT_S)
    return Board(
        name=name,
        kind=SSH.name,
        folder=folder,
        address=f"ssh://root@{cable.board}?key={keys.user}",
        host_key=keys.fingerprint,
        process=process,
        link=cable.link,
    )


SSH = Kind(
    name="ssh",
    programs=(*PROGRAMS, *NAMESPACES, "qemu-aarch64-static", "sshd"),
    needs_root=True,
    prepare=partial(made, BOARD),
    is_prepared=partial(is_made, BOARD),
    start=_start,
)
