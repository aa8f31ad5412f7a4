"""How good a model's answers are slice by slice, such as camera by camera."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.data import Batch
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.metrics import Metric, Tally

    Array = NDArray[np.generic]

__all__ = ["FEW", "SliceScore", "SliceTallies", "share_error"]

# Below this, a share says little, and its error is no bell curve.
FEW = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceScore:
    """How good the answers to the samples of one slice were.

    Attributes:
        column: What the samples are cut by, such as ``camera``.
        name: Of the slice.
        samples: In it, at least 1.
        score: Of the metric on them; None where it has none, such as an AUC where all are of one class.
        standard_error: How far another draw of as many samples would move the score; None where there is no formula.
        correct: On how many of them the highest score stood at the label; None for what is no classifier.
    """

    column: str
    name: str
    samples: int
    score: float | None
    standard_error: float | None
    correct: int | None

    @property
    def accuracy(self) -> float | None:
        """Share of its samples that were right, 0 to 1; None for what is no classifier."""
        return None if self.correct is None else self.correct / self.samples

    @property
    def has_few(self) -> bool:
        """Whether it is so small that its score says little by itself."""
        return self.samples < FEW

    def change_from(self, before: SliceScore, metric: Metric) -> float | None:
        """How much better it is than before, by the metric or else by accuracy; None where it has neither."""
        if self.score is not None and before.score is not None:
            return metric.merit(self.score) - metric.merit(before.score)
        if self.accuracy is not None and before.accuracy is not None:
            return self.accuracy - before.accuracy
        return None

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "column": self.column,
            "slice": self.name,
            "samples": self.samples,
            "few": self.has_few,
            "score": self.score,
            "standard_error": self.standard_error,
            "correct": self.correct,
            "accuracy": self.accuracy,
        }


def share_error(right: int, samples: int) -> float:
    """The standard error of a share, which is not zero where all or none are right.

    Two right and two wrong samples are added, as Agresti and Coull (1998) do ("Approximate Is Better than 'Exact' for
    Interval Estimation of Binomial Proportions"): three right of three is no certainty.
    """
    share = (right + 2) / (samples + 4)
    return math.sqrt(share * (1 - share) / (samples + 4))


class SliceTallies:
    """Counts each slice by itself while batches come by in the order of their dataset.

    Args:
        dataset: Where the batches come from.
        metric: What judges.
    """

    def __init__(self, dataset: Dataset, metric: Metric) -> None:
        self._columns = dataset.slices
        self._where, self._metric = dataset.name, metric
        self._tallies: dict[tuple[int, int], Tally] = {}
        self._passed = 0

    def update(self, outputs: Sequence[Array], batch: Batch) -> None:
        """Take in the next batch; raises as ``Tally``."""
        size = len(outputs[0])
        for number, column in enumerate(self._columns):
            places = column.places[self._passed : self._passed + size]
            for place in np.unique(places).tolist():
                tally = self._tallies.get((number, place))
                if tally is None:
                    tally = self._metric.tally(f"{column.column}={column.names[place]} of {self._where}")
                    self._tallies[number, place] = tally
                rows = np.flatnonzero(places == place)
                tally.update([array[rows] for array in outputs], _part(batch, rows))
        self._passed += size

    def scores(self, right: NDArray[np.bool_] | None) -> tuple[SliceScore, ...]:
        """Column by column, slice by slice in the order of their names.

        Args:
            right: Whether each sample was, bool [samples]; None for what is no classifier.
        """
        return tuple(self._score(*key, right) for key in sorted(self._tallies))

    def _score(self, number: int, place: int, right: NDArray[np.bool_] | None) -> SliceScore:
        column, tally = self._columns[number], self._tallies[number, place]
        members = column.places == place
        samples = int(members.sum())
        score = _result(tally)
        error = tally.standard_error if score is not None else None
        if score is not None and self._metric.counts_samples:
            error = share_error(round(score * samples), samples)
        return SliceScore(
            column=column.column,
            name=column.names[place],
            samples=samples,
            score=score,
            standard_error=error,
            correct=None if right is None else int(right[members].sum()),
        )


def _part(batch: Batch, rows: NDArray[np.intp]) -> Batch:
    return Batch(
        feeds={name: array[rows] for name, array in batch.feeds.items()},
        labels=None if batch.labels is None else batch.labels[rows],
        targets=None if batch.targets is None else batch.targets[rows],
    )


def _result(tally: Tally) -> float | None:
    """None where the metric has no figure for these samples alone."""
    try:
        score = tally.result()
    except DataError:
        return None
    return score if math.isfinite(score) else None
