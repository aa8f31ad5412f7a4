"""What calibration finds: the range of values that each tensor takes on real samples.

Engines take ranges and know nothing of how they came about, so that another way to observe them changes no engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import DataError, ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MinMaxObserver", "Range", "Ranges", "no_samples"]


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


Ranges = Mapping[str, Range]


class MinMaxObserver:
    """Keeps the least and the greatest value of each tensor: constant memory, and no matter in which order.

    The plainest of the ways in Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference" (arXiv:1712.05877, section 3), and what TFLiteConverter does.
    """

    def __init__(self) -> None:
        self._ranges: dict[str, Range] = {}

    def observe(self, name: str, values: NDArray[np.generic]) -> None:
        """Take in what a tensor held in one run.

        Raises:
            ModelError: It held NaN or infinity.
        """
        if values.size:
            self.observe_range(name, float(values.min()), float(values.max()))

    def observe_range(self, name: str, low: float, high: float) -> None:
        """Take in the least and greatest value of one run; raises as ``observe``."""
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ModelError(
                f"tensor {name!r} becomes NaN or infinite on the calibration samples, so it has no range",
                hint="check that the samples are scaled as in training, or quantize to float16 or dynamic-int8",
            )
        seen = Range(low=low, high=high)
        self._ranges[name] = seen.merge(self._ranges[name]) if name in self._ranges else seen

    def ranges(self) -> Ranges:
        """What was observed so far.

        Raises:
            DataError: Nothing was.
        """
        if not self._ranges:
            raise no_samples()
        return dict(self._ranges)


def no_samples() -> DataError:
    """What to say when calibration has nothing to look at."""
    return DataError(
        "static quantization must see real samples, and there are none; tinsmith never calibrates on random numbers",
        hint="give samples with --data (100 to 500 suffice), or use dynamic-int8 or float16, which need none",
    )
