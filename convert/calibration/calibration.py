"""What one look at the samples has found, from which every method takes its ranges without looking again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.convert.calibration.methods import Method, MinMax

if TYPE_CHECKING:
    from tinsmith.convert.calibration.ranges import Ranges

__all__ = ["Calibration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The values that the tensors of one float model took.

    Attributes:
        samples: How many were run, at least 1.
        extremes: The least and the greatest value of each tensor, by the name that the engine knows it by.
    """

    samples: int
    extremes: Ranges

    def ranges(self, method: Method) -> Ranges:
        """One range a tensor."""
        match method:
            case MinMax():
                return dict(self.extremes)
