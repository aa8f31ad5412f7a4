"""How far ranges still move with the number of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.convert.calibration.thresholds import range_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.convert.calibration.methods import Method
    from tinsmith.convert.calibration.ranges import Range
    from tinsmith.convert.calibration.statistics import Seen

__all__ = ["Stability", "movement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How far the ranges of all samples lie from those of every other sample.

    Attributes:
        samples: All.
        movements: By tensor: how far an end moves at most from either half of the samples to all, as a share of the
            range's width (0 included). Empty where there is one sample only, which has no halves.
    """

    samples: int
    movements: Mapping[str, float]

    @property
    def worst(self) -> tuple[str, float] | None:
        """The tensor that moves the most, and how far; None where nothing can be said."""
        return max(self.movements.items(), key=lambda entry: entry[1]) if self.movements else None

    def __str__(self) -> str:
        if self.worst is None:
            return "one sample says nothing about how stable its ranges are"
        name, moved = self.worst
        return f"ranges moved by at most {moved:.1%} ({name}) between {self.samples // 2} and {self.samples} samples"


def movement(seen: Seen, whole: Range, method: Method) -> float:
    """How far an end of a range moves at most from either half of the samples to all of them.

    Args:
        seen: The tensor, with both halves.
        whole: Its range on all samples.
        method: That gave the range.

    Returns:
        A share of the range's width; 0 for a tensor that is 0 everywhere.
    """
    halves = [range_of(half, method) for half in seen.halves]
    moved = max(max(abs(half.low - whole.low), abs(half.high - whole.high)) for half in halves)
    return moved / whole.width if whole.width else 0.0
