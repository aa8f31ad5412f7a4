"""Faults on the way to a device, for tests: wrap any transport, and say what will go wrong.

::

    faulty = FaultyTransport(transport)
    faulty.faults.append(Cut(after_bytes=1000))    # the next file breaks off after 1000 bytes
    faulty.is_lost = True                          # it answers no more, until set back
"""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.devices.transports.steps import Step
from tinsmith.runtime.errors import DeviceError, DeviceTimeoutError, LinkLostError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import PurePosixPath

    from tinsmith.devices.transports.protocol import Ran, Transport

__all__ = ["Cut", "Fault", "FaultyTransport", "Full", "Stalled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The link is lost after so many bytes of a file."""

    after_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """The disk is full after so many bytes of a file."""

    after_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """Nothing more comes after so many bytes of a file, and the time limit passes; no test waits for it."""

    after_bytes: int


Fault = Cut | Full | Stalled


class FaultyTransport:
    """Another transport, with faults: each file that is put takes the next one.

    Attributes:
        faults: What goes wrong with the files to come, one each.
        is_lost: Whether the device answers nothing.
        put_bytes: How many bytes have been put in all, so that a test sees what was sent twice.
    """

    def __init__(self, inner: Transport) -> None:
        self.address = inner.address
        self.faults: deque[Fault] = deque()
        self.is_lost = False
        self.put_bytes = 0
        self._inner = inner

    def run(self, arguments: Sequence[str], *, stdin: bytes = b"", time_limit_s: float) -> Ran:
        """As the other."""
        self._check_there(f"running {arguments[0]}")
        return self._inner.run(arguments, stdin=stdin, time_limit_s=time_limit_s)

    def put(
        self,
        source: Path,
        destination: PurePosixPath,
        *,
        offset: int = 0,
        time_limit_s: float,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """As the other, up to the next fault."""
        self._check_there(f"putting {destination.name}")

        def counted(count: int) -> None:
            self.put_bytes += count
            if sent:
                sent(count)

        fault = self.faults.popleft() if self.faults else None
        if fault is None or source.stat().st_size - offset <= fault.after_bytes:
            self._inner.put(source, destination, offset=offset, time_limit_s=time_limit_s, sent=counted)
            return
        with tempfile.TemporaryDirectory() as folder:
            begun = Path(folder) / source.name
            begun.write_bytes(source.read_bytes()[: offset + fault.after_bytes])
            self._inner.put(begun, destination, offset=offset, time_limit_s=time_limit_s, sent=counted)
        raise self._error(fault, destination, time_limit_s)

    def get(self, source: PurePosixPath, destination: Path, *, time_limit_s: float) -> None:
        """As the other."""
        self._check_there(f"getting {source.name}")
        self._inner.get(source, destination, time_limit_s=time_limit_s)

    def close(self) -> None:
        """As the other."""
        self._inner.close()

    def _check_there(self, doing: str) -> None:
        if self.is_lost:
            step = Step(address=self.address, doing=doing)
            raise step.failed("it does not answer", hint="see whether it is on", kind=UnreachableError)

    def _error(self, fault: Fault, destination: PurePosixPath, time_limit_s: float) -> DeviceError:
        step = Step(address=self.address, doing=f"putting {destination.name}")
        again = "run the same command again: it goes on where it ended"
        if isinstance(fault, Full):
            return step.full(str(destination.parent))
        if isinstance(fault, Cut):
            return step.failed("the link was lost", hint=again, kind=LinkLostError)
        return step.failed(f"nothing came for {time_limit_s:g} s", hint=again, kind=DeviceTimeoutError)
