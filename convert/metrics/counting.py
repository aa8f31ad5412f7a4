"""Metrics that count samples: accuracy and top-k."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.metrics.metric import Metric, labels_of, scores_of
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.data import Batch
    from tinsmith.convert.metrics.metric import Array, Floats

__all__ = ["accuracy", "ranks", "top"]


def accuracy() -> Metric:
    """Share of samples whose label has the highest score; of equal scores, the first class counts as named."""
    return _share("accuracy", 1)


def top(k: int) -> Metric:
    """Share of samples whose label is among the ``k`` highest scores; of equal scores, the first classes count."""
    return _share(f"top-{k}", k)


def ranks(scores: Floats, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes stand before the label.

    Args:
        scores: float64 [samples, classes].
        labels: int64 [samples].

    Returns:
        From 0; int64 [samples].
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    first = np.arange(scores.shape[1])[None, :] < labels[:, None]
    before: NDArray[np.int64] = np.sum((scores > own) | ((scores == own) & first), axis=1)
    return before


def _share(name: str, k: int) -> Metric:
    return Metric(name=name, more_is_better=True, counts_samples=True, in_points=True, tally=partial(_Count, name, k))


class _Count:
    """Counts the samples whose label is among the ``k`` first."""

    def __init__(self, metric: str, k: int, where: str) -> None:
        self._metric, self._k, self._where = metric, k, where
        self._samples = self._right = 0

    @property
    def standard_error(self) -> float | None:
        """Binomial."""
        share = self.result()
        return math.sqrt(share * (1 - share) / self._samples)

    def update(self, outputs: Sequence[Array], batch: Batch) -> None:
        """See ``Tally``."""
        labels = labels_of(batch, self._metric, self._where)
        scores = scores_of(outputs, labels, self._metric, self._where)
        if self._k >= scores.shape[1]:
            raise DataError(
                f"{self._metric} of {scores.shape[1]} classes is always right", hint="choose a smaller k, or accuracy"
            )
        self._samples += len(labels)
        self._right += int(np.sum(ranks(scores, labels) < self._k))

    def result(self) -> float:
        """See ``Tally``."""
        return self._right / self._samples
