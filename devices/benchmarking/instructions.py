"""Instructions of one inference, counted in several processes: the same tomorrow, and no latency of any device."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.devices.benchmarking.measurer import DeviceMeasurer, engine_there
from tinsmith.devices.benchmarking.report import Failure, worst_of
from tinsmith.devices.benchmarking.subject import subject_of
from tinsmith.runtime.errors import DeviceError, TinsmithError
from tinsmith.runtime.measuring.requests import Count, Opening
from tinsmith.runtime.timing import median

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tinsmith.devices.benchmarking.measurer import Counter
    from tinsmith.devices.benchmarking.subject import Subject
    from tinsmith.devices.device import Device
    from tinsmith.runtime.measuring.counting import Counted

__all__ = ["CountPlan", "CountReport", "InstructionCount", "count_instructions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountPlan:
    """How to count.

    Attributes:
        engine: Its name; None takes the profile's for the format, else the format's default.
        accelerator: ``cpu``, or names in the order to try them.
        seed: Of the random input.
        time_limit_s: For loading, and for all runs of a process.
        processes: At least 1; several show whether they agree.
        runs: Of each.
    """

    engine: str | None = None
    accelerator: str = "cpu"
    seed: int = 0
    time_limit_s: float = 60.0
    processes: int = 3
    runs: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionCount:
    """How many instructions one inference executes, in user mode and on one thread.

    Attributes:
        artifact: The file's name.
        artifact_sha256: Of the file.
        size_bytes: Of the file.
        device: Its name in the inventory.
        profile: The name of its profile.
        engine: Name of the engine.
        engine_version: Of its package.
        method: What counted.
        emulated: Whether the device's CPU is emulated.
        counts: One a run, process by process; at least one.
    """

    artifact: str
    artifact_sha256: str
    size_bytes: int
    device: str
    profile: str
    engine: str
    engine_version: str
    method: str
    emulated: bool
    counts: tuple[tuple[int, ...], ...]

    @property
    def instructions(self) -> int:
        """The median of the processes' medians."""
        return round(median([median(counts) for counts in self.counts]))

    @property
    def spread(self) -> float:
        """How far the processes' medians lie apart, as a share of the whole; 0 where they agree."""
        medians = [median(counts) for counts in self.counts]
        return (max(medians) - min(medians)) / self.instructions

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        counts = [list(counts) for counts in self.counts]
        return {**asdict(self), "counts": counts, "instructions": self.instructions, "spread": self.spread}


@dataclass(frozen=True, slots=True, kw_only=True)
class CountReport:
    """What came of it, models within devices.

    Attributes:
        counts: Of all that at least one process has counted.
        failures: Of all that were not counted to the end.
    """

    counts: tuple[InstructionCount, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def worst(self) -> TinsmithError | None:
        """The failure with the highest exit code; None where all went well."""
        return worst_of(self.failures)

    def to_json(self) -> dict[str, Any]:
        """The document of ``tinsmith benchmark --instructions --format json``."""
        return {
            "instruction_counts": [count.to_json() for count in self.counts],
            "failures": [failure.to_json() for failure in self.failures],
        }


def count_instructions(
    artifacts: Sequence[Path],
    devices: Sequence[Device],
    plan: CountPlan | None = None,
    *,
    counter_of: Callable[[Device], Counter] = DeviceMeasurer,
) -> CountReport:
    """Count the instructions of artifacts on devices.

    Args:
        artifacts: .tflite or .onnx files.
        devices: From ``resolve_devices``.
        plan: How.
        counter_of: Makes what counts on a device.

    Returns:
        What was counted, and for what could not be: why. A device that goes away is asked no more, and what was counted
        before is kept.

    Raises:
        ModelLoadError: An artifact's file can't be read.
        UsageError: It is no artifact.
    """
    subjects = [subject_of(path) for path in artifacts]
    plan = plan or CountPlan()
    found = [tally for device in devices for tally in _tallies(device, subjects, plan, counter_of)]
    return CountReport(
        counts=tuple(_count(tally) for tally in found if tally.counted),
        failures=tuple(_failure(tally, tally.error) for tally in found if tally.error),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tally:
    """What came of one artifact on one device."""

    device: Device
    subject: Subject
    counted: Sequence[Counted] = ()
    error: TinsmithError | None = None


def _tallies(
    device: Device, subjects: Sequence[Subject], plan: CountPlan, counter_of: Callable[[Device], Counter]
) -> Iterator[_Tally]:
    lost: DeviceError | None = None
    with contextlib.closing(counter_of(device)) as counter:
        for subject in subjects:
            if lost:
                yield _Tally(device=device, subject=subject, error=lost)
                continue
            counted, error = _counted(counter, device, subject, plan)
            lost = error if isinstance(error, DeviceError) else None
            yield _Tally(device=device, subject=subject, counted=counted, error=error)


def _failure(tally: _Tally, error: TinsmithError) -> Failure:
    return Failure(
        artifact=tally.subject.path.name, device=tally.device.name, processes=len(tally.counted), error=error
    )


def _counted(
    counter: Counter, device: Device, subject: Subject, plan: CountPlan
) -> tuple[list[Counted], TinsmithError | None]:
    """What the processes have counted, up to one that fails."""
    counted: list[Counted] = []
    try:
        path = counter.prepare(subject, lambda _done, _size: None)
        opening = Opening(
            path=path,
            sha256=subject.sha256,
            engine=plan.engine or engine_there(device, subject.format),
            accelerator=plan.accelerator,
            time_limit_s=plan.time_limit_s,
        )
        for _ in range(plan.processes):
            # one by one: what came before an error is kept
            counted.append(counter.count(Count(opening=opening, runs=plan.runs, seed=plan.seed)))  # noqa: PERF401
    except TinsmithError as error:
        return counted, error
    return counted, None


def _count(tally: _Tally) -> InstructionCount:
    device, subject, first = tally.device, tally.subject, tally.counted[0]
    return InstructionCount(
        artifact=subject.path.name,
        artifact_sha256=subject.sha256,
        size_bytes=subject.size_bytes,
        device=device.name,
        profile=device.profile.name,
        engine=first.engine,
        engine_version=first.engine_version,
        method=first.method,
        emulated=device.profile.emulated,
        counts=tuple(one.counts for one in tally.counted),
    )
