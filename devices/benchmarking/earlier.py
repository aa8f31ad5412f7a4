"""Results of earlier benchmarks, as ``benchmark -o result.json`` has written them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.fields import fields_of
from tinsmith.runtime.intervals import LEAST_PROCESSES
from tinsmith.runtime.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.devices.benchmarking.effort import Plan
    from tinsmith.devices.benchmarking.subject import Subject
    from tinsmith.devices.device import Device

__all__ = ["Earlier", "read_earlier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What a file holds.

    Attributes:
        path: Of the file.
        measurements: At least one.
        other_model: Whether the user means to compare different models.
    """

    path: Path
    measurements: tuple[Measurement, ...]
    other_model: bool = False

    def check(self, subjects: Sequence[Subject], devices: Sequence[Device], plan: Plan) -> None:
        """Find out before minutes of measuring what could not be compared after them.

        Raises:
            UsageError: It is of another model or device, or was measured in another way.
        """
        for device in devices:
            for subject in subjects:
                self._check_way(self.of(subject.path.name, subject.sha256, device.name), device, plan)

    def of(self, artifact: str, sha256: str, device: str) -> Measurement:
        """The newest one of this artifact on this device.

        Args:
            artifact: The file's name, which tells between several where the user means to compare different models.
            sha256: Of the file.
            device: Its name.

        Raises:
            UsageError: It has none.
        """
        there = [measurement for measurement in self.measurements if measurement.device == device]
        if not there:
            known = ", ".join(dict.fromkeys(measurement.device for measurement in self.measurements))
            raise UsageError(
                f"--against {self.path}: it holds no measurement of the device {device}, but of {known}",
                hint=f"measure it there first: tinsmith benchmark MODEL -d {device} -o {self.path}",
            )
        same = [measurement for measurement in there if measurement.artifact_sha256 == sha256]
        if not same and not self.other_model:
            known = ", ".join(f"{m.artifact} ({m.artifact_sha256[:12]}…)" for m in there)
            raise UsageError(
                f"--against {self.path}: it is of another model on {device}: of {known}, "
                f"and not of {artifact} ({sha256[:12]}…)",
                hint="to compare different models on purpose, say --force other-model, or better --against MODEL",
            )
        return max(same or self._others(there, artifact), key=lambda measurement: measurement.taken_at)

    def _others(self, there: list[Measurement], artifact: str) -> list[Measurement]:
        found = [measurement for measurement in there if measurement.artifact == artifact] or there
        if len({measurement.artifact_sha256 for measurement in found}) > 1:
            known = ", ".join(dict.fromkeys(measurement.artifact for measurement in found))
            raise UsageError(
                f"--against {self.path}: it holds several models, none of them called {artifact}: {known}",
                hint="give a file that holds the one to compare with",
            )
        return found

    def _check_way(self, earlier: Measurement, device: Device, plan: Plan) -> None:
        threads = plan.threads or device.profile.threads
        for what, was, will in (("threads", earlier.threads, threads), ("scenario", earlier.scenario, plan.scenario)):
            if was != will:
                raise UsageError(
                    f"--against {self.path}: {earlier.artifact} on {device.name} was measured with {what} {was}, "
                    f"and will be with {will}",
                    hint=f"say --{what} {was}",
                )
        if len(earlier.processes) < LEAST_PROCESSES:
            raise UsageError(
                f"--against {self.path}: {earlier.artifact} on {device.name} was measured by "
                f"{len(earlier.processes)} process(es), and an interval takes {LEAST_PROCESSES}",
                hint="measure it again with --processes 5 or more",
            )


def read_earlier(path: Path, *, other_model: bool = False) -> Earlier:
    """Read a result.

    Raises:
        UsageError: It can't be read, is damaged, or holds no measurement.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="tinsmith benchmark MODEL -o FILE") from error
    fields = fields_of(content, of=str(path))
    fields.schema(1)
    if "measurements" not in fields:
        raise UsageError(
            f"{path} is no result of a benchmark: it lacks measurements", hint="tinsmith benchmark MODEL -o FILE"
        )
    measurements = tuple(Measurement.read(measurement) for measurement in fields.many("measurements"))
    if not measurements:
        raise UsageError(f"{path} holds no measurement", hint="tinsmith benchmark MODEL -o FILE")
    return Earlier(path=path, measurements=measurements, other_model=other_model)
