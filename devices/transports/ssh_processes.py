"""Programs over an SSH connection."""

from __future__ import annotations

import contextlib
import re
import shlex
from typing import TYPE_CHECKING

import asyncssh

from tinsmith.devices.transports.protocol import Ran

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["drop", "end", "feed", "kill", "start"]

# its number is the one that the program gets by exec
_TELL_NUMBER = 'echo "tinsmith $$" >&2; exec "$@"'
_NUMBER = re.compile(rb"\Atinsmith (\d+)\n")


async def start(connection: asyncssh.SSHClientConnection, arguments: Sequence[str]) -> asyncssh.SSHClientProcess[bytes]:
    """Start a program; a server hands the line to the user's shell, which must take quotes as POSIX says."""
    # without a terminal: one would turn line ends, and end the input at a byte 4
    line = shlex.join(["sh", "-c", _TELL_NUMBER, "sh", *arguments])
    return await connection.create_process(line, encoding=None, request_pty=False)


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
    return Ran(code=code if code >= 0 else 128 - code, stdout=stdout or b"", stderr=_NUMBER.sub(b"", stderr or b""))


async def kill(connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Kill it and what it has started, by its number.

    OpenSSH lets nobody signal a program of root, and leaves one that has no terminal running when its channel closes.
    """
    _, stderr = process.collect_output()
    told = _NUMBER.match(stderr or b"")
    if told is not None:
        number = int(told[1])
        # as a group where it leads one, which it does unless the user's shell stays beside it
        await connection.run(f"kill -9 -{number} || kill -9 {number}", encoding=None, request_pty=False)


async def drop(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Kill it as far as the server lets us, if it still runs; most servers end it when its channel closes."""
    if process.returncode is None:
        with contextlib.suppress(asyncssh.Error, OSError):
            process.kill()
    process.close()
