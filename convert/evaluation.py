"""How good a model's answers are: one score, one a slice, and for classifiers how often each class was right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.metrics import metric_for, metric_named
from tinsmith.convert.model import identify
from tinsmith.convert.predictors import class_scores, opened_predictor, run_samples
from tinsmith.convert.slice_scores import SliceScore, SliceTallies
from tinsmith.runtime.errors import DataError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.data import Batch, Dataset
    from tinsmith.convert.metrics import Metric
    from tinsmith.convert.predictors import Predictor

    Array = NDArray[np.generic]

__all__ = ["BATCH", "ClassScore", "Evaluation", "Judge", "evaluate", "evaluate_models"]

BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How often the samples of one class were right.

    Attributes:
        number: The class.
        name: The same for people; the number where names are not known.
        samples: That have this label, at least 1.
        correct: On how many of them the highest score stood at the label.
    """

    number: int
    name: str
    samples: int
    correct: int

    @property
    def accuracy(self) -> float:
        """Share of its samples that were right, 0 to 1: the recall of the class."""
        return self.correct / self.samples

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "class": self.number,
            "name": self.name,
            "samples": self.samples,
            "correct": self.correct,
            "accuracy": self.accuracy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How good a model's answers are.

    Attributes:
        data: What the samples are called.
        samples: How many were run.
        metric: What judged them.
        score: Of the metric.
        standard_error: How far another draw of as many samples would move the score; None where there is no formula.
        correct: On how many the highest score stood at the label; None for what is no classifier of these labels.
        answers: The class it named, one a sample; kept so that two models can be compared. Empty as above.
        classes: One a class that has samples, by number. Empty as above.
        slices: One a slice that has samples, column by column; empty where the samples say of none.
    """

    data: str
    samples: int
    metric: Metric
    score: float
    standard_error: float | None
    correct: int | None
    answers: tuple[int, ...]
    classes: tuple[ClassScore, ...]
    slices: tuple[SliceScore, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of samples that were right, 0 to 1; raises ``DataError`` for what is no classifier."""
        if self.correct is None:
            raise DataError(f"there is no accuracy: {self.metric.name} judged something else than a classifier")
        return self.correct / self.samples

    @property
    def worst_classes(self) -> tuple[ClassScore, ...]:
        """Classes with the least accuracy first; among equals the one with more samples."""
        return tuple(sorted(self.classes, key=lambda found: (found.accuracy, -found.samples, found.number)))

    def lost_by_class(self, before: Evaluation) -> tuple[tuple[ClassScore, float], ...]:
        """Each class with how far its accuracy lies above another evaluation's, the largest loss first.

        Args:
            before: On the same samples; nothing is compared where it names no classes.
        """
        was = {found.number: found.accuracy for found in before.classes}
        changes = [(found, found.accuracy - was[found.number]) for found in self.classes if found.number in was]
        return tuple(sorted(changes, key=lambda change: (change[1], change[0].accuracy, change[0].number)))

    @property
    def worst_slices(self) -> tuple[SliceScore, ...]:
        """Slices with the worst score first, those without one last; among equals the one with more samples."""

        def order(found: SliceScore) -> tuple[float, int, str, str]:
            merit = math.inf if found.score is None else self.metric.merit(found.score)
            return merit, -found.samples, found.column, found.name

        return tuple(sorted(self.slices, key=order))

    def lost_by_slice(self, before: Evaluation) -> tuple[tuple[SliceScore, float], ...]:
        """Each slice with how much better it is than in another evaluation, the largest loss first.

        Args:
            before: On the same samples, by the same metric.
        """
        was = {(found.column, found.name): found for found in before.slices}
        pairs = [(found, was[found.column, found.name]) for found in self.slices if (found.column, found.name) in was]
        changes = [(found, found.change_from(earlier, self.metric)) for found, earlier in pairs]
        known = [(found, change) for found, change in changes if change is not None]
        return tuple(sorted(known, key=lambda pair: (pair[1], -pair[0].samples, pair[0].column, pair[0].name)))

    @property
    def text(self) -> str:
        """The score for people, with its standard error where it has one."""
        said = self.metric.text(self.score)
        return said if self.standard_error is None else f"{said} ± {self.metric.text(self.standard_error)}"

    @property
    def names_classes(self) -> bool:
        """Whether there are an accuracy, answers and classes."""
        return self.correct is not None

    def agreement(self, other: Evaluation) -> float:
        """Share of samples on which both named the same class, 0 to 1; raises ``DataError`` for other models."""
        if not self.names_classes or not other.names_classes:
            raise DataError("there is no agreement of models that name no classes")
        return float(np.mean(np.array(self.answers) == np.array(other.answers)))

    def to_json(self) -> dict[str, Any]:
        """For reports; the single answers are left out."""
        document: dict[str, Any] = {
            "data": self.data,
            "samples": self.samples,
            "metric": self.metric.name,
            "more_is_better": self.metric.more_is_better,
            "score": self.score,
            "standard_error": self.standard_error,
        }
        if self.correct is not None:
            classes = [found.to_json() for found in self.classes]
            document |= {"correct": self.correct, "accuracy": self.accuracy, "classes": classes}
        if self.slices:
            document["slices"] = [found.to_json() for found in self.slices]
        return document


def evaluate(predictor: Predictor, dataset: Dataset, metric: Metric | None = None) -> Evaluation:
    """Run a model over samples whose answers are known.

    Args:
        predictor: The model.
        dataset: With labels or targets.
        metric: What judges; None for the usual one, see ``metric_for``.

    Raises:
        DataError: The metric does not fit the labels, or the model's outputs; says why.
        ModelError: The model answers with NaN.
    """
    judge = Judge(dataset, metric or metric_for(None, dataset))
    for batch in dataset.batches(BATCH):
        judge.update(run_samples(predictor, batch.feeds), batch)
    return judge.evaluation()


class Judge:
    """Takes in answers batch by batch, in the order of the samples, wherever they come from.

    Args:
        dataset: The samples.
        metric: What judges.

    Attributes:
        samples: How many were taken in.
    """

    def __init__(self, dataset: Dataset, metric: Metric) -> None:
        self.samples = 0
        self._dataset, self._metric = dataset, metric
        self._tally, self._named, self._slices = metric.tally(dataset.name), _Named(), SliceTallies(dataset, metric)

    def update(self, outputs: Sequence[Array], batch: Batch) -> None:
        """Take in the answers to a batch; raises as ``evaluate``."""
        _refuse_nan(outputs, self._dataset)
        self._tally.update(outputs, batch)
        self._named.update(outputs, batch)
        self._slices.update(outputs, batch)
        self.samples += len(outputs[0])

    def evaluation(self) -> Evaluation:
        """Of what was taken in, at least one batch; slices only of all samples. Raises as ``evaluate``."""
        named, dataset = self._named, self._dataset
        answers, labels = np.asarray(named.answers, dtype=np.int64), np.asarray(named.labels, dtype=np.int64)
        right = answers == labels if named.fits else None
        return Evaluation(
            data=dataset.name,
            samples=self.samples,
            metric=self._metric,
            score=_finite(self._tally.result(), self._metric, dataset),
            standard_error=self._tally.standard_error,
            correct=None if right is None else int(right.sum()),
            answers=tuple(named.answers),
            classes=_classes(answers, labels, dataset.class_names),
            slices=self._slices.scores(right) if self.samples == len(dataset) else (),
        )


def evaluate_models(
    models: Sequence[Path],
    data: str | Path,
    *,
    metric: str | None = None,
    allow_unsafe: bool = False,
    time_limit_s: float = 60.0,
    seed: int = 0,
) -> list[Evaluation]:
    """Evaluate models of any format on the same samples; raises as ``evaluate``, and as what opens and finds them.

    Where the user has split the samples, the test split is taken, or else that of validation; ``seed`` is of the split.
    """
    from tinsmith.convert.data import Roles, open_dataset

    judge = None if metric is None else metric_named(metric)
    evaluations = []
    for path in models:
        with opened_predictor(identify(path), allow_unsafe=allow_unsafe, time_limit_s=time_limit_s) as predictor:
            samples = Roles(open_dataset(data, predictor.inputs), seed=seed)
            evaluations.append(evaluate(predictor, samples.report, judge))
    return evaluations


def _refuse_nan(outputs: Sequence[Array], dataset: Dataset) -> None:
    """A comparison with NaN is never true, so that a metric would take it for anything."""
    broken = sum(int(np.isnan(array.reshape(len(array), -1)).any(axis=1).sum()) for array in outputs if _is_real(array))
    if broken:
        raise ModelError(
            f"the model answers {broken} samples of {dataset.name} with NaN",
            hint="its weights or the samples hold NaN or infinity; `tinsmith data check` finds the latter",
        )


def _is_real(array: Array) -> bool:
    return bool(np.issubdtype(array.dtype, np.floating))


class _Named:
    """The classes that a classifier names, for as long as model and labels are those of one."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.labels: list[int] = []
        self.fits = True

    def update(self, outputs: Sequence[Array], batch: Batch) -> None:
        """Take in a batch; one that does not fit ends it all."""
        scores = class_scores(list(outputs))
        if not self.fits or scores is None or batch.labels is None or batch.labels.max() >= scores.shape[1]:
            self.fits, self.answers, self.labels = False, [], []
            return
        self.answers += scores.argmax(axis=1).tolist()
        self.labels += batch.labels.tolist()


def _classes(answers: NDArray[np.int64], labels: NDArray[np.int64], names: tuple[str, ...]) -> tuple[ClassScore, ...]:
    numbers, counts = np.unique(labels, return_counts=True)
    right = np.bincount(labels[answers == labels], minlength=int(numbers[-1]) + 1 if len(numbers) else 0)
    return tuple(
        ClassScore(
            number=number, name=names[number] if number < len(names) else str(number), samples=count,
            correct=int(right[number]),
        )
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    )  # fmt: skip


def _finite(score: float, metric: Metric, dataset: Dataset) -> float:
    if not math.isfinite(score):
        raise DataError(f"the {metric.name} on {dataset.name} is {score}: the model answers with NaN or infinity")
    return score
