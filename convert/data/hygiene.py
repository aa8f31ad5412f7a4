"""Whether samples are fit to calibrate on, and whether an evaluation set still says anything after that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinsmith.convert.data.dataset import digest_of
from tinsmith.convert.data.metadata import OUTSIDE
from tinsmith.convert.data.ranges import Survey, ValueRange, expected_range, mismatch
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.convert.data.dataset import Dataset
    from tinsmith.convert.data.source import Array, Feeds
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["ENOUGH", "Finding", "Hygiene", "check_calibration", "look_at_calibration", "refuse_constant"]

# Fewer than this leave the ends of most ranges to chance.
ENOUGH = 100
_MOST_EXAMPLES = 3
_MOST_CLASSES = 5
_BATCH = 64

Fault = Literal["overlap", "one-class", "classes", "range", "few", "duplicates", "constant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with calibration samples.

    Attributes:
        fault: Its kind.
        severity: ``error`` where a result is void with it, else ``warn``.
        count: How many samples, or classes, it concerns.
        what: What is wrong.
        remedy: What to do.
        examples: The first three.
    """

    fault: Fault
    severity: Literal["error", "warn"]
    count: int
    what: str
    remedy: str
    examples: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For people, in one line."""
        return f"{'error' if self.severity == 'error' else 'warning'}: {self.what}: {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hygiene:
    """What was looked at, and what was found.

    Attributes:
        calibration: What the samples are called.
        samples: How many were looked at.
        against: What the evaluation set is called; empty where there is none.
        against_samples: How many of it were looked at.
        findings: What is wrong, errors first.
        unchecked: What could not be looked at, and why.
    """

    calibration: str
    samples: int
    against: str
    against_samples: int
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...]

    @property
    def has_errors(self) -> bool:
        """Whether a result is void with it."""
        return any(finding.severity == "error" for finding in self.findings)


class _Look:
    """One walk over a dataset; only hashes, labels and extremes are kept. What can't be read is passed over.

    Args:
        dataset: To walk over.
        at_most: How many samples of it.
    """

    def __init__(self, dataset: Dataset, at_most: int | None) -> None:
        self.name = dataset.name
        self.whole = len(dataset)
        self.samples = 0
        self.survey = Survey()
        self.first: dict[bytes, str] = {}
        self.again: list[str] = []
        positions = dataset.positions[:at_most]
        self.labels = _labels(dataset, positions)
        self.names = dataset.class_names
        for at, sample in zip(positions.tolist(), dataset.source.examine(positions), strict=True):
            if not isinstance(sample, DataError):
                self._take(dataset.source.name_of(at), sample)

    def _take(self, name: str, sample: Feeds) -> None:
        self.samples += 1
        self.survey.add(sample)
        first = self.first.setdefault(_digest(sample), name)
        if first != name:
            self.again.append(f"{name} is like {first}")

    @property
    def called(self) -> str:
        """What to call it, with what was passed over."""
        return self.name if self.samples == self.whole else f"{self.samples:,} of {self.whole:,} of {self.name}"


def check_calibration(
    calibration: Dataset,
    evaluation: Dataset | None,
    inputs: tuple[TensorSpec, ...] | None,
    classes: int | None = None,
    *,
    expected: ValueRange | None = None,
    at_most: int | None = None,
) -> tuple[Finding, ...]:
    """Look for what spoils a calibration or the evaluation that follows; the findings of ``look_at_calibration``."""
    return look_at_calibration(
        calibration, evaluation, inputs, classes, expected=expected, at_most=at_most
    ).findings  # fmt: skip


def look_at_calibration(
    calibration: Dataset,
    evaluation: Dataset | None,
    inputs: tuple[TensorSpec, ...] | None,
    classes: int | None = None,
    *,
    expected: ValueRange | None = None,
    at_most: int | None = None,
) -> Hygiene:
    """Look for what spoils a calibration or the evaluation that follows. Each sample is read once, one at a time.

    Errors are: samples that stand in the evaluation set too (told by their content, whatever the dtype), samples of one
    class alone, and samples of one value alone. Warned of are: classes that are lacking, values of another range than
    the model's input or the evaluation set, fewer than 100 samples, and duplicates.

    Args:
        calibration: The samples to find ranges on.
        evaluation: The samples to report on; None where there are none.
        inputs: What the model takes; None where there is no model.
        classes: How many the model tells apart; None for what the names and the labels say.
        expected: The values that the model was made for; None for what its input's quantization says, if anything.
        at_most: How many samples of each to look at; None for all.

    Raises:
        DataError: A source is damaged.
    """
    found = _Look(calibration, at_most)
    other = None if evaluation is None else _Look(evaluation, at_most)
    expected = expected or (expected_range(inputs) if inputs else None)
    findings = [
        *_overlap(found, other),
        *_constant(found),
        *_classes(found, other, classes),
        *_ranges(found, other, expected),
        *_few(found),
        *_duplicates(found),
    ]
    return Hygiene(
        calibration=found.called,
        samples=found.samples,
        against="" if other is None else other.called,
        against_samples=0 if other is None else other.samples,
        findings=tuple(sorted(findings, key=lambda finding: finding.severity != "error")),
        unchecked=tuple(_unchecked(found, other, expected)),
    )


def refuse_constant(calibration: Dataset) -> None:
    """Refuse samples that hold one value alone, before a calibration on them; reads no further than it must.

    Raises:
        DataError: They do, such as zeros where a file was never filled.
    """
    survey = Survey()
    for batch in calibration.batches(_BATCH):
        survey.add(batch.feeds)
        if _only_value(survey) is None:
            return
    raise DataError(
        f"every value of {calibration.name} is {_only_value(survey):g}, so a calibration on it finds no ranges",
        hint="give real samples with --data; `tinsmith data check` shows what a dataset holds",
    )


def _digest(sample: Feeds) -> bytes:
    """Names a sample by its numbers: the same picture is the same as uint8 and as float32."""
    return digest_of({name: _plain(sample[name]) for name in sorted(sample)})


def _plain(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.kind in "fiub" else array


def _labels(dataset: Dataset, positions: Array) -> Counter[int] | None:
    labels = dataset.source.metadata.labels
    if labels is None:
        return None
    chosen = labels[positions]
    return Counter(chosen[chosen != OUTSIDE].tolist())


def _overlap(found: _Look, other: _Look | None) -> Iterator[Finding]:
    shared = [] if other is None else [digest for digest in found.first if digest in other.first]
    if not shared or other is None:
        return
    yield Finding(
        fault="overlap",
        severity="error",
        count=len(shared),
        what=f"{len(shared):,} of {len(found.first):,} samples stand in {other.name} too, so that what is measured "
        "there is not what new samples would give",
        remedy="calibrate on samples that are never evaluated on, such as some of those for training",
        examples=tuple(f"{found.first[d]} is {other.first[d]} of {other.name}" for d in shared[:_MOST_EXAMPLES]),
    )


def _constant(found: _Look) -> Iterator[Finding]:
    value = _only_value(found.survey)
    if value is not None:
        yield Finding(
            fault="constant",
            severity="error",
            count=found.samples,
            what=f"every value is {value:g}, so there are no ranges to find",
            remedy="give real samples",
        )


def _only_value(survey: Survey) -> float | None:
    """The one value that all inputs hold everywhere; None where there are more, or texts."""
    inputs = survey.inputs
    values = {bound for found in inputs for bound in (found.low, found.high)}
    (value,) = values if len(values) == 1 else (None,)
    return value


def _classes(found: _Look, other: _Look | None, classes: int | None) -> Iterator[Finding]:
    if not found.labels:
        return
    known = _known_classes(found, other, classes)
    lacking = sorted(known - found.labels.keys())
    if not lacking:
        return
    if len(found.labels) == 1:
        only = _class_name(found, next(iter(found.labels)))
        yield Finding(
            fault="one-class",
            severity="error",
            count=len(lacking),
            what=f"all samples are of one class ({only}) of {len(known)}, so the ranges are those of that class",
            remedy="take some samples of each class",
        )
        return
    named = ", ".join(_class_name(found, label) for label in lacking[:_MOST_CLASSES])
    more = ", ..." if len(lacking) > _MOST_CLASSES else ""
    yield Finding(
        fault="classes",
        severity="warn",
        count=len(lacking),
        what=f"{len(lacking)} of {len(known)} classes have no sample: {named}{more}",
        remedy="take some samples of each class",
    )


def _known_classes(found: _Look, other: _Look | None, classes: int | None) -> set[int]:
    """The classes that there are: by the model, or the names, or else the labels of both sets."""
    if classes is not None or found.names:
        return set(range(classes or len(found.names)))
    if other is not None and other.labels:
        return set(other.labels) | set(found.labels or ())
    return set(range(max(found.labels or (0,)) + 1))


def _class_name(found: _Look, label: int) -> str:
    return found.names[label] if label < len(found.names) else str(label)


def _ranges(found: _Look, other: _Look | None, expected: ValueRange | None) -> Iterator[Finding]:
    for facts in found.survey.inputs:
        said = mismatch(facts, expected) if expected else ""
        if not said and other is not None:
            said = mismatch(facts, _range_of(other, facts.name))
        if said:
            what, _, remedy = said.partition(": ")
            yield Finding(fault="range", severity="warn", count=found.samples, what=what, remedy=remedy)


def _range_of(other: _Look, name: str) -> ValueRange:
    """What the evaluation set holds for an input; nothing where its samples are texts or have other inputs."""
    for facts in other.survey.inputs:
        if facts.name == name and facts.low is not None and facts.high is not None:
            return ValueRange(low=facts.low, high=facts.high, origin=f"as {other.name} holds them")
    return ValueRange(low=0.0, high=0.0, origin="")


def _few(found: _Look) -> Iterator[Finding]:
    if found.samples < ENOUGH:
        yield Finding(
            fault="few",
            severity="warn",
            count=found.samples,
            what=f"there are {found.samples} samples, and fewer than {ENOUGH} leave the ends of the ranges to chance",
            remedy=f"give {ENOUGH} to 500",
        )


def _duplicates(found: _Look) -> Iterator[Finding]:
    if found.again:
        yield Finding(
            fault="duplicates",
            severity="warn",
            count=len(found.again),
            what=f"{len(found.again):,} samples are exact duplicates of others, and show nothing new",
            remedy="leave them out",
            examples=tuple(found.again[:_MOST_EXAMPLES]),
        )


def _unchecked(found: _Look, other: _Look | None, expected: ValueRange | None) -> Iterator[str]:
    if other is None:
        yield "overlap (there is no evaluation set apart from these samples)"
    if not found.labels:
        yield "classes (the samples have no class labels)"
    if expected is None and other is None:
        yield "range (nothing says which values the model takes)"
    for look in (found, other):
        if look is not None and look.samples < look.whole:
            yield f"all but {look.samples:,} of the {look.whole:,} samples of {look.name}"
