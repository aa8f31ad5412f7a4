"""Models times devices: each in several processes, in turns, and what was measured is kept whatever happens."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

from tinsmith.devices.benchmarking.effort import Plan
from tinsmith.devices.benchmarking.measurer import DeviceMeasurer, engine_there
from tinsmith.devices.benchmarking.report import Failure, Report
from tinsmith.devices.benchmarking.schedule import interleaved
from tinsmith.devices.benchmarking.subject import subject_of
from tinsmith.runtime.errors import DeviceError, TinsmithError
from tinsmith.runtime.measurement import Measurement
from tinsmith.runtime.measuring.requests import Measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tinsmith.devices.benchmarking.measurer import Measurer
    from tinsmith.devices.benchmarking.subject import Subject
    from tinsmith.devices.device import Device
    from tinsmith.runtime.measurement import ProcessRun
    from tinsmith.runtime.measuring.measure import Measured

__all__ = ["Watching", "benchmark", "benchmark_here"]


class Watching(Protocol):
    """Told how a benchmark goes on."""

    def sent(self, device: str, done_bytes: int, size_bytes: int) -> None:
        """So many bytes of so many are on a device."""
        ...

    def measured(self, device: str, artifact: str, number: int, processes: int) -> None:
        """So many processes of so many have measured an artifact on a device."""
        ...


class _Silent:
    def sent(self, device: str, done_bytes: int, size_bytes: int) -> None:
        """Nobody watches."""

    def measured(self, device: str, artifact: str, number: int, processes: int) -> None:
        """Nobody watches."""


def benchmark(
    artifacts: Sequence[Path],
    devices: Sequence[Device],
    plan: Plan | None = None,
    *,
    watch: Watching | None = None,
    measurer_of: Callable[[Device], Measurer] = DeviceMeasurer,
) -> Report:
    """Measure artifacts on devices.

    Args:
        artifacts: .tflite or .onnx files.
        devices: From ``resolve_devices``.
        plan: How; quick unless given.
        watch: Told how it goes on.
        measurer_of: Makes what measures on a device.

    Returns:
        What was measured, and for what could not be: why. A device that goes away keeps no other from being measured,
        and what it measured before is kept.

    Raises:
        ModelLoadError: An artifact's file can't be read.
        UsageError: It is no artifact.
    """
    subjects = [subject_of(path) for path in artifacts]
    plan, watch = plan or Plan(), watch or _Silent()
    with ExitStack() as stack:
        places = [_place(device, stack, measurer_of) for device in devices]
        series = [_Series(place=place, subject=subject, plan=plan) for place in places for subject in subjects]
        for number, one in interleaved(series, plan.effort.processes):
            one.go_on(number, watch)
    return Report(
        measurements=tuple(one.measurement() for one in series if one.measured),
        failures=tuple(one.failure() for one in series if one.error),
    )


def benchmark_here(artifact: Path, plan: Plan | None = None) -> Measurement:
    """Measure one artifact on this machine.

    Raises:
        TinsmithError: What kept it from being measured to the end.
    """
    from tinsmith.devices.inventory import local_device

    report = benchmark([artifact], [local_device()], plan)
    if report.worst:
        raise report.worst
    return report.measurements[0]


@dataclass(slots=True, kw_only=True)
class _Place:
    """A device while it is measured on.

    Attributes:
        device: Which.
        measurer: Measures there.
        lost: Why it is no longer asked; None while it is.
    """

    device: Device
    measurer: Measurer
    lost: DeviceError | None = None


@dataclass(slots=True, kw_only=True)
class _Series:
    """The processes that measure one artifact on one device."""

    place: _Place
    subject: Subject
    plan: Plan
    began: str = ""
    path: str = ""
    measured: list[Measured] = field(default_factory=list)
    error: TinsmithError | None = None

    def go_on(self, number: int, watch: Watching) -> None:
        """One more process, unless it has failed, or the device is lost."""
        self.error = self.error or self.place.lost
        if self.error:
            return
        try:
            self.measured.append(self._process(number, watch))
        except DeviceError as error:
            self.place.lost = self.error = error
        except TinsmithError as error:
            self.error = error
        else:
            watch.measured(self._device.name, self.subject.path.name, len(self.measured), self.plan.effort.processes)

    def measurement(self) -> Measurement:
        """What was measured so far; at least one process must have."""
        first, device = self.measured[0], self._device
        return Measurement(
            artifact=self.subject.path.name,
            artifact_sha256=self.subject.sha256,
            size_bytes=self.subject.size_bytes,
            device=device.name,
            profile=device.profile.name,
            engine=first.engine,
            engine_version=first.engine_version,
            accelerator=first.accelerator,
            placement=first.placement,
            threads=self._threads,
            seed=self.plan.seed,
            scenario=self.plan.scenario,
            effort=self.plan.effort.name,
            taken_at=self.began,
            environment=_environment(first),
            processes=self._processes,
            lost="" if self.error is None else self.error.message,
            emulated=device.profile.emulated,
        )

    def failure(self) -> Failure:
        """Why it was not measured to the end."""
        if self.error is None:
            message = "nothing failed"
            raise ValueError(message)
        name = self._device.name
        return Failure(artifact=self.subject.path.name, device=name, processes=len(self.measured), error=self.error)

    @property
    def _device(self) -> Device:
        return self.place.device

    @property
    def _threads(self) -> int:
        return self.plan.threads or self._device.profile.threads

    @property
    def _processes(self) -> tuple[ProcessRun, ...]:
        return tuple(measured.process for measured in self.measured)

    def _process(self, number: int, watch: Watching) -> Measured:
        if not self.path:
            self.began = datetime.now(timezone.utc).isoformat(timespec="seconds")
            device = self._device.name
            self.path = self.place.measurer.prepare(self.subject, lambda done, size: watch.sent(device, done, size))
        return self.place.measurer.measure(self._request(number))

    def _request(self, number: int) -> Measure:
        plan = self.plan
        return Measure(
            path=self.path,
            sha256=self.subject.sha256,
            amount=plan.effort.amount,
            engine=plan.engine or engine_there(self._device, self.subject.format),
            accelerator=plan.accelerator,
            threads=self._threads,
            seed=plan.seed,
            scenario=plan.scenario,
            operators=plan.operators and number == 0,
            time_limit_s=plan.time_limit_s,
        )


def _place(device: Device, stack: ExitStack, measurer_of: Callable[[Device], Measurer]) -> _Place:
    return _Place(device=device, measurer=stack.enter_context(contextlib.closing(measurer_of(device))))


def _environment(measured: Measured) -> dict[str, str]:
    machine = measured.machine
    return {
        "system": machine.system,
        "machine": machine.machine,
        "cpu": machine.cpu,
        "cores": str(machine.cores),
        "python": machine.python,
    }
