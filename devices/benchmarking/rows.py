"""The table over models and devices: a row a measurement, ready to be printed, written as CSV or plotted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.runtime.intervals import Interval
    from tinsmith.runtime.measurement import Measurement

__all__ = ["Row", "rows_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row.

    Attributes:
        model: The artifact's file name.
        device: Its name.
        median_ms: Of the processes' medians.
        interval_ms: Where that lies; None below five processes.
        p90_ms: None below 64 runs.
        load_ms: From opening the file to the engine being ready.
        first_ms: The first run.
        peak_bytes: The process's largest resident size, interpreter and engine included.
        size_bytes: Of the artifact.
        throughput_per_s: Inferences a second.
        verdict: ``stable``, ``noisy`` or ``throttled``.
        reasons: What speaks against it.
    """

    model: str
    device: str
    median_ms: float
    interval_ms: Interval | None
    p90_ms: float | None
    load_ms: float
    first_ms: float
    peak_bytes: int
    size_bytes: int
    throughput_per_s: float
    verdict: str
    reasons: tuple[str, ...]


def rows_of(measurements: Sequence[Measurement]) -> tuple[Row, ...]:
    """One row each, in their order."""
    return tuple(map(_row, measurements))


def _row(measurement: Measurement) -> Row:
    verdict = measurement.verdict
    return Row(
        model=measurement.artifact,
        device=measurement.device,
        median_ms=measurement.median_ms,
        interval_ms=measurement.interval_ms,
        p90_ms=measurement.p90_ms,
        load_ms=measurement.load_ms,
        first_ms=measurement.first_ms,
        peak_bytes=measurement.peak_memory_bytes,
        size_bytes=measurement.size_bytes,
        throughput_per_s=measurement.throughput,
        verdict=verdict.state,
        reasons=verdict.reasons,
    )
