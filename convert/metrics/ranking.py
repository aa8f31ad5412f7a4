"""Metrics of how well scores put the right samples first: area under the ROC curve, and average precision.

Class labels are judged one class against all others. Classes without a sample, or without a sample of any other class,
have no such figure and are left out of the mean.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.metrics.metric import Metric, labels_of, only_output
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.data import Batch
    from tinsmith.convert.metrics.metric import Array, Floats

    Truth = NDArray[np.bool_]

__all__ = ["auc", "average_precision", "mean_average_precision", "roc_area"]


def auc() -> Metric:
    """Area under the ROC curve: of two classes that of the second one, of more the mean over the classes."""
    return Metric(name="auc", more_is_better=True, in_points=True, tally=partial(_Ranking, "auc", roc_area))


def mean_average_precision() -> Metric:
    """Mean over the classes of the average precision."""
    return Metric(name="map", more_is_better=True, in_points=True, tally=partial(_Ranking, "map", average_precision))


def roc_area(scores: Floats, truth: Truth) -> float:
    """The share of pairs of a right and a wrong sample in which the right one scores higher; ties count half.

    That is the statistic of Mann and Whitney (1947), from the ranks of the scores, those of equal scores averaged.

    Args:
        scores: float64 [samples].
        truth: bool [samples], with both values.
    """
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    right, wrong = int(truth.sum()), int((~truth).sum())
    return float((ranks[truth].sum() - right * (right + 1) / 2) / (right * wrong))


def average_precision(scores: Floats, truth: Truth) -> float:
    """The mean of the precisions at each right sample, thresholds put between different scores only.

    Not interpolated: the sum over thresholds of (recall gained) times (precision there).

    Args:
        scores: float64 [samples].
        truth: bool [samples], with at least one right one.
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(truth[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision = found[last] / (last + 1)
    gained = np.diff(found[last], prepend=0)
    return float(np.sum(gained * precision) / found[-1])


class _Ranking:
    """Keeps all scores and truths; both metrics need the order of all samples."""

    standard_error: float | None = None

    def __init__(self, metric: str, figure: Callable[[Floats, Truth], float], where: str) -> None:
        self._metric, self._figure, self._where = metric, figure, where
        self._scores: list[Floats] = []
        self._labels: list[NDArray[np.int64]] = []
        self._truths: list[Truth] = []

    def update(self, outputs: Sequence[Array], batch: Batch) -> None:
        """See ``Tally``."""
        scores = _columns(only_output(outputs, self._metric), self._metric)
        if batch.labels is None and batch.targets is not None:
            self._truths.append(self._truth(batch.targets, scores.shape[1]))
        else:
            labels = labels_of(batch, self._metric, self._where)
            classes = max(2, scores.shape[1])
            if labels.max() >= classes:
                raise DataError(f"{self._where} holds the label {labels.max()}, but the model knows {classes} classes")
            self._labels.append(labels)
        self._scores.append(scores)

    def result(self) -> float:
        """See ``Tally``."""
        scores = np.concatenate(self._scores)
        if self._truths:
            truth = np.concatenate(self._truths)
        else:
            scores, truth = self._one_against_all(scores, np.concatenate(self._labels))
        judged = [
            self._figure(scores[:, at], truth[:, at])
            for at in range(truth.shape[1])
            if truth[:, at].any() and not truth[:, at].all()
        ]
        if not judged:
            raise DataError(f"{self._where} holds one class alone, so there is no {self._metric}")
        return float(np.mean(judged))

    def _one_against_all(self, scores: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Truth]:
        """Scores and truth, a column a class; two classes have one AUC, that of the second."""
        if scores.shape[1] > 2:
            return scores, labels[:, None] == np.arange(scores.shape[1])
        second = scores[:, -1] if _are_probabilities(scores) else scores[:, 1] - scores[:, 0]
        if self._metric == "auc":
            return second[:, None], (labels == 1)[:, None]
        return np.stack([-second, second], axis=1), labels[:, None] == np.arange(2)

    def _truth(self, targets: NDArray[np.float32], classes: int) -> Truth:
        if targets.shape[1] != classes:
            raise DataError(
                f"{self._where} holds {targets.shape[1]} truths a sample, but the model gives {classes} scores"
            )
        if not np.isin(targets, (0, 1)).all():
            raise DataError(
                f"{self._metric} needs classes or truths of 0 and 1, and {self._where} holds other numbers",
                hint="judge a regression by mae or mse",
            )
        return np.equal(targets, 1)


def _columns(output: Array, metric: str) -> Floats:
    """Scores, float64 [samples, classes]; a single column is the score of the second of two classes."""
    if output.ndim < 1 or any(n != 1 for n in output.shape[1:-1]):
        raise DataError(f"{metric} needs class scores, and this model gives {list(output.shape[1:])} numbers a sample")
    return output.reshape(len(output), -1).astype(np.float64)


def _are_probabilities(scores: Floats) -> bool:
    """Whether the second column says it all; two logits mean something only as their difference."""
    return scores.shape[1] == 1 or bool(np.all((scores >= 0) & (scores <= 1)))
