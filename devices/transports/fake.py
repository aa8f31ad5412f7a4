"""A device in memory, for tests: files with a disk that fills up, and a few programs.

It passes the same contract as the real transports. It runs nothing of this machine: a program that it does not know is
not there, and a test gives it more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tinsmith.devices.transports.protocol import Ran
from tinsmith.devices.transports.sources import opened, pieces
from tinsmith.devices.transports.steps import Step
from tinsmith.runtime.errors import DeviceError, DeviceTimeoutError
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FakeTransport", "Program"]

Program = Callable[[Sequence[str], bytes], Ran]
"""What a program does: its arguments without its name, and its standard input -> how it ended."""

_PIECE_BYTES = 1 << 12
_ENDS = re.compile(r"(exit|kill -)\s*(\d+)( \$\$)?\Z")


class FakeTransport:
    r"""A device in memory.

    Args:
        address: For messages.
        disk_bytes: How much its files may hold together.
        programs: What it can run besides ``cat``, ``printf '%s\0'``, ``sleep``, and ``sh -c`` with ``exit N`` or
            ``kill -N $$``.

    Attributes:
        files: What it holds.
        folders: Where files may be put.
    """

    def __init__(
        self,
        *,
        address: str = "fake:board",
        disk_bytes: int = 1 << 30,
        programs: Mapping[str, Program] | None = None,
    ) -> None:
        self.address = address
        self.files: dict[PurePosixPath, bytes] = {}
        self.folders = {PurePosixPath("/"), PurePosixPath("/data")}
        self._disk_bytes = disk_bytes
        known: dict[str, Program] = {"cat": self._cat, "printf": _printf, "sh": _sh}
        self._programs = known | dict(programs or {})

    def run(self, arguments: Sequence[str], *, stdin: bytes = b"", time_limit_s: float) -> Ran:
        """See ``Running``; 127 where there is no such program."""
        if any("\0" in argument for argument in arguments):
            raise ValueError("an argument holds NUL")
        name, *rest = arguments
        if name == "sleep":
            return self._sleep(float(rest[0]), time_limit_s)
        if name not in self._programs:
            return Ran(code=127, stdout=b"", stderr=f"{name}: not found\n".encode())
        return self._programs[name](rest, stdin)

    def put(
        self,
        source: Path,
        destination: PurePosixPath,
        *,
        offset: int = 0,
        time_limit_s: float,  # noqa: ARG002 - memory always makes progress
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """See ``Putting``."""
        step = self._step(f"putting {destination.name}")
        held = self.files.get(destination, b"")
        if destination.parent not in self.folders:
            raise self._missing(step, destination.parent)
        if len(held) < offset:
            hint = "ask again how much it holds, and go on from there"
            raise step.failed(f"it holds {len(held):,} bytes, not the {offset:,} to go on from", hint=hint)
        self.files[destination] = held[:offset]
        with opened(source, offset) as (stream, _):
            for piece in pieces(stream, _PIECE_BYTES):
                self._write(destination, piece, step)
                if sent:
                    sent(len(piece))

    def get(self, source: PurePosixPath, destination: Path, *, time_limit_s: float) -> None:  # noqa: ARG002 - as put
        """See ``Getting``."""
        if source not in self.files:
            raise self._missing(self._step(f"getting {source.name}"), source)
        write_bytes(destination, self.files[source])

    def close(self) -> None:
        """Nothing is held."""

    def _write(self, destination: PurePosixPath, piece: bytes, step: Step) -> None:
        room_bytes = self._disk_bytes - sum(map(len, self.files.values()))
        self.files[destination] += piece[:room_bytes]
        if room_bytes < len(piece):
            raise step.full(str(destination.parent))

    def _cat(self, arguments: Sequence[str], stdin: bytes) -> Ran:
        for name in arguments:
            if PurePosixPath(name) not in self.files:
                return Ran(code=1, stdout=b"", stderr=f"cat: {name}: No such file or directory\n".encode())
        held = b"".join(self.files[PurePosixPath(name)] for name in arguments)
        return Ran(code=0, stdout=held if arguments else stdin, stderr=b"")

    def _sleep(self, seconds: float, time_limit_s: float) -> Ran:
        """No time passes: what would outlast its limit has done so at once."""
        if seconds > time_limit_s:
            said = f"it did not end within {time_limit_s:g} s"
            raise self._step("running sleep").failed(said, hint="give it longer", kind=DeviceTimeoutError)
        return Ran(code=0, stdout=b"", stderr=b"")

    def _missing(self, step: Step, path: PurePosixPath) -> DeviceError:
        return step.failed("No such file or directory", hint=f"`ls -ld {path}` on the device shows what is there")

    def _step(self, doing: str) -> Step:
        return Step(address=self.address, doing=doing)


def _printf(arguments: Sequence[str], _: bytes) -> Ran:
    return Ran(code=0, stdout="".join(f"{a}\0" for a in arguments[1:]).encode(), stderr=b"")


def _sh(arguments: Sequence[str], _: bytes) -> Ran:
    found = _ENDS.match(arguments[1])
    if found is None:
        raise NotImplementedError(f"the fake's shell can't do {arguments[1]!r}")
    number = int(found[2])
    return Ran(code=number + (128 if found[1] == "kill -" else 0), stdout=b"", stderr=b"")
