"""What samples say should be answered, and whether a model's output can say it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinsmith.compress.training.losses import head_of
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from tinsmith.compress.training.losses import Head
    from tinsmith.convert.data import Dataset
    from tinsmith.convert.data.metadata import Labels, Targets
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Answered", "check_truth", "head_for", "truth_of"]


class Answered(Protocol):
    """Samples that may say what is right: a dataset, or a batch of one."""

    @property
    def labels(self) -> Labels | None:
        """Class numbers."""
        ...

    @property
    def targets(self) -> Targets | None:
        """Numbers to predict, or one truth value a class."""
        ...


def head_for(trained: TrainedModel, samples: Answered) -> Head:
    """What the model's only output should hold, told by the model and by what the samples say is right.

    Numbers make a regression of what would be logits or truth values otherwise: those are 0 or 1.

    Raises:
        UsageError: As ``head_of``.
    """
    head = head_of(trained)
    targets = samples.targets
    if targets is None or samples.labels is not None:
        return head
    if head == "logits" or (head in ("probability", "truths") and not np.isin(targets, (0, 1)).all()):
        return "values"
    return head


def truth_of(head: Head, samples: Answered) -> Any:
    """What a head is held against: class numbers int64 [n], or numbers float32 [n, numbers]; None for neither.

    Rows of a single 1 and zeros are class numbers as well; a head of values or truth values takes them as they are.
    """
    if samples.targets is not None and (head in ("values", "truths") or samples.labels is None):
        return samples.targets
    return samples.labels


def check_truth(trained: TrainedModel, head: Head, samples: Dataset) -> None:
    """Refuse samples that the model has no answer for.

    Raises:
        DataError: A label is beyond the classes, or there is another number of numbers than the model gives.
    """
    truth = truth_of(head, samples)
    if truth is None:
        return
    shape = trained.outputs[0].shape[1:]
    if truth.ndim == 2:
        _check_targets(head, shape, truth, samples.name)
    elif head == "values":
        _check_count(shape, 1, samples.name)
    else:
        _check_labels(head, shape, int(truth.max()), samples.name)


def _check_labels(head: Head, shape: tuple[int | None, ...], largest: int, name: str) -> None:
    classes = 2 if head == "probability" else (shape[-1] if shape else 1) or 0
    if largest >= classes:
        raise DataError(
            f"{name} holds the label {largest}, but the model knows {classes} classes",
            hint="give labels that fit the head, or a new head: finetune with `classes`",
        )
    if any((length or 0) != 1 for length in shape[:-1]):
        raise DataError(
            f"{name} holds one label a sample, but the model answers {list(shape)} numbers",
            hint="let the model end in one score a class: GlobalAveragePooling2D or Flatten, then Dense",
        )


def _check_targets(head: Head, shape: tuple[int | None, ...], targets: Targets, name: str) -> None:
    if head == "probabilities":
        raise DataError(
            f"{name} holds several numbers a sample, but the model's softmax names one class",
            hint="end the model in a sigmoid for several truths a sample, or without activation for numbers",
        )
    _check_count(shape, targets.shape[1], name)


def _check_count(shape: tuple[int | None, ...], numbers: int, name: str) -> None:
    given = math.prod(length or 0 for length in shape)
    if numbers != given:
        raise DataError(
            f"{name} holds {numbers} {'number' if numbers == 1 else 'numbers'} a sample, but the model gives {given}",
            hint="save y as [samples, numbers] as the model gives them",
        )
