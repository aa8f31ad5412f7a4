"""The conditions that a measurement is taken in: governor, frequency, temperature, throttling, load.

Read from /proc and /sys; what can't be read is None, and ``unread`` says why.
"""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tinsmith.runtime.fields import Fields

__all__ = ["Conditions", "Machine", "read_conditions", "read_machine", "throttling"]

_T = TypeVar("_T")
_CPU = "sys/devices/system/cpu"
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled; the bits from 16 on are about the past
_THROTTLED = {0: "under-voltage", 1: "its frequency is capped", 2: "throttled", 3: "at its soft temperature limit"}
_VCGENCMD_LIMIT_S = 2.0
_KEPT_REASON = 300
_PROCESSORS = ("processor", "cpufreq", "cpu-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """At one moment.

    Attributes:
        governor: Of the first core, such as ``performance``.
        frequency_mhz: Of the fastest core now.
        limit_mhz: What the system lets the fastest core have now; it falls when the board gets too hot.
        temperature_c: Of the hottest zone.
        cooling: How many steps the processors are slowed down by for cooling, over all of them.
        throttled_bits: What a Raspberry Pi's firmware says of now and of the time since it started.
        load_1m: The load average of the last minute.
        unread: Why the others are None, by name.
    """

    governor: str | None = None
    frequency_mhz: float | None = None
    limit_mhz: float | None = None
    temperature_c: float | None = None
    cooling: int | None = None
    throttled_bits: int | None = None
    load_1m: float | None = None
    unread: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For answers and reports."""
        return asdict(self)

    @classmethod
    def read(cls, fields: Fields) -> Conditions:
        """Read back what ``to_json`` wrote; raises ``DataError``."""
        numbers = {
            name: None if fields.null(name) else fields.finite(name)
            for name in ("frequency_mhz", "limit_mhz", "temperature_c", "load_1m")
        }
        cooling, bits = (None if fields.null(name) else fields.count(name, least=0) for name in _COUNTS)
        governor = None if fields.null("governor") else fields.word("governor")
        unread = fields.table("unread").each(type(fields).word)
        return cls(governor=governor, unread=unread, cooling=cooling, throttled_bits=bits, **numbers)


_COUNTS = ("cooling", "throttled_bits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the device is while it measures.

    Attributes:
        system: Kernel and release.
        machine: Such as ``aarch64``.
        cpu: Its name; ``unknown`` where the system does not say.
        cores: How many there are.
        python: The version that measured.
    """

    system: str
    machine: str
    cpu: str
    cores: int
    python: str

    def to_json(self) -> dict[str, Any]:
        """For answers and reports."""
        return asdict(self)

    @classmethod
    def read(cls, fields: Fields) -> Machine:
        """Read back what ``to_json`` wrote; raises ``DataError``."""
        words = {name: fields.word(name) for name in ("system", "machine", "cpu", "python")}
        return cls(cores=fields.count("cores"), **words)


def read_conditions(root: Path = Path("/")) -> Conditions:
    """Read them now.

    Args:
        root: What /proc and /sys lie in.
    """
    reading = _Reading()
    return Conditions(
        governor=reading.of("governor", lambda: _text(root / _CPU / "cpu0/cpufreq/scaling_governor")),
        frequency_mhz=reading.of("frequency_mhz", lambda: _fastest_mhz(root, "scaling_cur_freq")),
        limit_mhz=reading.of("limit_mhz", lambda: _fastest_mhz(root, "scaling_max_freq")),
        temperature_c=reading.of("temperature_c", lambda: _hottest_c(root)),
        cooling=reading.of("cooling", lambda: _cooling(root)),
        throttled_bits=reading.of("throttled_bits", lambda: _throttled_bits(root)),
        load_1m=reading.of("load_1m", lambda: float(_text(root / "proc/loadavg").split()[0])),
        unread=reading.unread,
    )


def throttling(before: Conditions, after: Conditions) -> tuple[str, ...]:
    """What says that the device slowed itself down between two moments; empty for nothing."""
    bits = after.throttled_bits or 0
    said = [word for bit, word in _THROTTLED.items() if bits >> bit & 1]
    new_bits = bits & ~(before.throttled_bits or 0)
    said += [
        f"{word} for a while" for bit, word in _THROTTLED.items() if new_bits >> (bit + 16) & 1 and word not in said
    ]
    if before.limit_mhz and after.limit_mhz and after.limit_mhz < before.limit_mhz:
        said.append(f"its frequency limit fell from {before.limit_mhz:.0f} to {after.limit_mhz:.0f} MHz")
    if after.cooling:
        said.append(f"cooling slows its processors down by {after.cooling} step(s)")
    return tuple(said)


def read_machine(root: Path = Path("/")) -> Machine:
    """What this machine is."""
    import os
    import platform

    return Machine(
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=_cpu_name(root),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
    )


class _Reading:
    """Keeps why something could not be read."""

    def __init__(self) -> None:
        self.unread: dict[str, str] = {}

    def of(self, name: str, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            self.unread[name] = said[:_KEPT_REASON]
            return None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _fastest_mhz(root: Path, name: str) -> float:
    found = sorted((root / _CPU).glob(f"cpu[0-9]*/cpufreq/{name}"))
    if not found:
        raise LookupError(f"/{_CPU}/cpu*/cpufreq/{name}: not there")
    return max(int(_text(path)) for path in found) / 1e3


def _hottest_c(root: Path) -> float:
    read = _numbers(root, "sys/class/thermal", "thermal_zone*/temp")
    return max(read) / 1e3


def _numbers(root: Path, folder: str, pattern: str) -> list[int]:
    """Those that can be read; zones of parts that sleep can't."""
    read = []
    for path in sorted((root / folder).glob(pattern)):
        with contextlib.suppress(OSError, ValueError):
            read.append(int(_text(path)))
    if not read:
        raise LookupError(f"/{folder}/{pattern}: none that can be read")
    return read


def _cooling(root: Path) -> int:
    kinds = sorted((root / "sys/class/thermal").glob("cooling_device*/type"))
    steps = [int(_text(kind.with_name("cur_state"))) for kind in kinds if _text(kind).lower().startswith(_PROCESSORS)]
    if not steps:
        raise LookupError("/sys/class/thermal/cooling_device*: none of a processor")
    return sum(steps)


def _throttled_bits(root: Path) -> int:
    path = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    if path.is_file():
        return int(_text(path), 16)
    if root != Path("/"):
        raise LookupError("no Raspberry Pi firmware")
    try:
        ran = subprocess.run(
            ["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=_VCGENCMD_LIMIT_S, check=True
        )
    except FileNotFoundError:
        raise LookupError("no Raspberry Pi firmware, and no vcgencmd") from None
    return int(ran.stdout.partition("=")[2], 16)


def _cpu_name(root: Path) -> str:
    try:
        lines = _text(root / "proc/cpuinfo").splitlines()
    except OSError:
        return "unknown"
    for name in ("model name", "Model", "Hardware"):
        for line in lines:
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return "unknown"
