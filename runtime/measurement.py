"""A measurement: raw samples with the context they were taken in; statistics are derived, never stored alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.timing import median, percentile, runs_needed

if TYPE_CHECKING:
    from tinsmith.runtime.placement import Placement

__all__ = ["Measurement", "ProcessRun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRun:
    """What one process measured.

    Attributes:
        load_ms: From opening the file to the engine being ready.
        first_ms: The first run after that.
        warmup_runs: Runs thrown away until the speed was steady.
        samples_ns: One run time each, in order.
        peak_memory_bytes: The process's largest resident size, interpreter and engine included.
    """

    load_ms: float
    first_ms: float
    warmup_runs: int
    samples_ns: tuple[int, ...]
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """How fast one artifact ran on one device.

    Attributes:
        artifact: The file's name.
        artifact_sha256: Of the file.
        size_bytes: Of the file.
        device: The profile's name; ``local`` is this machine.
        engine: Name of the engine.
        engine_version: Of its package.
        accelerator: What it ran on.
        placement: Where its operators ran.
        threads: CPU threads.
        environment: Facts of the machine while it measured, as text.
        processes: One record a process, in the order they ran.
    """

    artifact: str
    artifact_sha256: str
    size_bytes: int
    device: str
    engine: str
    engine_version: str
    accelerator: str
    placement: Placement
    threads: int
    environment: dict[str, str]
    processes: tuple[ProcessRun, ...]

    @property
    def samples_ms(self) -> list[float]:
        """All run times of all processes."""
        return [ns / 1e6 for process in self.processes for ns in process.samples_ns]

    @property
    def p50_ms(self) -> float | None:
        """The median run time; None below 11 runs."""
        return self.percentile_ms(50)

    @property
    def p90_ms(self) -> float | None:
        """Nine runs of ten took no longer; None below 64 runs."""
        return self.percentile_ms(90)

    @property
    def load_ms(self) -> float:
        """The median over processes."""
        return median([process.load_ms for process in self.processes])

    @property
    def first_ms(self) -> float:
        """The median over processes."""
        return median([process.first_ms for process in self.processes])

    @property
    def peak_memory_bytes(self) -> int:
        """The largest of all processes."""
        return max(process.peak_memory_bytes for process in self.processes)

    @property
    def spread(self) -> float:
        """The slowest process's median over the fastest one's; 1.0 when they agree."""
        medians = [median(process.samples_ns) for process in self.processes]
        return max(medians) / min(medians)

    def percentile_ms(self, percent: float) -> float | None:
        """A percentile of all run times; None where there are too few of them to support it."""
        return percentile(self.samples_ms, percent)

    def to_json(self) -> dict[str, Any]:
        """Raw samples and what is derived from them."""
        return {
            **asdict(self),
            "placement": self.placement.to_json(),
            "runs": len(self.samples_ms),
            "p50_ms": self.p50_ms,
            "p90_ms": self.p90_ms,
            "load_ms": self.load_ms,
            "first_ms": self.first_ms,
            "peak_memory_bytes": self.peak_memory_bytes,
            "spread": self.spread,
            "runs_needed": {f"p{percent:g}": runs_needed(percent) for percent in (50, 90, 95, 99, 99.9)},
        }
