"""Leaving out the samples that would spoil a result, and saying which and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.data.dataset import digest_of
from tinsmith.convert.data.metadata import SPLITS
from tinsmith.convert.data.ranges import InputFacts, Survey, ValueRange, expected_range, mismatch
from tinsmith.runtime.errors import DataError, NotFiniteError, UnreadableSampleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tinsmith.convert.data.dataset import Dataset
    from tinsmith.convert.data.source import Positions
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Cleaned", "CleaningReport", "Dropped", "clean"]

_MOST_EXAMPLES = 5
_MOST_LETTERS = 160
_DUPLICATE = "exact duplicate"
_ACROSS = "in two splits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Samples that were left out for one reason.

    Attributes:
        reason: In a few words.
        samples: How many.
        examples: What is wrong with the first five.
    """

    reason: str
    samples: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningReport:
    """What cleaning found.

    Attributes:
        samples: Before.
        kept: After.
        dropped: Reason by reason, in the order in which they were met.
        warnings: What is odd, and was left as it is.
        inputs: What the readable samples hold.
    """

    samples: int
    kept: int
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    inputs: tuple[InputFacts, ...]

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """The usable samples, and what was found."""

    dataset: Dataset
    report: CleaningReport


class _Bin:
    """Where dropped samples go: a count and a few examples a reason."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def put(self, reason: str, example: str) -> None:
        self._counts[reason] = self._counts.get(reason, 0) + 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < _MOST_EXAMPLES:
            examples.append(example if len(example) <= _MOST_LETTERS else example[: _MOST_LETTERS - 3] + "...")

    @property
    def content(self) -> tuple[Dropped, ...]:
        return tuple(
            Dropped(reason=reason, samples=count, examples=tuple(self._examples[reason]))
            for reason, count in self._counts.items()
        )


def clean(
    dataset: Dataset,
    inputs: tuple[TensorSpec, ...] | None,
    *,
    classes: int | None = None,
    expected: ValueRange | None = None,
    seed: int = 0,
) -> Cleaned:
    """Leave out what can't be used. Each sample is read once, and only its hash is kept.

    Left out are: unreadable samples, those that hold NaN or infinity or do not fit the model, labels outside the set,
    exact duplicates (the first stays), and samples of an earlier split that stand in a later one again. Warned of are:
    duplicates with different labels, a calibration split that lacks classes, and values of another range than the
    model's.

    Args:
        dataset: From ``open_dataset``.
        inputs: What the model takes; None where there is no model.
        classes: How many the model knows; None where that is open.
        expected: The values that the model was made for; None for what its input's quantization says, if anything.
        seed: Of the splits, for the warning about calibration.

    Raises:
        DataError: Nothing usable is left, or the source itself is damaged.
    """
    bin_, survey = _Bin(), Survey()
    readable = dict(_readable(dataset, classes, bin_, survey))
    rows = np.fromiter(readable, dtype=np.int64, count=len(readable))
    digests = np.asarray(list(readable.values()), dtype="S32")
    conflicts = 0
    keep = np.zeros(len(dataset), dtype=bool)
    if len(rows):
        kept, conflicts = _without_duplicates(dataset, rows, digests, bin_)
        keep[rows[kept]] = True
        digests = digests[kept]
    cleaned = _part(dataset, keep, digests, bin_)
    expected = expected or (expected_range(inputs) if inputs else None)
    warnings = [*_label_warnings(cleaned, classes, conflicts, seed), *_range_warnings(survey, expected)]
    report = CleaningReport(
        samples=len(dataset),
        kept=len(cleaned),
        dropped=bin_.content,
        warnings=tuple(warnings),
        inputs=survey.inputs,
    )
    return Cleaned(dataset=cleaned, report=report)


def _readable(dataset: Dataset, classes: int | None, bin_: _Bin, survey: Survey) -> Iterator[tuple[int, bytes]]:
    """The place in the dataset and the digest of each sample that can be used by itself."""
    facts = dataset.source.metadata
    examined = dataset.source.examine(dataset.positions)
    for row, (at, sample) in enumerate(zip(dataset.positions.tolist(), examined, strict=True)):
        label = None if facts.labels is None else int(facts.labels[at])
        if isinstance(sample, DataError):
            bin_.put(_reason(sample), sample.message)
        elif at in facts.outside:
            bin_.put("label outside the set", f"{dataset.source.name_of(at)}: {facts.outside[at]!r}")
        elif label is not None and classes is not None and label >= classes:
            bin_.put("label outside the set", f"{dataset.source.name_of(at)}: {label}, of {classes} classes")
        else:
            survey.add(sample)
            yield row, digest_of(sample)


def _reason(error: DataError) -> str:
    match error:
        case UnreadableSampleError():
            return "unreadable"
        case NotFiniteError():
            return "NaN or infinite"
    return "does not fit"


def _without_duplicates(
    dataset: Dataset, rows: Positions, digests: NDArray[np.bytes_], bin_: _Bin
) -> tuple[Positions, int]:
    """Which of the rows stay, rising, and how many that go had another label than the one that stays."""
    facts = dataset.source.metadata
    positions = dataset.positions[rows]
    said = facts.splits
    splits = np.zeros(len(rows), dtype=np.int64)
    if said is not None:
        splits = np.asarray([SPLITS.index(said[at]) for at in positions])
    seen: dict[bytes, int] = {}
    stays, conflicts = [], 0
    for row in np.lexsort((positions, splits)).tolist():
        first = seen.setdefault(digests[row], row)
        if first == row:
            stays.append(row)
            continue
        like = " is like ".join(dataset.source.name_of(int(positions[at])) for at in (row, first))
        if splits[first] == splits[row]:
            bin_.put(_DUPLICATE, like)
        else:
            bin_.put(_ACROSS, f"{like}: {SPLITS[splits[row]]}, and {SPLITS[splits[first]]} already")
        if facts.labels is not None:
            conflicts += int(facts.labels[positions[row]] != facts.labels[positions[first]])
    return np.sort(np.asarray(stays, dtype=np.int64)), conflicts


def _part(dataset: Dataset, keep: NDArray[np.bool_], digests: NDArray[np.bytes_], bin_: _Bin) -> Dataset:
    if not keep.any():
        why = "; ".join(f"{d.samples} {d.reason}, such as: {d.examples[0]}" for d in bin_.content)
        raise DataError(f"{dataset.name} holds nothing usable: {why}", hint="mend the samples or the data.yaml")
    return dataset.cleaned(keep, digests)


def _label_warnings(dataset: Dataset, classes: int | None, conflicts: int, seed: int) -> Iterator[str]:
    if conflicts:
        yield f"{conflicts} samples are like another one, but have another label; the first of each was kept"
    if dataset.labels is None:
        return
    known = classes or max(len(dataset.class_names), int(dataset.labels.max()) + 1)
    if len(np.unique(dataset.labels)) == 1 and known > 1:
        yield f"all samples are of one class ({_name(dataset, int(dataset.labels[0]))}): a calibration on them is void"
    part = dataset.splits(seed).calibration
    if part is None or part.labels is None:
        return
    lacking = sorted(set(np.unique(dataset.labels).tolist()) - set(part.labels.tolist()))
    if lacking:
        names = ", ".join(_name(dataset, label) for label in lacking[:_MOST_EXAMPLES])
        more = ", ..." if len(lacking) > _MOST_EXAMPLES else ""
        yield f"the calibration split ({len(part)} samples) lacks {len(lacking)} classes: {names}{more}"


def _name(dataset: Dataset, label: int) -> str:
    return dataset.class_names[label] if label < len(dataset.class_names) else str(label)


def _range_warnings(survey: Survey, expected: ValueRange | None) -> Iterator[str]:
    for found in survey.inputs if expected else ():
        said = mismatch(found, expected) if expected else ""
        if said:
            yield said
