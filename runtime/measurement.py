"""A measurement: raw samples with the context they were taken in; statistics are derived, never stored alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.intervals import Interval, bootstrap
from tinsmith.runtime.measuring.conditions import Conditions
from tinsmith.runtime.measuring.energy import Energy
from tinsmith.runtime.measuring.usage import Usage
from tinsmith.runtime.operator_times import OperatorTimes
from tinsmith.runtime.placement import Placement
from tinsmith.runtime.timing import early_stopping, median, percentile, runs_needed
from tinsmith.runtime.verdict import Verdict, verdict_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from tinsmith.runtime.fields import Fields

__all__ = ["MEASUREMENT_SCHEMA", "Measurement", "ProcessRun"]

MEASUREMENT_SCHEMA = 3
_PERCENTILES = (50, 90, 95, 99, 99.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRun:
    """What one process measured.

    Attributes:
        load_ms: From opening the file to the engine being ready.
        first_ms: The first run after that.
        warmup_runs: Runs thrown away until the speed was steady.
        steady: Whether it was, before the time for that was up.
        runs: Timed runs.
        query_ns: From the start of the first to the end of the last.
        kept_every: Of so many runs, one sample is kept.
        samples_ns: One run time each, in order.
        peak_memory_bytes: The process's largest resident size, interpreter and engine included.
        before: Conditions before the timed runs.
        after: Conditions after them.
        usage: Who used the processors in between.
        energy: What the timed runs took, or why nobody knows.
        operators: Time of each operator; None where nobody asked.
    """

    load_ms: float
    first_ms: float
    warmup_runs: int
    steady: bool
    runs: int
    query_ns: int
    kept_every: int
    samples_ns: tuple[int, ...]
    peak_memory_bytes: int
    before: Conditions
    after: Conditions
    usage: Usage
    energy: Energy
    operators: OperatorTimes | None = None

    @property
    def median_ms(self) -> float:
        """Of its run times."""
        return median(self.samples_ns) / 1e6

    @property
    def joules(self) -> float | None:
        """An inference, less idle power; None where nobody counted, and ``energy`` says why."""
        net = self.energy.net_joules
        return None if net is None else net / self.runs

    def to_json(self) -> dict[str, Any]:
        """For answers and reports."""
        return {
            "load_ms": self.load_ms,
            "first_ms": self.first_ms,
            "warmup_runs": self.warmup_runs,
            "steady": self.steady,
            "runs": self.runs,
            "query_ns": self.query_ns,
            "kept_every": self.kept_every,
            "samples_ns": list(self.samples_ns),
            "peak_memory_bytes": self.peak_memory_bytes,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "usage": self.usage.to_json(),
            "energy": self.energy.to_json(),
            "operators": None if self.operators is None else self.operators.to_json(),
        }

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read back what ``to_json`` wrote; raises ``DataError``."""
        operators = fields.maybe("operators")
        samples_ns = fields.wholes("samples_ns", least=0)
        if not samples_ns:
            raise fields.wrong("has a process without a sample")
        return cls(
            load_ms=fields.number("load_ms", least=0),
            first_ms=fields.number("first_ms", least=0),
            warmup_runs=fields.count("warmup_runs", least=0),
            steady=fields.flag("steady"),
            runs=fields.count("runs"),
            query_ns=fields.count("query_ns", least=0),
            kept_every=fields.count("kept_every"),
            samples_ns=samples_ns,
            peak_memory_bytes=fields.count("peak_memory_bytes", least=0),
            before=Conditions.read(fields.table("before")),
            after=Conditions.read(fields.table("after")),
            usage=Usage.read(fields.table("usage")),
            energy=Energy.read(fields.table("energy")),
            operators=None if operators is None else OperatorTimes.read(operators),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """How fast one artifact ran on one device.

    Attributes:
        artifact: The file's name.
        artifact_sha256: Of the file.
        size_bytes: Of the file.
        device: Its name in the inventory; ``local`` is this machine.
        profile: The name of its profile.
        engine: Name of the engine.
        engine_version: Of its package.
        accelerator: What it ran on.
        placement: Where its operators ran.
        threads: CPU threads.
        seed: Of the random input.
        scenario: ``single-stream`` or ``offline``, as MLPerf has them.
        effort: How it was measured, by name.
        taken_at: When it began, in UTC, as ISO 8601 writes it.
        environment: Facts of the machine, as text.
        processes: One record a process, in the order they ran; at least one.
        lost: Why fewer processes measured than were to; empty where all did.
        emulated: Whether the device's CPU is emulated, so that its time is no device's latency.
    """

    artifact: str
    artifact_sha256: str
    size_bytes: int
    device: str
    profile: str
    engine: str
    engine_version: str
    accelerator: str
    placement: Placement
    threads: int
    seed: int
    scenario: str
    effort: str
    taken_at: str
    environment: dict[str, str]
    processes: tuple[ProcessRun, ...]
    lost: str = ""
    emulated: bool = False

    @property
    def samples_ms(self) -> list[float]:
        """All run times of all processes."""
        return [ns / 1e6 for process in self.processes for ns in process.samples_ns]

    @property
    def process_medians_ms(self) -> list[float]:
        """In the order of the processes."""
        return [process.median_ms for process in self.processes]

    @property
    def median_ms(self) -> float:
        """The median of the processes' medians, so that one process that ran longer does not count for more."""
        return median(self.process_medians_ms)

    @property
    def interval_ms(self) -> Interval | None:
        """Where the median lies with 95 % confidence, by bootstrap over processes; None below five of them."""
        return bootstrap(self.process_medians_ms, median)

    @property
    def p50_ms(self) -> float | None:
        """The median run time of all processes; None below 11 runs."""
        return self.percentile_ms(50)

    @property
    def p90_ms(self) -> float | None:
        """Nine runs of ten took no longer; None below 64 runs."""
        return self.percentile_ms(90)

    @property
    def throughput(self) -> float:
        """Inferences a second, one after another; the median over processes."""
        return median([process.runs / process.query_ns * 1e9 for process in self.processes])

    @property
    def throughput_interval(self) -> Interval | None:
        """Where it lies with 95 % confidence; None below five processes."""
        return bootstrap([process.runs / process.query_ns * 1e9 for process in self.processes], median)

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
    def joules(self) -> float | None:
        """An inference, less idle power: the median over processes; None where one of them could not tell."""
        told = self._joules
        return median(told) if told else None

    @property
    def joules_interval(self) -> Interval | None:
        """Where it lies with 95 % confidence; None below five processes, and where one could not tell."""
        return bootstrap(self._joules, median)

    @property
    def energy_method(self) -> str:
        """What counted the energy; why nobody did where ``joules`` is None."""
        if self.emulated:
            return "its CPU is emulated"
        energies = [process.energy for process in self.processes]
        if self.joules is not None:
            return f"{energies[0].method}, less idle power"
        return next((e.why for e in energies if e.why), "the runs do not stand out from idle power")

    @property
    def _joules(self) -> list[float]:
        told = [] if self.emulated else [process.joules for process in self.processes]
        return [] if None in told else [joules for joules in told if joules is not None]

    @property
    def spread(self) -> float:
        """The slowest process's median over the fastest one's; 1.0 when they agree."""
        return max(self.process_medians_ms) / min(self.process_medians_ms)

    @property
    def verdict(self) -> Verdict:
        """What it is worth."""
        return verdict_of(self)

    @property
    def operators(self) -> OperatorTimes | None:
        """Of the first process that was asked for them; None where none was."""
        return next((process.operators for process in self.processes if process.operators), None)

    def percentile_ms(self, percent: float) -> float | None:
        """A percentile of all run times; None where there are too few of them to support it."""
        return percentile(self.samples_ms, percent)

    def early_stopping_ms(self, percent: float) -> float | None:
        """The percentile that MLPerf reports of them; None where there are too few of them to support it."""
        return early_stopping(self.samples_ms, percent)

    def to_json(self) -> dict[str, Any]:
        """Raw samples and what is derived from them; ``read`` takes the raw part."""
        return {
            "measurement_schema": MEASUREMENT_SCHEMA,
            **{name: getattr(self, name) for name in _WORDS},
            "artifact_sha256": self.artifact_sha256,
            "size_bytes": self.size_bytes,
            "threads": self.threads,
            "seed": self.seed,
            "emulated": self.emulated,
            "placement": self.placement.to_json(),
            "environment": self.environment,
            "processes": [process.to_json() for process in self.processes],
            **self._derived(),
        }

    def _derived(self) -> dict[str, Any]:
        samples = self.samples_ms
        return {
            "runs": sum(process.runs for process in self.processes),
            "median_ms": self.median_ms,
            "interval_ms": _ends(self.interval_ms),
            **{_name(percent): percentile(samples, percent) for percent in _PERCENTILES},
            "early_stopping": {_name(percent): early_stopping(samples, percent) for percent in (90, 99)},
            "runs_needed": {f"p{percent:g}": runs_needed(percent) for percent in _PERCENTILES},
            "throughput_per_s": self.throughput,
            "throughput_interval_per_s": _ends(self.throughput_interval),
            "load_ms": self.load_ms,
            "first_ms": self.first_ms,
            "peak_memory_bytes": self.peak_memory_bytes,
            "joules_per_inference": self.joules,
            "joules_interval": _ends(self.joules_interval),
            "energy_method": self.energy_method,
            "spread": self.spread,
            "verdict": self.verdict.to_json(),
        }

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read back what ``to_json`` wrote; what is derived is derived anew.

        Raises:
            DataError: It is damaged, or of a newer schema.
        """
        if (schema := fields.count("measurement_schema")) > MEASUREMENT_SCHEMA:
            raise fields.wrong(f"is of schema {schema}, newer than this tinsmith knows", hint="update tinsmith")
        if schema < MEASUREMENT_SCHEMA:
            raise fields.wrong(f"is of schema {schema}, of an older tinsmith", hint="measure it again")
        words = {name: fields.word(name) for name in _WORDS}
        return cls(
            artifact_sha256=fields.sha256("artifact_sha256"),
            **words,
            size_bytes=fields.count("size_bytes", least=0),
            threads=fields.count("threads"),
            seed=fields.count("seed", least=0),
            emulated=fields.flag("emulated"),
            placement=Placement.read(fields.table("placement")),
            environment=fields.table("environment").each(type(fields).word),
            processes=_processes(fields),
        )

    @classmethod
    def from_json(cls, document: dict[str, Any], *, of: str = "the measurement") -> Self:
        """As ``read``, of a parsed document."""
        from tinsmith.runtime.fields import Fields

        return cls.read(Fields(document, of=of, hint="measure it again with this version of tinsmith"))


_WORDS = (
    "artifact", "device", "profile", "engine", "engine_version", "accelerator", "scenario", "effort", "taken_at",
    "lost",
)  # fmt: skip


def _processes(fields: Fields) -> tuple[ProcessRun, ...]:
    processes = tuple(ProcessRun.read(process) for process in fields.many("processes"))
    if not processes:
        raise fields.wrong("has no process")
    return processes


def _name(percent: float) -> str:
    return f"p{percent:g}_ms"


def _ends(interval: Interval | None) -> Sequence[float] | None:
    return None if interval is None else [interval.low, interval.high]
