"""What ``tinsmith data check`` shows: what a dataset holds, what cleaning leaves out, and what is odd about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tinsmith.convert.data import open_dataset
from tinsmith.convert.data.cleaning import CleaningReport, clean
from tinsmith.convert.data.hygiene import Hygiene, look_at_calibration
from tinsmith.convert.data.metadata import SPLITS
from tinsmith.convert.data.ranges import expected_range
from tinsmith.convert.data.roles import Roles
from tinsmith.convert.model import identify
from tinsmith.convert.predictors import opened_predictor

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.convert.data.dataset import Dataset, Splits
    from tinsmith.convert.data.ranges import ValueRange
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["ClassCount", "Overview", "check_dataset", "class_count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """How many usable samples a class has.

    Attributes:
        name: Of the class, or its number where it has none.
        samples: In all.
        splits: In train, calibration, validation and test.
    """

    name: str
    samples: int
    splits: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What a dataset holds.

    Attributes:
        name: Of the dataset.
        sha256: Names the very samples.
        preprocessing: What is done to each sample, in its JSON form.
        splits: How many usable samples are in train, calibration, validation and test.
        split_by: ``source`` where the source says the splits, else ``seed``.
        classes: Class by class; empty where there are no class numbers.
        targets: Numbers to predict a sample, of a regression or of several truth values; 0 where there are none.
        cleaning: What was left out, and what is odd.
        hygiene: Whether its usable samples are fit to calibrate on; None where that was not asked.
    """

    name: str
    sha256: str
    preprocessing: list[dict[str, Any]]
    splits: tuple[int, ...]
    split_by: str
    classes: tuple[ClassCount, ...]
    targets: int
    cleaning: CleaningReport
    hygiene: Hygiene | None = None

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        named = {"splits": dict(zip(SPLITS, self.splits, strict=True))}
        classes = [{**asdict(c), "splits": dict(zip(SPLITS, c.splits, strict=True))} for c in self.classes]
        return {**asdict(self), **named, "classes": classes}


def check_dataset(
    reference: str | Path,
    *,
    model: Path | None = None,
    against: str | Path | None = None,
    seed: int = 0,
    time_limit_s: float = 60.0,
) -> Overview:
    """Read a whole dataset, clean it and split it.

    Args:
        reference: As ``open_dataset`` takes it.
        model: What the samples must fit; None takes them as they are.
        against: The evaluation set that samples for calibration must keep away from; None asks nothing of them.
        seed: Of the splits.
        time_limit_s: For the model's load.

    Raises:
        DataError: There is nothing there, it does not fit the model, or nothing usable is left.
        ModelError: The model can't be loaded.
    """
    inputs: tuple[TensorSpec, ...] | None = None
    classes: int | None = None
    expected: ValueRange | None = None
    if model is not None:
        identified = identify(model)
        with opened_predictor(identified, time_limit_s=time_limit_s) as predictor:
            inputs, classes = predictor.inputs, class_count(predictor.outputs)
        expected = expected_range(inputs, identified)
    cleaned = clean(open_dataset(reference, inputs), inputs, classes=classes, expected=expected, seed=seed)
    overview = _overview(cleaned.dataset, cleaned.report, str(reference), seed)
    if against is None:
        return overview
    calibration = Roles(cleaned.dataset, seed=seed).calibration
    evaluation = Roles(open_dataset(against, inputs), seed=seed).report
    found = look_at_calibration(calibration, evaluation, inputs, classes, expected=expected)
    return replace(overview, hygiene=found)


def class_count(outputs: tuple[TensorSpec, ...]) -> int | None:
    """How many classes a model tells apart; None where it is no classifier, or its only score may be anything."""
    if len(outputs) != 1 or len(outputs[0].shape) < 2 or any(n != 1 for n in outputs[0].shape[1:-1]):
        return None
    scores = outputs[0].shape[-1]
    return None if scores == 1 else scores


def _overview(dataset: Dataset, report: CleaningReport, name: str, seed: int) -> Overview:
    splits = dataset.splits(seed)
    parts = [getattr(splits, split) for split in SPLITS]
    return Overview(
        name=name,
        sha256=dataset.source.origin.sha256,
        preprocessing=dataset.preprocessing.to_json(),
        splits=tuple(0 if part is None else len(part) for part in parts),
        split_by="seed" if dataset.source.metadata.splits is None else "source",
        classes=_classes(dataset, splits),
        targets=0 if dataset.targets is None else dataset.targets.shape[1],
        cleaning=report,
    )


def _classes(dataset: Dataset, splits: Splits) -> tuple[ClassCount, ...]:
    """Every class of the set, also one without samples."""
    if dataset.labels is None:
        return ()
    whole = _counted(dataset)
    parts = [_counted(getattr(splits, split)) for split in SPLITS]
    names = dataset.class_names
    labels = range(len(names)) if names else sorted(whole)
    return tuple(
        ClassCount(
            name=names[label] if names else str(label),
            samples=whole[label],
            splits=tuple(part[label] for part in parts),
        )
        for label in labels
    )


def _counted(part: Dataset | None) -> Counter[int]:
    return Counter() if part is None or part.labels is None else Counter(part.labels.tolist())
