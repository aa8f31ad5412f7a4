"""A measurement over time: run times in windows, and the state of the device between its processes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tinsmith.runtime.timing import median

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.runtime.measurement import Measurement, ProcessRun

__all__ = ["State", "Window", "states_of", "windows_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Some runs one after another.

    Attributes:
        at_s: The middle of it, in seconds of timed runs since the first; starts and warm-ups between them don't count.
        median_ms: Of its run times.
        process: Which process it belongs to, from 0.
    """

    at_s: float
    median_ms: float
    process: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The device at one moment.

    Attributes:
        at_s: As in ``Window``.
        temperature_c: Of the hottest zone; None where that can't be read.
        frequency_mhz: Of the fastest core; None where that can't be read.
    """

    at_s: float
    temperature_c: float | None
    frequency_mhz: float | None


def windows_of(measurement: Measurement, *, windows: int = 60) -> tuple[Window, ...]:
    """At most so many windows, as many for each process and one at least.

    Args:
        measurement: Its samples are in order.
        windows: Over all processes.
    """
    each = max(1, windows // len(measurement.processes))
    found, began_s = [], 0.0
    for number, process in enumerate(measurement.processes):
        found += _windows(process, number, began_s, each)
        began_s += process.query_ns / 1e9
    return tuple(found)


def states_of(measurement: Measurement) -> tuple[State, ...]:
    """Before and after each process."""
    found, at_s = [], 0.0
    for process in measurement.processes:
        end_s = at_s + process.query_ns / 1e9
        for moment_s, conditions in ((at_s, process.before), (end_s, process.after)):
            found.append(
                State(
                    at_s=moment_s,
                    temperature_c=conditions.temperature_c,
                    frequency_mhz=conditions.frequency_mhz,
                )
            )
        at_s = end_s
    return tuple(found)


def _windows(process: ProcessRun, number: int, began_s: float, most: int) -> list[Window]:
    """Of as many samples each; kept samples are spread evenly over the process's time."""
    samples = process.samples_ns
    count = min(most, len(samples))
    ends = [len(samples) * at // count for at in range(count + 1)]
    length_s = process.query_ns / 1e9
    return [
        Window(
            at_s=began_s + length_s * (first + last) / 2 / len(samples),
            median_ms=_median_ms(samples[first:last]),
            process=number,
        )
        for first, last in pairwise(ends)
    ]


def _median_ms(samples_ns: Sequence[int]) -> float:
    return median(samples_ns) / 1e6
