"""The SSH server of a board without root, as a process of its own: ``python -m tinsmith.devices.boards.proot_server``.

Its standard input is the socket that it listens on; its one argument is the board's folder. It ends on SIGTERM, and
with it everything that runs on the board.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

import asyncssh

from tinsmith.devices.boards.keys import keys_in
from tinsmith.devices.boards.processes import Process
from tinsmith.devices.boards.programs import program
from tinsmith.devices.boards.proot_files import BoardFiles
from tinsmith.devices.boards.proot_programs import Shell

__all__ = ["main"]

# prctl(2)
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Serve until told to end."""
    # what is left running by a program that ends becomes a child of this one, and ends with it
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        asyncio.run(_serve(Path(sys.argv[1])))
    finally:
        _end_all()


async def _serve(folder: Path) -> None:
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    keys = keys_in(folder)
    root = folder / "root"
    shell = Shell(
        root=root,
        cpuinfo=folder / "cpuinfo",
        boot_id=folder / "boot_id",
        proot=program("proot"),
        emulator=program("qemu-aarch64-static"),
    )
    server = await asyncssh.listen(
        sock=socket.socket(fileno=0), server_host_keys=[str(keys.host)], authorized_client_keys=str(keys.authorized),
        process_factory=shell.serve, sftp_factory=lambda channel: BoardFiles(channel, root),
        allow_scp=True, encoding=None,
    )  # fmt: skip
    async with server:
        await end.wait()


def _end_all() -> None:
    """Kill the children, and what they leave behind, until there is none."""
    while children := Process.numbered(os.getpid()).children():
        for child in children:
            child.end()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


if __name__ == "__main__":
    main()
