"""What came of a benchmark: measurements, and what could not be measured, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.runtime.errors import TinsmithError
    from tinsmith.runtime.measurement import Measurement

__all__ = ["Failure", "Report", "worst_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An artifact that was not measured to the end on a device.

    Attributes:
        artifact: The file's name.
        device: Its name.
        processes: How many processes had measured before.
        error: Why.
    """

    artifact: str
    device: str
    processes: int
    error: TinsmithError

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        error = self.error
        return {
            "artifact": self.artifact,
            "device": self.device,
            "processes": self.processes,
            "error": error.to_json(),
        }


def worst_of(failures: Sequence[Failure]) -> TinsmithError | None:
    """The failure with the highest exit code; None for none."""
    errors = [failure.error for failure in failures]
    return max(errors, key=lambda error: error.exit_code, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it, models within devices.

    Attributes:
        measurements: Of all that at least one process has measured.
        failures: Of all that were not measured to the end.
    """

    measurements: tuple[Measurement, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def worst(self) -> TinsmithError | None:
        """The failure with the highest exit code; None where all went well."""
        return worst_of(self.failures)

    @property
    def exit_code(self) -> int:
        """The highest of all failures', or 0."""
        return 0 if self.worst is None else self.worst.exit_code

    def to_json(self) -> dict[str, Any]:
        """The document of ``tinsmith benchmark --format json``."""
        return {
            "measurements": [measurement.to_json() for measurement in self.measurements],
            "failures": [failure.to_json() for failure in self.failures],
        }
