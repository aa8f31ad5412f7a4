"""What a measurement is worth: stable, noisy or throttled, with the reasons."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.intervals import LEAST_PROCESSES
from tinsmith.runtime.measuring.conditions import throttling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tinsmith.runtime.measurement import Measurement, ProcessRun

__all__ = ["NOISY", "STABLE", "THROTTLED", "Verdict", "verdict_of"]

STABLE, NOISY, THROTTLED = "stable", "noisy", "throttled"

# Of one core, over all timed runs: a program that does nothing else uses 1, a quiet system less than 0.1.
_OTHERS_CORES = 0.3
_STEAL_CORES = 0.05
_WAITED_SHARE = 0.05  # of all threads together
_QUOTA_SHARE = 0.01
# NTP may slew by 500 ppm; a minute of that is 30 ms.
_JUMP_MS, _JUMP_SHARE = 50.0, 0.002
_WIDTH = 0.15
_SLOWER = 1.1
_HOTTER_C = 3.0
# Any of them would tell.
_THROTTLING = frozenset({"cooling", "limit_mhz", "throttled_bits"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a measurement is worth.

    Attributes:
        state: ``stable``, ``noisy`` or ``throttled``.
        reasons: What speaks against it, each a sentence without its full stop; none where it is stable.
        unseen: What the device does not tell, such as ``governor``: nothing of it speaks against it, nor for it.
    """

    state: str
    reasons: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {**asdict(self), "reasons": list(self.reasons), "unseen": list(self.unseen)}


def verdict_of(measurement: Measurement) -> Verdict:
    """Judge a measurement by the conditions it was taken in, and by how its processes agree."""
    throttled, noisy = tuple(_throttled(measurement)), tuple(_noisy(measurement))
    state = THROTTLED if throttled else NOISY if noisy else STABLE
    return Verdict(state=state, reasons=throttled + noisy, unseen=_unseen(measurement.processes))


def _unseen(processes: tuple[ProcessRun, ...]) -> tuple[str, ...]:
    """By the names of their fields; a part of throttling is unseen only where all of it is."""
    parts = [part.unread for process in processes for part in (process.before, process.after, process.usage)]
    names = {name for unread in parts for name in unread}
    throttling_unseen = names >= _THROTTLING
    return tuple(sorted((names - _THROTTLING) | ({"throttling"} if throttling_unseen else set())))


def _throttled(measurement: Measurement) -> Iterator[str]:
    said = [word for process in measurement.processes for word in throttling(process.before, process.after)]
    yield from dict.fromkeys(said)
    first, last = measurement.processes[0], measurement.processes[-1]
    slower = last.median_ms / first.median_ms
    if slower >= _SLOWER and _weaker(first, last):
        yield f"the last process was {slower:.2f} times slower than the first, on a hotter or slower clocked device"


def _weaker(first: ProcessRun, last: ProcessRun) -> bool:
    was, now = first.before, last.after
    hotter = None not in (was.temperature_c, now.temperature_c) and (
        (now.temperature_c or 0) - (was.temperature_c or 0) >= _HOTTER_C
    )
    lower = bool(
        first.after.frequency_mhz and now.frequency_mhz and now.frequency_mhz < first.after.frequency_mhz / 1.05
    )
    return hotter or lower


def _noisy(measurement: Measurement) -> Iterator[str]:
    processes = measurement.processes
    if measurement.emulated:
        yield "its CPU is emulated, and the time of that is no device's latency"
    if measurement.lost:
        yield f"measuring ended early: {measurement.lost}"
    if len(processes) < LEAST_PROCESSES:
        yield f"{len(processes)} process(es) measured, and an interval takes {LEAST_PROCESSES}"
    yield from _disturbed(processes)
    unsteady = sum(not process.steady for process in processes)
    if 2 * unsteady > len(processes):
        yield f"the speed was not steady after the warm-up in {unsteady} of {len(processes)} processes"
    interval = measurement.interval_ms
    if interval and interval.relative_width(measurement.median_ms) > _WIDTH:
        width = 100 * interval.relative_width(measurement.median_ms)
        yield f"the processes differ: the interval of the median is {width:.0f} % wide"


def _disturbed(processes: tuple[ProcessRun, ...]) -> Iterator[str]:
    if (others := _mean(processes, lambda p: p.usage.others_cores)) > _OTHERS_CORES:
        yield f"other programs used {others:.2f} cores"
    if (steal := _mean(processes, lambda p: p.usage.steal_cores)) > _STEAL_CORES:
        yield f"the hypervisor gave {steal:.2f} cores to others"
    if (waited := _mean(processes, lambda p: p.usage.waited_share)) > _WAITED_SHARE:
        yield f"its threads waited for a core {waited:.2f} s each second"
    if (quota := _mean(processes, lambda p: p.usage.quota_share)) > _QUOTA_SHARE:
        yield f"its control group's CPU limit held it back {100 * quota:.0f} % of the time"
    jump_ms = max((abs(p.usage.clock_jump_ms) - _JUMP_SHARE * 1e3 * p.usage.wall_s for p in processes), default=0)
    if jump_ms > _JUMP_MS:
        yield f"the clock of the day jumped by {jump_ms:.0f} ms; run times come from another and still count"


def _mean(processes: tuple[ProcessRun, ...], get: Callable[[ProcessRun], float | None]) -> float:
    """Over the time of all timed runs; 0 where no process could tell."""
    told = [(value, p.usage.wall_s) for p in processes if (value := get(p)) is not None]
    total_s = sum(wall_s for _, wall_s in told)
    return sum(value * wall_s for value, wall_s in told) / total_s if total_s else 0.0
