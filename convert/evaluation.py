"""How often a model is right."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.model import identify
from tinsmith.convert.predictors import class_scores, opened_predictor, run_samples
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.predictors import Predictor

__all__ = ["Evaluation", "evaluate", "evaluate_models"]

_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A classifier's accuracy.

    Attributes:
        samples: How many were run.
        correct: On how many the highest score stood at the label.
        answers: The class it named, one a sample; kept so that two models can be compared.
    """

    samples: int
    correct: int
    answers: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        """Share of samples that were right, 0 to 1."""
        return self.correct / self.samples

    @property
    def standard_error(self) -> float:
        """Of the accuracy, binomial: how far another draw of samples would move it."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.samples)

    def agreement(self, other: Evaluation) -> float:
        """Share of samples on which both named the same class, 0 to 1."""
        return float(np.mean(np.array(self.answers) == np.array(other.answers)))

    def to_json(self) -> dict[str, Any]:
        """For reports; the single answers are left out."""
        facts = asdict(self)
        del facts["answers"]
        return {**facts, "accuracy": self.accuracy, "standard_error": self.standard_error}


def evaluate(predictor: Predictor, dataset: Dataset) -> Evaluation:
    """Run a classifier over labelled samples.

    Raises:
        DataError: The samples have no labels, or a label that the model has no score for, or it is no classifier.
    """
    correct = 0
    answers: list[int] = []
    for batch in dataset.batches(_BATCH):
        if batch.labels is None:
            raise DataError(f"{dataset.name} has no labels, so there is no accuracy", hint="add y to the .npz")
        scores = class_scores(run_samples(predictor, batch.feeds))
        if scores is None:
            raise DataError("accuracy needs a model with one output of class scores, and this model has none")
        labels = batch.labels.astype(np.int64)
        if labels.max() >= scores.shape[1]:
            raise DataError(
                f"{dataset.name} holds the label {labels.max()}, but the model knows {scores.shape[1]} classes"
            )
        named = scores.argmax(axis=1)
        answers += named.tolist()
        correct += int(np.sum(named == labels))
    return Evaluation(samples=len(answers), correct=correct, answers=tuple(answers))


def evaluate_models(
    models: Sequence[Path], data: str | Path, *, allow_unsafe: bool = False, time_limit_s: float = 60.0
) -> list[Evaluation]:
    """Evaluate models of any format on the same samples; raises as ``evaluate`` and ``open_predictor``."""
    from tinsmith.convert.data import open_dataset

    evaluations = []
    for path in models:
        with opened_predictor(identify(path), allow_unsafe=allow_unsafe, time_limit_s=time_limit_s) as predictor:
            evaluations.append(evaluate(predictor, open_dataset(data, predictor.inputs)))
    return evaluations
