"""Metrics of numbers: mean absolute and mean squared error."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.metrics.metric import Metric, only_output
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinsmith.convert.data import Batch
    from tinsmith.convert.metrics.metric import Array, Floats

__all__ = ["mae", "mse"]


def mae() -> Metric:
    """Mean absolute error, in the unit of the targets."""
    return Metric(name="mae", more_is_better=False, tally=partial(_Mean, "mae", np.abs))


def mse() -> Metric:
    """Mean squared error, in the square of the targets' unit."""
    return Metric(name="mse", more_is_better=False, tally=partial(_Mean, "mse", np.square))


class _Mean:
    """The mean over samples of the mean over each sample's numbers."""

    def __init__(self, metric: str, error: Callable[[Floats], Floats], where: str) -> None:
        self._metric, self._error, self._where = metric, error, where
        self._samples = 0
        self._mean = self._deviation = 0.0

    @property
    def standard_error(self) -> float | None:
        """From the spread of the samples' errors; None for a single sample."""
        if self._samples < 2:
            return None
        return math.sqrt(self._deviation / (self._samples - 1) / self._samples)

    def update(self, outputs: Sequence[Array], batch: Batch) -> None:
        """See ``Tally``; mean and spread are merged as Chan, Golub and LeVeque (1983) do, which loses no digits."""
        answers = only_output(outputs, self._metric).astype(np.float64)
        errors = self._error(answers.reshape(len(answers), -1) - self._numbers(batch, answers)).mean(axis=1)
        mean, deviation, samples = float(errors.mean()), float(np.sum((errors - errors.mean()) ** 2)), len(errors)
        total, moved = self._samples + samples, mean - self._mean
        self._deviation += deviation + moved**2 * self._samples * samples / total
        self._mean += moved * samples / total
        self._samples = total

    def result(self) -> float:
        """See ``Tally``."""
        return self._mean

    def _numbers(self, batch: Batch, answers: Floats) -> Floats:
        """What should have been answered, float64 [samples, numbers]; whole numbers stand in the labels."""
        given = math.prod(answers.shape[1:])
        if batch.targets is not None:
            numbers = batch.targets.astype(np.float64)
        elif batch.labels is not None and given == 1:
            numbers = batch.labels.astype(np.float64)[:, None]
        elif batch.labels is not None:
            raise DataError(
                f"{self._metric} compares numbers, and {self._where} holds class labels for a model of {given} outputs",
                hint="judge a classifier by accuracy, top-5, auc or map; or save the numbers as y [samples, numbers]",
            )
        else:
            raise DataError(f"{self._where} has no labels, so there is no {self._metric}", hint="add y to the .npz")
        if numbers.shape[1] != given:
            raise DataError(
                f"{self._where} holds {numbers.shape[1]} numbers a sample, but the model gives {given}",
                hint="save y as [samples, numbers] as the model gives them",
            )
        return numbers
