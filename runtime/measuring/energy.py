"""Energy of timed runs, where the machine counts it: RAPL of the processor, or the power rail of a board.

RAPL: https://docs.kernel.org/power/powercap/powercap.html; rails: https://docs.kernel.org/hwmon/sysfs-interface.html.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tinsmith.runtime.fields import Fields

__all__ = ["Energy", "Gauge", "Meter", "RailMeter", "RaplMeter", "find_meter", "open_gauge"]

_IDLE_S = 0.5
_SAMPLE_S = 0.05
_POWERCAP, _HWMON = "sys/class/powercap", "sys/class/hwmon"
# "psys" and the zones inside a package count again what a package has counted; memory alone does not
_COUNTED = ("package-", "dram")
_BOARD_RAILS = ("VDD_IN", "POM_5V_IN", "VDD_5V_IN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What the timed runs of one process took, all that the counter sees included.

    Attributes:
        method: The counter, such as ``RAPL package-0``; empty where there is none.
        joules: Over the timed runs; None where nobody counted.
        seconds: How long they took.
        idle_watts: Power just before, with nothing loaded.
        why: Why nobody counted; empty where somebody did.
    """

    method: str = ""
    joules: float | None = None
    seconds: float = 0.0
    idle_watts: float = 0.0
    why: str = ""

    @property
    def net_joules(self) -> float | None:
        """Less what idling would have taken; None where nobody counted, and where nothing stands out from idling."""
        if self.joules is None:
            return None
        net = self.joules - self.idle_watts * self.seconds
        return net if net > 0 else None

    def to_json(self) -> dict[str, Any]:
        """For answers and reports."""
        return asdict(self)

    @classmethod
    def read(cls, fields: Fields) -> Energy:
        """Read back what ``to_json`` wrote; raises ``DataError``."""
        return cls(
            method=fields.word("method"),
            joules=None if fields.null("joules") else fields.finite("joules"),
            seconds=fields.number("seconds", least=0),
            idle_watts=fields.finite("idle_watts"),
            why=fields.word("why"),
        )


class Meter(Protocol):
    """Counts energy."""

    @property
    def method(self) -> str:
        """Which counter, for people."""
        ...

    def joules(self) -> float:
        """Counted so far, from any beginning; raises OSError or ValueError where it can't be read."""
        ...

    def close(self) -> None:
        """Stop counting."""
        ...


class RaplMeter:
    """The counters of all processor packages, and of memory where that is counted apart.

    Args:
        zones: Folders of powercap, each with ``name``, ``energy_uj`` and ``max_energy_range_uj``.
    """

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._ranges = [int(_text(zone / "max_energy_range_uj")) for zone in zones]
        self._last = self._read()
        self._counted_uj = 0

    @property
    def method(self) -> str:
        """See ``Meter``."""
        return "RAPL " + " + ".join(_text(zone / "name") for zone in self._zones)

    def joules(self) -> float:
        """See ``Meter``; a counter that has begun anew since the last call is made up for, once."""
        now = self._read()
        for last, new, most in zip(self._last, now, self._ranges, strict=True):
            self._counted_uj += new - last if new >= last else new - last + most
        self._last = now
        return self._counted_uj / 1e6

    def close(self) -> None:
        """Nothing runs."""

    def _read(self) -> list[int]:
        return [int(_text(zone / "energy_uj")) for zone in self._zones]


class RailMeter:
    """A power sensor of hwmon, asked twenty times a second by a thread of its own.

    Args:
        name: Of the sensor and its rail.
        watts: Reads the power now.
        every_s: Between two readings.
    """

    def __init__(self, name: str, watts: Callable[[], float], *, every_s: float = _SAMPLE_S) -> None:
        self._name, self._watts, self._every_s = name, watts, every_s
        self._joules = 0.0
        self._last = (time.monotonic(), watts())
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    @property
    def method(self) -> str:
        """See ``Meter``."""
        return f"power rail {self._name}"

    def joules(self) -> float:
        """See ``Meter``; the mean of neighbouring readings counts for the time between them."""
        with self._lock:
            then, before = self._last
            now, watts = time.monotonic(), self._watts()
            self._joules += (before + watts) / 2 * (now - then)
            self._last = now, watts
            return self._joules

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(self._every_s):
            with contextlib.suppress(OSError, ValueError):  # the next reading spans the gap
                self.joules()


class Gauge:
    """Measures idle power at once, then energy between two moments.

    Args:
        meter: None where there is no counter.
        why: Why not.
        idle_s: How long idle power is measured.
    """

    def __init__(self, meter: Meter | None, *, why: str = "", idle_s: float = _IDLE_S) -> None:
        self._meter, self._why = meter, why
        self._idle_watts = 0.0
        self._began = (0.0, 0.0)
        if meter:
            self.begin()
            time.sleep(idle_s)
            idle = self.energy()
            self._idle_watts = (idle.joules or 0.0) / (idle.seconds or 1.0)

    def begin(self) -> None:
        """The timed runs begin."""
        if self._meter:
            self._began = (time.monotonic(), self._count(self._meter))

    def energy(self) -> Energy:
        """Since they began."""
        if self._meter is None:
            return Energy(why=self._why)
        then, before = self._began
        now, counted = time.monotonic(), self._count(self._meter)
        if self._why:
            return Energy(why=self._why)
        method, joules = self._meter.method, counted - before
        return Energy(method=method, joules=joules, seconds=now - then, idle_watts=self._idle_watts)

    def _count(self, meter: Meter) -> float:
        try:
            return meter.joules()
        except (OSError, ValueError) as error:
            self._why = f"the counter can no longer be read: {error}"
            return 0.0


@contextlib.contextmanager
def open_gauge(root: Path = Path("/")) -> Iterator[Gauge]:
    """A gauge for this machine; half a second of idle power is measured first where there is a counter.

    Args:
        root: What /sys lies in.
    """
    try:
        meter = find_meter(root)
    except (OSError, ValueError, LookupError) as error:
        said = f"/{Path(error.filename).relative_to(root)}: {error.strerror}" if isinstance(error, OSError) else error
        yield Gauge(None, why=str(said))
        return
    with contextlib.closing(meter):
        yield Gauge(meter)


def find_meter(root: Path = Path("/")) -> RaplMeter | RailMeter:
    """The counter of this machine: RAPL where the processor has it, else the rail that feeds the board.

    Raises:
        LookupError: There is none.
        OSError: It can't be read: since 2020 (CVE-2020-8694), RAPL is root's alone.
    """
    zones = [zone for zone in sorted((root / _POWERCAP).glob("intel-rapl:*")) if _is_counted(zone)]
    if zones:
        return RaplMeter(zones)
    for sensor in sorted((root / _HWMON).glob("hwmon*")):
        name = _text(sensor / "name") if (sensor / "name").is_file() else ""
        if name.startswith("ina") or name == "power_meter":
            return _rail(sensor, name)
    raise LookupError(f"/{_POWERCAP} has no RAPL, and /{_HWMON} no sensor of a power rail")


def _is_counted(zone: Path) -> bool:
    return _text(zone / "name").startswith(_COUNTED)


def _rail(sensor: Path, name: str) -> RailMeter:
    """Its power where it tells that, else voltage times current of the rail that feeds the board, or of its first."""
    for power in sorted(sensor.glob("power*_input")):
        label = power.with_name(power.name.replace("_input", "_label"))
        rail = _text(label) if label.is_file() else power.name.partition("_")[0]
        return RailMeter(f"{name} {rail}", lambda: int(_text(power)) / 1e6)  # noqa: B023 - the loop ends here
    rails = {_text(label): label for label in sorted(sensor.glob("in*_label"))}
    feeding = next((rail for rail in (*_BOARD_RAILS, *rails) if rail in rails), None)
    if feeding is None:
        raise LookupError(f"/{_HWMON}/{sensor.name} ({name}) tells no power")
    volts = rails[feeding].with_name(rails[feeding].name.replace("_label", "_input"))
    amperes = volts.with_name(volts.name.replace("in", "curr", 1))
    return RailMeter(f"{name} {feeding}", lambda: int(_text(volts)) * int(_text(amperes)) / 1e6)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
