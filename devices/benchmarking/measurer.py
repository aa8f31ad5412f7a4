"""Whoever measures an artifact in one process; on a device, that is asked over its transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tinsmith.devices.benchmarking.sending import bring
from tinsmith.devices.flashing.agents import program_of
from tinsmith.devices.reaching import open_device
from tinsmith.devices.transports.addresses import LocalAddress, parse_address
from tinsmith.runtime.measuring.measure import Measured

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.devices.benchmarking.subject import Subject
    from tinsmith.devices.device import Device
    from tinsmith.runtime.measuring.requests import Measure

    SentBytes = Callable[[int, int], None]

__all__ = ["DeviceMeasurer", "Measurer"]

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


class DeviceMeasurer:
    """Measures on a device of the inventory, or on this machine.

    Args:
        device: Which; reached for on first use.
    """

    def __init__(self, device: Device) -> None:
        self._transport = open_device(device)
        self._asked = program_of(device, self._transport, module=_MODULE)
        self._here = isinstance(parse_address(device.address), LocalAddress)

    def prepare(self, subject: Subject, sent: SentBytes) -> str:
        """See ``Measurer``; on this machine the file is measured where it lies."""
        if self._here:
            return str(subject.path.absolute())
        return bring(subject, self._asked, self._transport, sent)

    def measure(self, request: Measure) -> Measured:
        """See ``Measurer``."""
        amount = request.amount
        limit_s = _START_S + 3 * request.time_limit_s + amount.warm_s + max(amount.least_s, amount.most_s)
        return self._asked.ask(request, Measured, time_limit_s=limit_s)

    def close(self) -> None:
        """See ``Measurer``."""
        self._transport.close()
