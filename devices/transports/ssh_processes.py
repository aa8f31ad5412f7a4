"""Programs over an SSH connection."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

import asyncssh

from tinsmith.devices.transports.protocol import Ran

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["drop", "end", "feed", "start"]


async def start(connection: asyncssh.SSHClientConnection, arguments: Sequence[str]) -> asyncssh.SSHClientProcess[bytes]:
    """Start a program; a server hands the line to the user's shell, which must take quotes as POSIX says."""
    # without a terminal: one would turn line ends, and end the input at a byte 4
    return await connection.create_process(shlex.join(arguments), encoding=None, request_pty=False)


async def feed(process: asyncssh.SSHClientProcess[bytes], piece: bytes) -> None:
    """Write to its standard input, and wait until there is room for more.

    Raises:
        BrokenPipeError: It reads no more.
    """
    process.stdin.write(piece)
    await process.stdin.drain()


async def end(process: asyncssh.SSHClientProcess[bytes], stdin: bytes = b"") -> Ran:
    """Write the rest of its standard input, and wait for its end.

    Raises:
        asyncssh.ConnectionLost: The device was lost before it told of the end.
    """
    # communicate() itself would not tell of the end of an input that is empty
    with contextlib.suppress(BrokenPipeError):
        if stdin:
            process.stdin.write(stdin)
        process.stdin.write_eof()
    stdout, stderr = await process.communicate()
    code = process.returncode
    if code is None:
        raise asyncssh.ConnectionLost("the device did not tell how the program ended")
    return Ran(code=code if code >= 0 else 128 - code, stdout=stdout or b"", stderr=stderr or b"")


async def drop(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Kill it as far as the server lets us, if it still runs; most servers end it when its channel closes."""
    if process.returncode is None:
        with contextlib.suppress(asyncssh.Error, OSError):
            process.kill()
    process.close()
