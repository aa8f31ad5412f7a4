"""A metric of the user's: ``package.module:function``."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.metrics.metric import Metric
from tinsmith.convert.references import find_function
from tinsmith.runtime.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinsmith.convert.data import Batch
    from tinsmith.convert.metrics.metric import Array

__all__ = ["custom"]


def custom(reference: str) -> Metric:
    """A metric that calls a function of the user with ``(answers, truth)``, and takes the number that it gives.

    ``answers`` is the model's output with all samples on axis 0, or a list of outputs where it has several; ``truth``
    is the labels, int64 [samples], or the targets, float32 [samples, numbers], where the labels are no class numbers.
    More is better, unless the function has an attribute ``more_is_better`` that is False. The present folder is
    searched for its module first.

    Raises:
        UsageError: There is no such function.
    """
    function = find_function(reference, hint="let it take (answers, truth) and give a number")
    better = bool(getattr(function, "more_is_better", True))
    return Metric(name=reference, more_is_better=better, tally=partial(_Calling, function, reference))


class _Calling:
    """Keeps all answers, and calls the function once."""

    standard_error: float | None = None

    def __init__(self, function: Callable[[Any, Any], Any], reference: str, where: str) -> None:
        self._function, self._reference, self._where = function, reference, where
        self._answers: list[Sequence[Array]] = []
        self._truths: list[Array] = []

    def update(self, outputs: Sequence[Array], batch: Batch) -> None:
        """See ``Tally``."""
        truth = batch.targets if batch.labels is None else batch.labels
        if truth is None:
            raise DataError(
                f"{self._where} has no labels, so {self._reference} has nothing to judge by", hint="add y to the .npz"
            )
        self._answers.append(outputs)
        self._truths.append(truth)

    def result(self) -> float:
        """See ``Tally``."""
        answers = [np.concatenate(parts) for parts in zip(*self._answers, strict=True)]
        try:
            given = self._function(answers[0] if len(answers) == 1 else answers, np.concatenate(self._truths))
            score = float(given)
        except Exception as error:  # the user's function may do anything
            raise DataError(
                f"{self._reference} failed: {type(error).__name__}: {first_line(error)}",
                hint="it is called with (answers, truth), and gives one number",
            ) from error
        if not math.isfinite(score):
            raise DataError(f"{self._reference} gave {score}, which is no score", hint="let it give a finite number")
        return score
