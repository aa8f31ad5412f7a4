"""What was measured on a device, as a search takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tinsmith.compress.search.figures import Timed
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tinsmith.compress.search.bounds import Ask, LatencyBound, MemoryBound
    from tinsmith.runtime.measurement import Measurement

__all__ = ["Stopwatch", "TimedBy", "refuse_emulated"]


class Stopwatch(Protocol):
    """Measures artifacts on devices that it knows."""

    @property
    def facts(self) -> Sequence[Mapping[str, Any]]:
        """Of each device: ``name``, ``profile``, ``threads``, ``emulated``."""
        ...

    def __call__(self, artifact: Path, device: str, threads: int) -> Measurement:
        """Measure one.

        Raises:
            DeviceError: The device can't be reached, or was lost.
            TinsmithError: The artifact can't be run there.
        """
        ...


class TimedBy:
    """Satisfies ``Measure`` by a stopwatch.

    Args:
        stopwatch: What measures.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def __call__(self, artifact: Path, device: str, threads: int) -> Timed:
        """Measure one; raises as the stopwatch."""
        measured = self._stopwatch(artifact, device, threads)
        interval = measured.interval_ms
        return Timed(
            device=device,
            threads=threads,
            median_ms=measured.median_ms,
            low_ms=None if interval is None else interval.low,
            high_ms=None if interval is None else interval.high,
            peak_memory_bytes=measured.peak_memory_bytes,
            placement=measured.placement.units,
        )


def refuse_emulated(ask: Ask, facts: Sequence[Mapping[str, Any]]) -> None:
    """Time and memory under emulation are not those of a device, and bound nothing; raises ``UsageError``."""
    emulated = {device["name"] for device in facts if device["emulated"]}
    named: tuple[LatencyBound | MemoryBound, ...] = (*ask.latencies, *ask.memories)
    for bound in named:
        if bound.device in emulated:
            raise UsageError(
                f"--{bound.name}: {bound.device} is emulated, and what it takes there is not what a device takes",
                hint="bound it on real hardware; `tinsmith benchmark --instructions` compares models under emulation",
            )
