"""Measuring one artifact after another on the same devices, for whoever decides by the figures what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.devices.benchmarking.benchmark import benchmark
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.devices.inventory import resolve_devices
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.devices.device import Device
    from tinsmith.runtime.measurement import Measurement

__all__ = ["Stopwatch", "measure_by_name"]


class Stopwatch:
    """Measures on devices that were looked up before.

    Args:
        names: Of the inventory, one device each; ``local`` is this machine.
        effort: ``rapid``, ``quick``, ``normal`` or ``full``.
        time_limit_s: For loading, and for any single run.

    Raises:
        UsageError: There is no such device, or a name means several.
    """

    def __init__(self, names: Sequence[str], *, effort: str = "rapid", time_limit_s: float = 60.0) -> None:
        self._devices = {name: _only(name) for name in names}
        self._effort, self._time_limit_s = EFFORTS[effort], time_limit_s

    def __call__(self, artifact: Path, device: str, threads: int) -> Measurement:
        """Measure one artifact on one of the devices.

        Raises:
            DeviceError: It can't be reached, or was lost.
            TinsmithError: The artifact can't be run there.
        """
        plan = Plan(effort=self._effort, threads=threads, time_limit_s=self._time_limit_s)
        report = benchmark([artifact], [self._devices[device]], plan)
        if report.worst:
            raise report.worst
        return report.measurements[0]

    @property
    def facts(self) -> tuple[dict[str, Any], ...]:
        """Of each device: its name, profile and usual threads, and whether it is emulated."""
        return tuple(_facts(name, device) for name, device in self._devices.items())


def measure_by_name(artifact: Path, device: str, threads: int, *, effort: str, time_limit_s: float) -> Measurement:
    """One measurement on a device that this machine's inventory knows; raises as ``Stopwatch``."""
    return Stopwatch([device], effort=effort, time_limit_s=time_limit_s)(artifact, device, threads)


def _only(name: str) -> Device:
    devices = resolve_devices([name])
    if len(devices) != 1:
        named = ", ".join(device.name for device in devices)
        raise UsageError(f"{name} means {len(devices)} devices: {named}", hint="give each of them a bound of its own")
    return devices[0]


def _facts(name: str, device: Device) -> dict[str, Any]:
    profile = device.profile
    return {"name": name, "profile": profile.name, "threads": profile.threads, "emulated": profile.emulated}
