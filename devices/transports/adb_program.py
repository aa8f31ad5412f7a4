"""The adb program: started with a time limit, and what it says about a device that is not ready as typed errors."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

from tinsmith.devices.transports.protocol import Ran
from tinsmith.runtime.errors import AccessDeniedError, DeviceTimeoutError, HostError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.devices.transports.addresses import AdbAddress
    from tinsmith.devices.transports.steps import Step
    from tinsmith.runtime.errors import DeviceError

__all__ = ["AdbProgram"]

_SHORT_S = 10.0
# what adb says, the error that it means, the reason and the next command
_STATES: tuple[tuple[str, type[DeviceError], str, str], ...] = (
    ("unauthorized", AccessDeniedError, "it has not allowed this computer to debug it",
     "unlock it, say yes to the question on its screen, and try again"),
    ("authorizing", AccessDeniedError, "it has not answered yet whether this computer may debug it",
     "unlock it, say yes to the question on its screen, and try again"),
    ("no permissions", AccessDeniedError, "this user may not use it over USB",
     "add a udev rule for it, or your user to the group plugdev; `adb devices -l` shows what is missing"),
    ("more than one", UnreachableError, "more than one device is connected",
     "name one of them: adb:SERIAL; `adb devices` lists them"),
    ("offline", UnreachableError, "it is offline",
     "plug it in again, or run: adb reconnect offline"),
    ("not found", UnreachableError, "it is not connected",
     "`adb devices` lists what is; turn on USB debugging in its developer options"),
    ("no devices", UnreachableError, "no device is connected",
     "`adb devices` lists what is; turn on USB debugging in its developer options"),
)  # fmt: skip


class AdbProgram:
    """The adb program, for one device.

    Args:
        address: Which.
        program: A name on the path, or a path.
    """

    def __init__(self, address: AdbAddress, program: str) -> None:
        self._address = address
        self._program = program

    def check_ready(self, step: Step) -> None:
        """See that the device is there and lets us in; one with a network address is connected to, or again.

        Raises:
            HostError: There is no adb program here.
            DeviceError: It is not ready, and why.
        """
        self._start_server(step)
        said = self.ask(["get-state"], step, time_limit_s=_SHORT_S)
        if said.code and self._is_in_network() and (b"not found" in said.stderr or b"offline" in said.stderr):
            # adb keeps the connection of one that has restarted, and calls it offline for ever
            self._plain(["disconnect", str(self._address.serial)], step)
            self._plain(["connect", str(self._address.serial)], step)
            said = self.ask(["get-state"], step, time_limit_s=_SHORT_S)
        state = (said.stderr if said.code else said.stdout).decode(errors="replace").strip()
        if state != "device":
            raise _not_ready(step, state)

    def ask(self, arguments: Sequence[str], step: Step, *, stdin: bytes = b"", time_limit_s: float) -> Ran:
        """What adb does with the device and says.

        Raises:
            HostError: There is no adb program here.
            DeviceTimeoutError: It did not end in time, and was killed.
        """
        with self._started(arguments) as started:
            try:
                stdout, stderr = started.communicate(stdin, timeout=time_limit_s)
            except BaseException as error:
                _kill(started)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise _late(step, f"it did not end within {time_limit_s:g} s") from error
        return Ran(code=started.returncode, stdout=stdout, stderr=stderr)

    def pull(self, source: str, destination: Path, step: Step, *, time_limit_s: float) -> Ran:
        """Fetch a file; as long as it grows, it may take any time.

        Raises:
            HostError: There is no adb program here.
            DeviceTimeoutError: Nothing came for so long.
        """
        with self._started(["pull", source, str(destination)]) as started:
            try:
                stdout, stderr = _while_it_grows(started, destination, time_limit_s)
            except BaseException as error:
                _kill(started)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise _late(step, f"nothing came for {time_limit_s:g} s") from error
        return Ran(code=started.returncode, stdout=stdout, stderr=stderr)

    def _is_in_network(self) -> bool:
        return ":" in (self._address.serial or "")

    def _start_server(self, step: Step) -> None:
        """The server outlives us and keeps what it was given open, so it gets nothing of ours."""
        self._plain(["start-server"], step)

    def _plain(self, arguments: Sequence[str], step: Step) -> None:
        command = [self._found(), *arguments]
        quiet = subprocess.DEVNULL
        try:
            subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=_SHORT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise _late(step, f"`adb {' '.join(arguments)}` did not end within {_SHORT_S:g} s") from error

    def _started(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        serial = [] if self._address.serial is None else ["-s", self._address.serial]
        return subprocess.Popen(
            [self._found(), *serial, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def _found(self) -> str:
        found = shutil.which(self._program)
        if found is None:
            hint = "install Android's platform tools, on Debian with: apt install adb"
            raise HostError(f"{self._address}: there is no program {self._program} here", hint=hint)
        return found


def _while_it_grows(started: subprocess.Popen[bytes], file: Path, time_limit_s: float) -> tuple[bytes, bytes]:
    come_bytes = -1
    while file.stat().st_size > come_bytes:
        come_bytes = file.stat().st_size
        with contextlib.suppress(subprocess.TimeoutExpired):
            return started.communicate(timeout=time_limit_s)
    raise subprocess.TimeoutExpired(started.args, time_limit_s)


def _kill(started: subprocess.Popen[bytes]) -> None:
    os.killpg(started.pid, signal.SIGKILL)


def _late(step: Step, reason: str) -> DeviceError:
    hint = "`adb devices` lists what is connected; `adb kill-server` helps where adb itself hangs"
    return step.failed(reason, hint=hint, kind=DeviceTimeoutError)


def _not_ready(step: Step, state: str) -> DeviceError:
    for words, kind, reason, hint in _STATES:
        if words in state:
            return step.failed(reason, hint=hint, kind=kind)
    hint = "`adb devices` lists what is connected; start it normally with: adb reboot"
    return step.failed(f"it is not ready: {state or 'adb says nothing'}", hint=hint, kind=UnreachableError)
