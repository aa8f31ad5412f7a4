"""Whoever measures an artifact in one process; on a device, that is asked over its transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tinsmith.devices.benchmarking.sending import bring
from tinsmith.devices.flashing.agents import program_of
from tinsmith.devices.reaching import open_device
from tinsmith.devices.transports.addresses import LocalAddress, parse_address
from tinsmith.runtime.measuring.answering import Answered
from tinsmith.runtime.measuring.counting import Counted
from tinsmith.runtime.measuring.measure import Measured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path, PurePosixPath

    from tinsmith.devices.benchmarking.subject import Subject
    from tinsmith.devices.device import Device
    from tinsmith.devices.transports.protocol import Transport
    from tinsmith.runtime.measuring.requests import Answer, Count, Measure

    SentBytes = Callable[[int, int], None]

__all__ = ["Counter", "DeviceMeasurer", "Measurer", "engine_there"]

_START_S = 60.0
_MODULE = "tinsmith.runtime.measuring"


class Measurer(Protocol):
    """Measures artifacts on one device."""

    def prepare(self, subject: Subject, sent: SentBytes) -> str:
        """Bring an artifact there, where it is not there yet.

        Args:
            subject: Which.
            sent: Told how many bytes of how many are there.

        Returns:
            Its path there, for the request.

        Raises:
            DeviceError: The device can't be reached, was lost, is full, or is not set up.
        """
        ...

    def measure(self, request: Measure) -> Measured:
        """Measure it in one process.

        Raises:
            DeviceError: The device can't be reached, or was lost.
            ModelError: The model can't be loaded there, or runs past its time limit.
            HostError: The engine or the accelerator is not there.
            VerificationError: The file there is another.
        """
        ...

    def close(self) -> None:
        """Let go of the device; safe to call twice."""
        ...


class Counter(Protocol):
    """Counts instructions of artifacts on one device."""

    def prepare(self, subject: Subject, sent: SentBytes) -> str:
        """See ``Measurer``."""
        ...

    def count(self, request: Count) -> Counted:
        """Count in one process.

        Raises:
            HostError: The device counts no instructions, or the engine is not there.
            TinsmithError: As ``Measurer.measure``.
        """
        ...

    def close(self) -> None:
        """See ``Measurer``."""
        ...


class DeviceMeasurer:
    """Measures on a device of the inventory, or on this machine.

    Args:
        device: Which; reached for on first use.
        transport: How it is reached; its own unless given.
    """

    def __init__(self, device: Device, transport: Transport | None = None) -> None:
        self._transport = transport or open_device(device)
        self._asked = program_of(device, self._transport, module=_MODULE)
        self._here = isinstance(parse_address(device.address), LocalAddress)

    def prepare(self, subject: Subject, sent: SentBytes) -> str:
        """See ``Measurer``; on this machine the file is measured where it lies."""
        if self._here:
            return str(subject.path.absolute())
        return self.bring(subject, sent)

    def bring(self, subject: Subject, sent: SentBytes) -> str:
        """Bring an artifact into the folder of the device, on this machine as well; raises as ``prepare``."""
        return bring(subject, self._asked, self._transport, sent)

    def measure(self, request: Measure) -> Measured:
        """See ``Measurer``."""
        amount = request.amount
        limit_s = _START_S + 3 * request.time_limit_s + amount.warm_s + max(amount.least_s, amount.most_s)
        return self._asked.ask(request, Measured, time_limit_s=limit_s)

    def count(self, request: Count) -> Counted:
        """See ``Counter``."""
        return self._asked.ask(request, Counted, time_limit_s=_START_S + 2 * request.opening.time_limit_s)

    def answer(self, request: Answer, *, time_limit_s: float) -> Answered:
        """Let an artifact answer samples that are there; raises as ``measure``."""
        return self._asked.ask(request, Answered, time_limit_s=time_limit_s)

    def put(self, source: Path, path: PurePosixPath, *, time_limit_s: float) -> None:
        """A file to the device; raises as ``Putting.put``.

        Args:
            source: Here.
            path: There, seen from BASE.
            time_limit_s: Without any progress.
        """
        self._transport.put(source, self._asked.base / path, time_limit_s=time_limit_s)

    def get(self, path: PurePosixPath, destination: Path, *, time_limit_s: float) -> None:
        """A file from the device; as ``put``, the other way."""
        self._transport.get(self._asked.base / path, destination, time_limit_s=time_limit_s)

    def remove(self, *paths: PurePosixPath, time_limit_s: float) -> None:
        """Remove files that are there, seen from BASE; raises ``DeviceError``."""
        self._transport.run(["rm", "-f", *(str(self._asked.base / path) for path in paths)], time_limit_s=time_limit_s)

    def close(self) -> None:
        """See ``Measurer``."""
        self._transport.close()


def engine_there(device: Device, artifact_format: str) -> str:
    """The profile's preferred engine for a format; empty where it names none, and the format's default counts."""
    from tinsmith.runtime.engines import ENGINES

    able = {choice.name for choice in ENGINES if artifact_format in choice.formats}
    return next((engine.name for engine in device.profile.engines if engine.name in able), "")
