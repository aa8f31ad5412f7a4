"""How warm this machine is, and whether it slows itself down, as far as the kernel tells."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Heat", "read_heat"]

# a Raspberry Pi's firmware; bits 1 to 3 say what holds now: frequency capped, throttled, soft temperature limit
_FIRMWARE = "devices/platform/soc/soc:firmware/get_throttled"
_SLOWED_NOW = 0b1110
_LOW_VOLTAGE_NOW = 0b1


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """What the kernel tells.

    Attributes:
        celsius: By the number and the type of the thermal zone, such as ``("0", "cpu-thermal")``.
        throttled: Whether the processor is being slowed down; None where nothing tells.
        low_voltage: Whether the supply is too weak now; None where nothing tells.
        throttle_events: How often its cores have been slowed down since the machine was started; None likewise.
    """

    celsius: dict[tuple[str, str], float]
    throttled: bool | None
    low_voltage: bool | None
    throttle_events: int | None


def read_heat(sys: Path = Path("/sys")) -> Heat:
    """Read what is there; a file that is missing or holds something else says nothing.

    Sources: ``class/thermal`` of Linux, a Raspberry Pi's ``get_throttled``, and ``thermal_throttle`` of x86.
    """
    firmware = _number(sys / _FIRMWARE, base=16)
    cooling = list(_processor_cooling(sys))
    events = list(_throttle_counts(sys))
    throttled: bool | None = None
    if firmware is not None:
        throttled = bool(firmware & _SLOWED_NOW)
    elif cooling:
        throttled = any(state > 0 for state in cooling)
    return Heat(
        celsius=dict(_zones(sys)),
        throttled=throttled,
        low_voltage=None if firmware is None else bool(firmware & _LOW_VOLTAGE_NOW),
        throttle_events=sum(events) if events else None,
    )


def _zones(sys: Path) -> Iterator[tuple[tuple[str, str], float]]:
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        millidegrees = _number(zone / "temp")
        if millidegrees is not None:
            yield (zone.name.removeprefix("thermal_zone"), _text(zone / "type")), millidegrees / 1000


def _processor_cooling(sys: Path) -> Iterator[int]:
    """How far each cooling device that slows a processor is turned up; 0 for not at all."""
    for device in sorted((sys / "class/thermal").glob("cooling_device*")):
        state = _number(device / "cur_state")
        if state is not None and _text(device / "type").lower().startswith(("cpufreq", "processor", "thermal-cpufreq")):
            yield state


def _throttle_counts(sys: Path) -> Iterator[int]:
    for core in sorted((sys / "devices/system/cpu").glob("cpu[0-9]*")):
        count = _number(core / "thermal_throttle/core_throttle_count")
        if count is not None:
            yield count


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""


def _number(path: Path, *, base: int = 10) -> int | None:
    with contextlib.suppress(ValueError):
        return int(_text(path), base)
    return None
