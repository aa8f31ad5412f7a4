"""The SSH server of a board without root, as a process of its own: ``python -m tinsmith.devices.boards.proot_server``.

Its standard input is the socket that it listens on, its arguments the board's folder and that of its system. It serves
until it is killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import sys
from pathlib import Path

import asyncssh

from tinsmith.devices.boards.keys import keys_in
from tinsmith.devices.boards.programs import program
from tinsmith.devices.boards.proot_files import BoardFiles
from tinsmith.devices.boards.proot_programs import Shell
from tinsmith.devices.boards.trees import Tree

__all__ = ["main"]

# prctl(2)
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Serve for ever."""
    # what is left running by a program that ends becomes a child of this one, and is found with it
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    asyncio.run(_serve(*map(Path, sys.argv[1:])))


async def _serve(folder: Path, system: Path) -> None:
    keys = keys_in(folder)
    tree = Tree(own=folder / "root", system=system)
    shell = Shell(
        tree=tree,
        shown={
            folder / "boot_id": "/proc/sys/kernel/random/boot_id",
            folder / "cpuinfo": "/proc/cpuinfo",
            folder / "sys": "/sys",
        },
        proot=program("proot"),
        emulator=program("qemu-aarch64-static"),
    )
    server = await asyncssh.listen(
        sock=socket.socket(fileno=0), server_host_keys=[str(keys.host)], authorized_client_keys=str(keys.authorized),
        process_factory=shell.serve, sftp_factory=lambda channel: BoardFiles(channel, tree),
        allow_scp=True, encoding=None,
    )  # fmt: skip
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    main()
