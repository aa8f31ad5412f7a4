"""What all metrics have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tinsmith.convert.predictors import class_scores
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.data import Batch

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]

__all__ = ["Metric", "Tally", "labels_of", "only_output", "scores_of"]


class Tally(Protocol):
    """Adds batches up to one score."""

    @property
    def standard_error(self) -> float | None:
        """How far another draw of as many samples would move the score; None where there is no formula."""
        ...

    def update(self, outputs: Sequence[Array], batch: Batch) -> None:
        """Take in a batch.

        Args:
            outputs: What the model answered: one array an output, samples on axis 0.
            batch: What it was asked, with labels or targets.

        Raises:
            DataError: The metric does not fit the outputs, or the labels.
        """
        ...

    def result(self) -> float:
        """The score of all batches, of which there was at least one.

        Raises:
            DataError: There is none for these samples, such as the AUC of a single class.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One way to judge answers.

    Attributes:
        name: As ``--metric`` takes it.
        more_is_better: False for errors.
        tally: Begins to count; takes what to call the samples in messages.
        counts_samples: Whether the score is a share of the samples, which is shown in percent.
        in_points: Whether the score lies within 0 to 1, so that a difference is one of points, 0.01 each.
    """

    name: str
    more_is_better: bool
    tally: Callable[[str], Tally]
    counts_samples: bool = False
    in_points: bool = False

    def merit(self, score: float) -> float:
        """The score so turned that more is better."""
        return score if self.more_is_better else -score

    def text(self, score: float) -> str:
        """The score for people."""
        return f"{score:.2%}" if self.counts_samples else f"{score:.4g}"

    def score(self, outputs: Sequence[Array], batch: Batch, *, where: str = "the samples") -> float:
        """Judge answers that are there at once; raises as ``Tally``."""
        tally = self.tally(where)
        tally.update(outputs, batch)
        return tally.result()


def only_output(outputs: Sequence[Array], metric: str) -> Array:
    """The model's single output; raises ``DataError`` where it has several."""
    if len(outputs) != 1:
        raise DataError(
            f"{metric} needs a model with one output, and this model has {len(outputs)}",
            hint="judge several outputs together with a function of your own: --metric module:function",
        )
    return outputs[0]


def labels_of(batch: Batch, metric: str, where: str) -> NDArray[np.int64]:
    """The class number of each sample, int64 [samples].

    Raises:
        DataError: The samples have none.
    """
    if batch.labels is not None:
        return batch.labels.astype(np.int64)
    if batch.targets is not None:
        raise DataError(
            f"{where} has numbers and no class labels, so there is no {metric}",
            hint="judge a regression by mae or mse, and several truths a sample by map or auc: --metric",
        )
    raise DataError(f"{where} has no labels, so there is no {metric}", hint="add y to the .npz")


def scores_of(outputs: Sequence[Array], labels: NDArray[np.int64], metric: str, where: str) -> Floats:
    """The score of each class, float64 [samples, classes], one for each label there is.

    Raises:
        DataError: The model gives no scores, or knows fewer classes than the labels.
    """
    scores = class_scores(list(outputs))
    if scores is None:
        raise DataError(
            f"{metric} needs a model with one output of class scores, and this model has none",
            hint="`tinsmith inspect MODEL` shows what it gives; mae and mse judge numbers",
        )
    if labels.max() >= scores.shape[1]:
        raise DataError(f"{where} holds the label {labels.max()}, but the model knows {scores.shape[1]} classes")
    return scores
