"""Files over an SSH connection: by SFTP, and by ``cat`` where a device has no SFTP.

The files here are read and written in the caller's thread, so that a slow disk holds up no other device, and never
more than a few blocks of one are in memory.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Protocol

import asyncssh

from tinsmith.devices.transports import shell
from tinsmith.devices.transports.loop import LoopThread, wait
from tinsmith.devices.transports.sources import pieces
from tinsmith.devices.transports.ssh_connection import device_errors
from tinsmith.devices.transports.ssh_processes import drop, end, feed, start

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import PurePosixPath
    from typing import BinaryIO

    from tinsmith.devices.transports.steps import Step

__all__ = ["ExecFiles", "Files", "SftpFiles"]

# OpenSSH's server takes no larger block in one request than 256 KiB, others no more than 32 KiB
_BLOCK_BYTES = 1 << 15
_IN_FLIGHT = 16
_PIECE_BYTES = 1 << 18
_CLOSE_LIMIT_S = 1.0


class Files(Protocol):
    """One way to bring files to a device and back."""

    def put(
        self,
        stream: BinaryIO,
        destination: PurePosixPath,
        offset: int,
        time_limit_s: float,
        sent: Callable[[int], None],
    ) -> int:
        """Write the rest of a file behind the first ``offset`` bytes; the size that the device says it has then."""
        ...

    def get(self, source: PurePosixPath, time_limit_s: float) -> Generator[bytes]:
        """The pieces of a file."""
        ...


class SftpFiles:
    """Files by SFTP, with several blocks on the way at once."""

    def __init__(self, loop: LoopThread, client: asyncssh.SFTPClient, step: Callable[[str], Step]) -> None:
        self._loop = loop
        self._client = client
        self._step = step

    def put(
        self,
        stream: BinaryIO,
        destination: PurePosixPath,
        offset: int,
        time_limit_s: float,
        sent: Callable[[int], None],
    ) -> int:
        """See ``Files``."""
        step = self._step(f"putting {destination.name}")
        with device_errors(step, str(destination.parent), time_limit_s):
            file = self._loop.call(self._opened(destination, offset, step), time_limit_s)
            try:
                self._send(file, stream, offset, time_limit_s, sent)
                held_bytes = self._loop.call(_size(file), time_limit_s)
                self._loop.call(file.close(), time_limit_s)
            except asyncssh.SFTPFailure as error:
                # what OpenSSH's server says of a full disk, and of much else
                if self._loop.call(_free_bytes(self._client, destination.parent), time_limit_s) < _BLOCK_BYTES:
                    raise step.full(str(destination.parent)) from error
                raise
            finally:
                with contextlib.suppress(TimeoutError):
                    self._loop.call(_closed(file), _CLOSE_LIMIT_S)
            return held_bytes

    def get(self, source: PurePosixPath, time_limit_s: float) -> Generator[bytes]:
        """See ``Files``."""
        with device_errors(self._step(f"getting {source.name}"), str(source), time_limit_s):
            file = self._loop.call(_open(self._client, source, "rb"), time_limit_s)
            try:
                while piece := self._loop.call(_read(file), time_limit_s):
                    yield piece
            finally:
                self._loop.submit(_closed(file))

    async def _opened(self, path: PurePosixPath, offset: int, step: Step) -> asyncssh.SFTPClientFile:
        file = await _open(self._client, path, "r+b" if offset else "wb")
        if offset:
            held_bytes = await _size(file)
            if held_bytes < offset:
                await _closed(file)
                hint = "ask again how much it holds, and go on from there"
                raise step.failed(f"it holds {held_bytes:,} bytes, not the {offset:,} to go on from", hint=hint)
            await file.truncate(offset)
        return file

    def _send(
        self,
        file: asyncssh.SFTPClientFile,
        stream: BinaryIO,
        offset: int,
        time_limit_s: float,
        sent: Callable[[int], None],
    ) -> None:
        """Keep some blocks on the way; when one fails, cut off what may have come after it with a hole before."""
        on_the_way: deque[tuple[int, concurrent.futures.Future[int]]] = deque()
        whole = offset

        def arrived() -> None:
            nonlocal whole
            count, future = on_the_way[0]
            wait(future, time_limit_s)
            on_the_way.popleft()
            whole += count
            sent(count)

        try:
            for block in pieces(stream, _BLOCK_BYTES):
                on_the_way.append((len(block), self._loop.submit(file.write(block, offset))))
                offset += len(block)
                if len(on_the_way) == _IN_FLIGHT:
                    arrived()
            while on_the_way:
                arrived()
        except asyncssh.Error:
            # all are answered first, for one that came later may have been written
            concurrent.futures.wait([future for _, future in on_the_way], time_limit_s)
            with contextlib.suppress(TimeoutError):
                self._loop.call(_cut(file, whole), time_limit_s)
            raise
        finally:
            for _, future in on_the_way:
                future.cancel()


class ExecFiles:
    """Files by ``cat`` in a shell, where a device has no SFTP."""

    def __init__(self, loop: LoopThread, connection: asyncssh.SSHClientConnection, step: Callable[[str], Step]) -> None:
        self._loop = loop
        self._connection = connection
        self._step = step

    def put(
        self,
        stream: BinaryIO,
        destination: PurePosixPath,
        offset: int,
        time_limit_s: float,
        sent: Callable[[int], None],
    ) -> int:
        """See ``Files``; what is told as sent may still be on its way, as much as fits into the window of SSH."""
        step, folder = self._step(f"putting {destination.name}"), str(destination.parent)
        with device_errors(step, folder, time_limit_s):
            process = self._loop.call(start(self._connection, shell.appending(destination, offset)), time_limit_s)
            try:
                with contextlib.suppress(BrokenPipeError):
                    for piece in pieces(stream, _BLOCK_BYTES):
                        self._loop.call(feed(process, piece), time_limit_s)
                        sent(len(piece))
                ran = self._loop.call(end(process), time_limit_s)
            finally:
                self._loop.submit(drop(process))
        return shell.held_bytes(ran, step, folder)

    def get(self, source: PurePosixPath, time_limit_s: float) -> Generator[bytes]:
        """See ``Files``."""
        step = self._step(f"getting {source.name}")
        with device_errors(step, str(source), time_limit_s):
            process = self._loop.call(start(self._connection, shell.reading(source)), time_limit_s)
            try:
                while piece := self._loop.call(process.stdout.read(_PIECE_BYTES), time_limit_s):
                    yield piece
                ran = self._loop.call(end(process), time_limit_s)
            finally:
                self._loop.submit(drop(process))
        if ran.code:
            raise shell.failure(ran, step, str(source))


async def _open(client: asyncssh.SFTPClient, path: PurePosixPath, mode: str) -> asyncssh.SFTPClientFile:
    return await client.open(str(path), mode)


async def _read(file: asyncssh.SFTPClientFile) -> bytes:
    piece = await file.read(_PIECE_BYTES)
    # a file that was opened with "b" gives no text
    return piece if isinstance(piece, bytes) else piece.encode()


async def _size(file: asyncssh.SFTPClientFile) -> int:
    return (await file.stat()).size or 0


async def _cut(file: asyncssh.SFTPClientFile, size_bytes: int) -> None:
    """Cut it off; never make it longer, as truncating does where a server has written less than it said."""
    with contextlib.suppress(asyncssh.Error, OSError):
        await file.truncate(min(size_bytes, await _size(file)))


async def _closed(file: asyncssh.SFTPClientFile) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        await file.close()


async def _free_bytes(client: asyncssh.SFTPClient, folder: PurePosixPath) -> int:
    """What a user may still write; a large number where the server can't tell."""
    try:
        disk = await client.statvfs(str(folder))
    except asyncssh.SFTPError:
        return _BLOCK_BYTES
    return disk.bavail * disk.frsize
