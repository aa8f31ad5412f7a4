"""What calibration finds: the range of values that each tensor takes on real samples.

Engines take ranges and know nothing of how they came about, so that another way to observe them changes no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinsmith.runtime.errors import DataError

__all__ = ["Range", "Ranges", "no_samples"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that a tensor took; low <= high, both finite.

    Attributes:
        low: The least.
        high: The greatest.
    """

    low: float
    high: float

    def merge(self, other: Range) -> Range:
        """The least range that holds both."""
        return Range(low=min(self.low, other.low), high=max(self.high, other.high))

    @property
    def width(self) -> float:
        """Of the range and 0, which every grid of integers must have."""
        return max(self.high, 0.0) - min(self.low, 0.0)


Ranges = Mapping[str, Range]


def no_samples() -> DataError:
    """What to say when calibration has nothing to look at."""
    return DataError(
        "static quantization must see real samples, and there are none; tinsmith never calibrates on random numbers",
        hint="give samples with --data (100 to 500 suffice), or use dynamic-int8 or float16, which need none",
    )
