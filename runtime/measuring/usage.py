"""Who used the processors while something was timed: the process itself, others, the hypervisor.

Counters of the kernel are read before and after; their difference says what stood between the timer and the truth.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tinsmith.runtime.fields import Fields

__all__ = ["Clocks", "Counters", "Usage", "read_counters", "usage_between"]

_NUMBERS = ("own_cores", "others_cores", "steal_cores", "waited_share", "quota_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Between two moments; None where a counter can't be read, and ``unread`` says why.

    Attributes:
        wall_s: How long it was.
        own_cores: Cores that the measured process kept busy on average, and the one that asks it.
        others_cores: Cores that everything else kept busy.
        steal_cores: Cores that the hypervisor gave to somebody else.
        waited_share: Of the time, how much the measured process's threads together waited for a core though they had
            work.
        quota_share: Of the time, how much its control group was held back by its CPU limit.
        involuntary_switches: How often a core was taken away from it.
        clock_jump_ms: How far the clock of the day moved against the one that only goes forward.
        unread: Why the others are None, by name.
    """

    wall_s: float
    own_cores: float | None = None
    others_cores: float | None = None
    steal_cores: float | None = None
    waited_share: float | None = None
    quota_share: float | None = None
    involuntary_switches: int | None = None
    clock_jump_ms: float = 0.0
    unread: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For answers and reports."""
        return asdict(self)

    @classmethod
    def read(cls, fields: Fields) -> Usage:
        """Read back what ``to_json`` wrote; raises ``DataError``."""
        numbers = {name: None if fields.null(name) else fields.finite(name) for name in _NUMBERS}
        switches = "involuntary_switches"
        return cls(
            wall_s=fields.finite("wall_s"),
            involuntary_switches=None if fields.null(switches) else fields.count(switches, least=0),
            clock_jump_ms=fields.finite("clock_jump_ms"),
            unread=fields.table("unread").each(type(fields).word),
            **numbers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Nanoseconds.

    Attributes:
        steady: Only goes forward.
        day: The clock of the day, which may be set.
    """

    steady: Callable[[], int] = time.monotonic_ns
    day: Callable[[], int] = time.time_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """At one moment; None where one can't be read.

    Attributes:
        steady_ns: The clock that only goes forward.
        day_ns: The clock of the day.
        busy_ns: Of all cores since the start, idle time and steal left out.
        steal_ns: Of all cores since the start.
        own_ns: On a core, of the measured process and of this one.
        waited_ns: Ready and without a core, of the measured process.
        switches: Involuntary ones, of the measured process.
        quota_ns: Held back by the control group's limit.
        unread: Why the others are None, by name.
    """

    steady_ns: int
    day_ns: int
    busy_ns: int | None = None
    steal_ns: int | None = None
    own_ns: int | None = None
    waited_ns: int | None = None
    switches: int | None = None
    quota_ns: int | None = None
    unread: Mapping[str, str] = field(default_factory=dict)


def read_counters(pid: int, *, root: Path = Path("/"), clocks: Clocks | None = None) -> Counters:
    """Read them now.

    Args:
        pid: Of the measured process.
        root: What /proc and /sys lie in.
        clocks: The machine's unless given.
    """
    clocks = clocks or Clocks()
    unread: dict[str, str] = {}
    busy_ns, steal_ns = _told(unread, "others_cores", lambda: _system(root), none=(None, None))
    ran_ns, waited_ns = _told(unread, "own_cores", lambda: _scheduled(root, pid), none=(None, None))
    return Counters(
        steady_ns=clocks.steady(),
        day_ns=clocks.day(),
        busy_ns=busy_ns,
        steal_ns=steal_ns,
        own_ns=None if ran_ns is None else ran_ns + time.process_time_ns(),
        waited_ns=waited_ns,
        switches=_told(unread, "involuntary_switches", lambda: _switches(root, pid), none=None),
        quota_ns=_told(unread, "quota_share", lambda: _quota(root), none=None),
        unread=unread,
    )


def usage_between(before: Counters, after: Counters) -> Usage:
    """What happened between two readings; cores below 0, which ticks of 10 ms can give, are 0."""
    wall_ns = max(1, after.steady_ns - before.steady_ns)

    def share(name: str) -> float | None:
        first, last = getattr(before, name), getattr(after, name)
        return None if first is None or last is None else max(0, last - first) / wall_ns

    busy, own = share("busy_ns"), share("own_ns")
    switches = None if None in (before.switches, after.switches) else (after.switches or 0) - (before.switches or 0)
    return Usage(
        wall_s=wall_ns / 1e9,
        own_cores=own,
        others_cores=None if busy is None or own is None else max(0.0, busy - own),
        steal_cores=share("steal_ns"),
        waited_share=share("waited_ns"),
        quota_share=share("quota_ns"),
        involuntary_switches=None if switches is None else max(0, switches),
        clock_jump_ms=(after.day_ns - before.day_ns - wall_ns) / 1e6,
        unread={**before.unread, **after.unread},
    )


def _told(unread: dict[str, str], name: str, read: Callable[[], Any], *, none: Any) -> Any:
    try:
        return read()
    except (OSError, ValueError, LookupError) as error:
        unread[name] = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        return none


def _system(root: Path) -> tuple[int, int]:
    """Busy and stolen nanoseconds of all cores; proc(5): user nice system idle iowait irq softirq steal guest ..."""
    fields = (root / "proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    ticks = [int(field) for field in fields]
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    busy = sum(ticks[:3]) + ticks[5] + ticks[6]
    return busy * tick_ns, ticks[7] * tick_ns


def _scheduled(root: Path, pid: int) -> tuple[int, int]:
    """Nanoseconds on a core, and ready without one, of all threads; /proc/PID/schedstat speaks of the first alone."""
    ran, waited = 0, 0
    for path in _threads(root, pid, "schedstat"):
        on_core, ready, *_ = path.read_text(encoding="ascii").split()
        ran, waited = ran + int(on_core), waited + int(ready)
    return ran, waited


def _switches(root: Path, pid: int) -> int:
    total = 0
    for path in _threads(root, pid, "status"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("nonvoluntary"))
    return total


def _threads(root: Path, pid: int, name: str) -> list[Path]:
    found = sorted((root / f"proc/{pid}/task").glob(f"*/{name}"))
    if not found:
        raise LookupError(f"/proc/{pid}/task/*/{name}: not there")
    return found


def _quota(root: Path) -> int:
    """Of control groups of version 2 and 1."""
    for place, key, unit_ns in (("cpu.stat", "throttled_usec", 1000), ("cpu/cpu.stat", "throttled_time", 1)):
        path = root / "sys/fs/cgroup" / place
        if path.is_file():
            told = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
            if key in told:
                return int(told[key]) * unit_ns
    raise LookupError("/sys/fs/cgroup: no cpu.stat that tells of a limit")
