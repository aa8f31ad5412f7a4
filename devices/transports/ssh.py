"""Devices over SSH: asyncssh behind the synchronous protocol."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import asyncssh

from tinsmith.devices.transports.loop import shared_loop
from tinsmith.devices.transports.sources import opened
from tinsmith.devices.transports.ssh_connection import Route, SshSettings, connect, device_errors
from tinsmith.devices.transports.ssh_files import ExecFiles, Files, SftpFiles
from tinsmith.devices.transports.ssh_processes import drop, end, kill, start
from tinsmith.devices.transports.steps import Step
from tinsmith.runtime.errors import DeviceTimeoutError, UnreachableError
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path, PurePosixPath

    from tinsmith.devices.transports.addresses import SshAddress
    from tinsmith.devices.transports.protocol import Ran

__all__ = ["SshTransport"]

# neither a goodbye nor a last shot is worth more
_CLOSE_LIMIT_S = 2.0


class SshTransport:
    """One device over SSH. Connects on first use, and again on the next use after the link was lost.

    Relative paths start in the user's home.
    """

    def __init__(self, address: SshAddress, settings: SshSettings | None = None) -> None:
        self.address = str(address)
        self._address = address
        self._settings = settings or SshSettings()
        self._loop = shared_loop()
        self._route: Route | None = None
        self._files: Files | None = None

    def run(self, arguments: Sequence[str], *, stdin: bytes = b"", time_limit_s: float) -> Ran:
        """See ``Running``; 127 where there is no such program, as the shell says."""
        if any("\0" in argument for argument in arguments):
            raise ValueError("an argument holds NUL")
        ends_s = time.monotonic() + time_limit_s
        step = self._step(f"running {arguments[0]}")
        route = self._connected(time_limit_s)
        with device_errors(step, ".", time_limit_s):
            process = self._loop.call(start(route.device, arguments), _left(ends_s))
            try:
                return self._loop.call(end(process, stdin), _left(ends_s))
            except TimeoutError as error:
                with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                    self._loop.call(kill(route.device, process), _CLOSE_LIMIT_S)
                hint = "give it longer, or see with `ps` on the device what it waits for"
                said = f"it did not end within {time_limit_s:g} s"
                raise step.failed(said, hint=hint, kind=DeviceTimeoutError) from error
            finally:
                self._loop.submit(drop(process))

    def put(
        self,
        source: Path,
        destination: PurePosixPath,
        *,
        offset: int = 0,
        time_limit_s: float,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """See ``Putting``."""
        with opened(source, offset) as (stream, size_bytes):
            files = self._way_of_files(time_limit_s)
            held_bytes = files.put(stream, destination, offset, time_limit_s, sent or _tell_nobody)
        if held_bytes != size_bytes:
            step = self._step(f"putting {destination.name}")
            hint = "run the same command again: it goes on where it ended"
            raise step.failed(f"{held_bytes:,} of {size_bytes:,} bytes have come", hint=hint)

    def get(self, source: PurePosixPath, destination: Path, *, time_limit_s: float) -> None:
        """See ``Getting``."""
        found = self._way_of_files(time_limit_s).get(source, time_limit_s)
        with contextlib.closing(found), staged_file(destination) as staged, staged.open("wb") as target:
            for piece in found:
                target.write(piece)

    def close(self) -> None:
        """Let go of the device; safe to call twice."""
        route, self._route, self._files = self._route, None, None
        if route is not None:
            with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                self._loop.call(route.close(), _CLOSE_LIMIT_S)

    def _connected(self, time_limit_s: float) -> Route:
        if self._route is not None and self._route.is_open:
            return self._route
        self.close()
        try:
            self._route = self._loop.call(connect(self._address, self._settings), time_limit_s)
        except TimeoutError as error:
            said = f"it did not answer within {time_limit_s:g} s"
            hint = f"see whether it is on and in the network: ping {self._address.at.host}"
            raise self._step("connecting").failed(said, hint=hint, kind=UnreachableError) from error
        return self._route

    def _way_of_files(self, time_limit_s: float) -> Files:
        """By SFTP where the device has it; what it has is found out once a connection."""
        route = self._connected(time_limit_s)
        if self._files is None:
            self._files = self._found_way(route, time_limit_s)
        return self._files

    def _found_way(self, route: Route, time_limit_s: float) -> Files:
        with device_errors(self._step("starting SFTP"), ".", time_limit_s):
            try:
                return SftpFiles(self._loop, self._loop.call(_sftp(route), time_limit_s), self._step)
            except (asyncssh.ChannelOpenError, asyncssh.SFTPError):
                # no such subsystem, or its program is missing or may not run
                if not route.is_open:
                    raise
                return ExecFiles(self._loop, route.device, self._step)

    def _step(self, doing: str) -> Step:
        return Step(address=self.address, doing=doing)


async def _sftp(route: Route) -> asyncssh.SFTPClient:
    return await route.device.start_sftp_client()


def _left(ends_s: float) -> float:
    return max(0.0, ends_s - time.monotonic())


def _tell_nobody(_: int) -> None:
    """Nobody asked for progress."""
