"""Watches the tensors of a model run by run, in constant memory."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.calibration.histogram import Histogram
from tinsmith.convert.calibration.ranges import Range
from tinsmith.convert.calibration.statistics import Average, Seen, Statistics
from tinsmith.runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from tinsmith.convert.calibration.feeding import Portion
    from tinsmith.convert.calibration.methods import Detail

__all__ = ["Observer"]

logger = logging.getLogger(__name__)


class Observer:
    """Keeps statistics of each tensor.

    Args:
        detail: What to keep of each.
    """

    def __init__(self, detail: Detail) -> None:
        self._detail = detail
        self._halves: tuple[dict[str, Statistics], dict[str, Statistics]] = ({}, {})

    def observe(self, name: str, values: NDArray[np.generic], portion: Portion) -> None:
        """Take in what a tensor held in one run.

        Where axis 0 keeps the samples apart, those that only filled the portion up do not count.

        Args:
            name: Of the tensor.
            values: Real numbers of any shape. No values say nothing.
            portion: What the model was run on.

        Raises:
            ModelError: It held NaN or infinity.
        """
        if not values.size:
            return
        rows = _by_sample(np.asarray(values, dtype=np.float32), portion)
        lows, highs = rows.min(axis=1), rows.max(axis=1)
        extremes = Range(low=float(lows.min()), high=float(highs.max()))
        if not (math.isfinite(extremes.low) and math.isfinite(extremes.high)):
            raise ModelError(
                f"tensor {name!r} becomes NaN or infinite on the calibration samples, so it has no range",
                hint="check that the samples are scaled as in training, or quantize to float16 or dynamic-int8",
            )
        histogram = Histogram.of(rows, extremes.low, extremes.high) if self._detail == "histograms" else None
        average = Average.of(lows.astype(np.float64), highs.astype(np.float64))
        seen = Statistics(extremes=extremes, average=average, histogram=histogram)
        half = self._halves[portion.odd]
        half[name] = half[name].then(seen) if name in half else seen

    def seen(self, watched: Iterable[str], inputs: Iterable[str] = ()) -> Mapping[str, Seen]:
        """What was observed, tensor by tensor.

        Args:
            watched: The tensors that must have been.
            inputs: Those of them that samples go into; a warning says which held nothing but zeros.

        Raises:
            ModelError: One of them held no value in any run.
        """
        even, odd = self._halves
        found: dict[str, Seen] = {}
        for name in watched:
            if name not in even and name not in odd:
                raise ModelError(
                    f"tensor {name!r} is never reached: it held no value on any calibration sample, so it has no range",
                    hint="add samples that take the model there, or use dynamic-int8 or float16, which need no ranges",
                )
            found[name] = Seen(even=even.get(name), odd=odd.get(name))
        for name in inputs:
            if name in found and found[name].whole.extremes == Range(low=0.0, high=0.0):
                logger.warning("input %s is 0 in every calibration sample: ranges found on them mean nothing", name)
        return found


def _by_sample(values: NDArray[np.float32], portion: Portion) -> NDArray[np.float32]:
    """One row a sample where axis 0 allows it; else all in one row."""
    if values.ndim and values.shape[0] and values.shape[0] % portion.length == 0:
        return values.reshape(portion.length, -1)[: portion.samples]
    return values.reshape(1, -1)
