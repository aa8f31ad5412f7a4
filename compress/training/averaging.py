"""The mean of a model's weights over the last steps of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WeightAverage"]


class WeightAverage:
    """Weights around which the last steps wander (Polyak & Juditsky 1992; Izmailov et al. 2018, SWA).

    Args:
        variables: Of the model, in its own order; what counts, such as a step number, is not averaged but the last.
        first: The first step that counts, from 0.
    """

    def __init__(self, variables: Sequence[Any], *, first: int) -> None:
        self._variables, self._first = list(variables), first
        self.numbers: list[Any] | None = None

    def take(self, step: int) -> None:
        """Count in what the variables hold after a step, from 0."""
        if step < self._first:
            return
        now = [np.array(variable.numpy()) for variable in self._variables]
        if self.numbers is None:
            self.numbers = now
            return
        share = 1 / (step - self._first + 1)
        self.numbers = [
            mean + (new - mean) * mean.dtype.type(share) if np.issubdtype(mean.dtype, np.floating) else new
            for mean, new in zip(self.numbers, now, strict=True)
        ]
