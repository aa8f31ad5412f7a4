"""Boards that are a whole machine: QEMU with a kernel and an ext4 disk of its own, for cuts of the power.

A cut is the end of QEMU: what the machine's kernel still held in its memory is lost, as when a plug is pulled. What it
had written is there, for this machine's own memory is not lost; a disk that lies about what it wrote is not modelled.
One whose clock counts instructions (QEMU's ``-icount``) counts those of a program as well, and always the same.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tinsmith.devices.boards.board import Board, Kind
from tinsmith.devices.boards.cpio import Member, archive
from tinsmith.devices.boards.cpuinfo import CPU
from tinsmith.devices.boards.kernel import ARCHIVE, KERNEL, is_kernel_made, kernel_made
from tinsmith.devices.boards.keys import keys_in
from tinsmith.devices.boards.listening import wait_for_ssh
from tinsmith.devices.boards.processes import ended_by_errors, start
from tinsmith.devices.boards.programs import program, run
from tinsmith.devices.boards.systems import MACHINE, PROGRAMS, is_made, locked, made

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.devices.boards.keys import Keys

__all__ = ["ICOUNT", "VM"]

_CORES = ("-smp", "2")
# Two virtual nanoseconds an instruction; only so does QEMU's performance monitor count what programs execute
# (target/arm/helper.c: the event INST_RETIRED is there under icount alone). `sleep=off`: nobody waits for idle time.
_ONE_COUNTED_CORE = ("-smp", "1", "-icount", "shift=1,sleep=off")
_RAM_MIB = 512
_DISK = "1G"
_BOOT_LIMIT_S = 120.0
_COPY_LIMIT_S = 120.0
_CONFIG = """\
HostKey /run/board/host_key
AuthorizedKeysFile /run/board/authorized_keys
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
Subsystem sftp internal-sftp
"""


def _start(name: str, folder: Path, before: Board | None, *, kind: str, cores: Sequence[str]) -> Board:
    kernel, disk = kernel_made(), folder / "disk.img"
    keys = keys_in(folder)
    if not disk.exists():
        run(["cp", "--sparse=always", "--reflink=auto", str(_disk_made()), str(disk)], doing="copying the disk",
            time_limit_s=_COPY_LIMIT_S)  # fmt: skip
    (folder / ARCHIVE).write_bytes((kernel / ARCHIVE).read_bytes() + _own(name, keys))
    port = _free_port() if before is None else before.port
    process = start(_command(folder, kernel / KERNEL, port, cores), log=folder / "log")
    board = Board(
        name=name,
        kind=kind,
        folder=folder,
        address=f"ssh://root@127.0.0.1:{port}?key={keys.user}",
        host_key=keys.fingerprint,
        process=process,
        port=port,
    )
    with ended_by_errors(process):
        wait_for_ssh(process, folder, ("127.0.0.1", port), time_limit_s=_BOOT_LIMIT_S)
    return board


def _command(folder: Path, kernel: Path, port: int, cores: Sequence[str]) -> list[str]:
    return [
        program("qemu-system-aarch64"), "-machine", "virt", "-cpu", CPU, *cores, "-m", str(_RAM_MIB),
        "-nodefaults", "-nographic", "-monitor", "none", "-no-reboot", "-serial", f"file:{_quoted(folder / 'serial')}",
        "-kernel", str(kernel), "-initrd", str(folder / ARCHIVE), "-append", "console=ttyAMA0 quiet panic=-1",
        "-drive", f"if=none,id=disk,format=raw,file={_quoted(folder / 'disk.img')}",
        "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci",
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device", "virtio-net-pci,netdev=net,romfile=",
    ]  # fmt: skip


def _quoted(path: Path) -> str:
    """As QEMU takes a path among options."""
    return str(path).replace(",", ",,")


def _own(name: str, keys: Keys) -> bytes:
    """What only this board gets, behind the archive that all start from."""
    contents = {
        "name": name.encode(),
        "sshd_config": _CONFIG.encode(),
        "host_key": keys.host.read_bytes(),
        "authorized_keys": keys.authorized.read_bytes(),
    }
    return archive(
        Member(path=PurePosixPath("board", file), content=content, mode=0o600) for file, content in contents.items()
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _disk() -> Path:
    return MACHINE.folder.with_suffix(".img")


def _disk_made() -> Path:
    """The disk that all begin with, which is made where it is not there."""
    system, disk = made(MACHINE), _disk()
    with locked(disk) as is_there:
        if not is_there:
            home = Path(tempfile.mkdtemp(prefix=f".{disk.name}.", dir=disk.parent))
            try:
                command = ["mke2fs", "-q", "-t", "ext4", "-L", "board", "-d", str(system), str(home / "disk"), _DISK]
                run(command, doing="making a disk", time_limit_s=_COPY_LIMIT_S)
                (home / "disk").rename(disk)
            finally:
                shutil.rmtree(home, ignore_errors=True)
    return disk


def _prepare() -> None:
    kernel_made()
    _disk_made()


def _is_prepared() -> bool:
    return is_kernel_made() and is_made(MACHINE) and _disk().exists()


VM = Kind(
    name="vm",
    programs=(*PROGRAMS, "mke2fs", "qemu-system-aarch64"),
    needs_root=False,
    prepare=_prepare,
    is_prepared=_is_prepared,
    start=partial(_start, kind="vm", cores=_CORES),
)
ICOUNT = replace(VM, name="icount", start=partial(_start, kind="icount", cores=_ONE_COUNTED_CORE))
