"""What is known about one artifact."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

__all__ = ["Figures", "Timed", "changed"]


def changed(drop: float) -> str:
    """What a score has lost, 0 to 1, for people; below 0 it has gained."""
    return f"{'gained' if drop < 0 else 'lost'} {100 * abs(drop):.2f} points"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """How fast an artifact runs on one device, as it was measured there.

    Attributes:
        device: Its name.
        threads: CPU threads it ran on.
        median_ms: Of all processes together.
        low_ms: Lower end of its 95 % interval; None where too few processes were measured.
        high_ms: Upper end of the same.
        peak_memory_bytes: The largest resident size of a process that runs it, interpreter and engine included.
        placement: By unit, how many operators of each name it runs there; empty where nobody knows.
    """

    device: str
    threads: int
    median_ms: float
    low_ms: float | None
    high_ms: float | None
    peak_memory_bytes: int
    placement: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For reports and the store."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one artifact. What nobody has measured is None.

    Attributes:
        file_bytes: The file.
        zip_bytes: All its files, each deflated at level 9.
        flash_bytes: Weights and graph, with weights beside the file.
        score: Of the metric; None where nothing says what is right.
        drop: How much the score has lost against the source's, as ``Budget.max_drop`` counts it; below 0 it has gained.
        class_drop: The same of the class or slice that lost most.
        worst: Which class or slice that is.
        agreement: Share of samples on which it names the class that the source names, 0 to 1; None for other models.
        distance: Mean squared distance of its answers from the source's on a few samples.
        timed: On each device.
    """

    file_bytes: int
    zip_bytes: int
    flash_bytes: int
    score: float | None = None
    drop: float | None = None
    class_drop: float | None = None
    worst: str = ""
    agreement: float | None = None
    distance: float | None = None
    timed: tuple[Timed, ...] = ()

    @property
    def loss(self) -> float:
        """What its answers have lost, to compare artifacts by: of the score, or of agreement, or the distance."""
        if self.drop is not None:
            return self.drop
        return self.distance or 0.0 if self.agreement is None else 1 - self.agreement

    def on(self, device: str) -> Timed | None:
        """What was measured there; None where nothing was."""
        return next((timed for timed in self.timed if timed.device == device), None)

    def with_timed(self, timed: tuple[Timed, ...]) -> Self:
        """The same, measured on devices."""
        return replace(self, timed=timed)

    def to_json(self) -> dict[str, Any]:
        """For reports and the store."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        return cls(**{**said, "timed": tuple(Timed(**timed) for timed in said["timed"])})
