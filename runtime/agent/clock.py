"""What time it is on a device, whose wall clock may be wrong and may jump."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Moment", "read_clock"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A point in time.

    Attributes:
        wall_s: Since 1970, as the device believes; boards without a clock of their own start in the past.
        uptime_s: Since the boot, suspended or not; never jumps.
        boot_id: Another one after each boot; empty where the system does not say.
    """

    wall_s: float
    uptime_s: float
    boot_id: str


def read_clock() -> Moment:
    """Read the clocks of this machine."""
    try:
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot_id = ""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    uptime_s = time.monotonic() if boottime is None else time.clock_gettime(boottime)
    return Moment(wall_s=time.time(), uptime_s=uptime_s, boot_id=boot_id)
