"""What a transport can do: put, get and run, each with a time limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path, PurePosixPath

__all__ = ["Getting", "Putting", "Ran", "Running", "Transport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A program that has ended on a device.

    Attributes:
        code: Its exit status; 128 and its number where a signal ended it.
        stdout: All that it printed.
        stderr: All that it said besides.
    """

    code: int
    stdout: bytes
    stderr: bytes


class Running(Protocol):
    """Runs programs on a device."""

    def run(self, arguments: Sequence[str], *, stdin: bytes = b"", time_limit_s: float) -> Ran:
        """Run a program to its end; arguments reach it as they are, whatever shell lies between.

        Args:
            arguments: The program and its arguments, at least one; text without NUL.
            stdin: What it reads on its standard input.
            time_limit_s: From the call to its end. What runs longer is killed, as far as the device lets us.

        Raises:
            DeviceError: The device can't be reached, was lost, or did not end in time.
        """
        ...


class Putting(Protocol):
    """Brings files to a device."""

    def put(
        self,
        source: Path,
        destination: PurePosixPath,
        *,
        offset: int = 0,
        time_limit_s: float,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Write the bytes of a file from ``offset`` on behind what the destination holds.

        Nothing is promised of a transfer that fails: part of it may be there, and it is for the caller to ask how much,
        to go on from there, and to check a hash at the end.

        Args:
            source: A file here.
            destination: A file there, whose folder exists; with an offset, it holds at least so many bytes.
            offset: Where to go on; what the destination holds beyond it is overwritten or cut off.
            time_limit_s: Without any progress.
            sent: Told how many bytes have gone since it was told last.

        Raises:
            DeviceError: The device can't be reached, was lost, has no room, or did not take a byte in time.
        """
        ...


class Getting(Protocol):
    """Fetches files from a device."""

    def get(self, source: PurePosixPath, destination: Path, *, time_limit_s: float) -> None:
        """Copy a whole file; the destination is whole or not there.

        Raises:
            DeviceError: As ``put``, or there is no such file.
            OutputError: It can't be written here.
        """
        ...


class Transport(Running, Putting, Getting, Protocol):
    """All three, for one device; used by one thread at a time.

    Attributes:
        address: As the inventory writes it, such as ``ssh://pi@10.0.0.7``; for messages.
    """

    address: str

    def close(self) -> None:
        """Let go of the device; safe to call twice."""
        ...
