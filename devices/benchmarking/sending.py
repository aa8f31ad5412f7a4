"""An artifact to a device, once by its hash; goes on where a transfer before was cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.devices.flashing.sending import prefix_of
from tinsmith.runtime.errors import DeviceError
from tinsmith.runtime.measuring.requests import Held
from tinsmith.runtime.measuring.shelf import Shelved

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.devices.asking import Agent
    from tinsmith.devices.benchmarking.subject import Subject
    from tinsmith.devices.transports.protocol import Putting

__all__ = ["bring"]

_NO_PROGRESS_S = 30.0


def bring(subject: Subject, agent: Agent, putting: Putting, sent: Callable[[int, int], None]) -> str:
    """Bring an artifact there, unless it is there.

    Returns:
        Its path there, seen from BASE.

    Raises:
        DeviceError: The device can't be reached, was lost, is full, or what arrives is not what was sent.
    """
    request = Held(sha256=subject.sha256, size_bytes=subject.size_bytes, format=subject.format)
    shelved = agent.ask(request, Shelved)
    if shelved.whole:
        return shelved.path
    gone = _usable_bytes(subject, shelved)

    def told(count: int) -> None:
        nonlocal gone
        gone += count
        sent(gone, subject.size_bytes)

    place = agent.base / shelved.path
    putting.put(subject.path, place, offset=gone, time_limit_s=_NO_PROGRESS_S, sent=told)
    shelved = agent.ask(request, Shelved)
    if not shelved.whole:
        raise DeviceError(
            f"{agent.device}: sending {subject.path.name}: what has come is not what was sent: sha256 differs",
            hint="run the same command again: it is sent anew; `dmesg` on the device may tell of a failing disk",
        )
    return shelved.path


def _usable_bytes(subject: Subject, shelved: Shelved) -> int:
    """What may be gone on from, where it is the beginning of this very file."""
    begun = shelved.part_bytes
    if 0 < begun < subject.size_bytes and prefix_of(subject.path, begun) == shelved.part_prefix:
        return begun
    return 0
