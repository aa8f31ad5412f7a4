"""What is known of samples without reading them: labels, their names, and the split that the source puts them in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinsmith.convert.data import checks
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinsmith.convert.data.slices import SliceColumn
    from tinsmith.convert.data.source import Array

Labels = NDArray[np.int64]
Targets = NDArray[np.float32]

__all__ = ["OUTSIDE", "SPLITS", "Labels", "Metadata", "Targets", "labels_of_array", "labels_of_cells", "split_names"]

OUTSIDE = -1
_LARGEST_CLASS = 2**31 - 1
SPLITS = ("train", "calibration", "validation", "test")
_ALIASES = {
    "training": "train",
    "calib": "calibration",
    "representative": "calibration",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Facts of all samples, in their order.

    Attributes:
        labels: One class number a sample; ``OUTSIDE`` where the label is none of the set. None where there are none.
        targets: Numbers to predict, float32 [samples, numbers]: of a regression, or one truth value a class. None where
            the labels are class numbers.
        class_names: The name of each class number; empty where they are not known.
        outside: What stands in the source for each label that is none of the set, by position.
        splits: Which of ``SPLITS`` the source puts each sample in; None where it leaves that open.
        slices: What kind of sample each is, such as ``night``, one a column; empty where the source does not say.
    """

    labels: Labels | None = None
    targets: Targets | None = None
    class_names: tuple[str, ...] = ()
    outside: Mapping[int, str] = field(default_factory=dict)
    splits: tuple[str, ...] | None = None
    slices: tuple[SliceColumn, ...] = ()


def labels_of_array(where: str, array: Array, samples: int, names: tuple[str, ...] = ()) -> Metadata:
    """Read numbers as labels: class numbers, numbers of a regression, or one truth value a class.

    Whole numbers from 0 on, in one column, are class numbers. Fractions and negative floats are a regression's. Several
    columns are targets, and class numbers as well where each row holds a single 1 and zeros.

    Args:
        where: The file and the array, for the message.
        array: Shaped [samples], [samples, 1] or [samples, numbers].
        samples: How many there must be.
        names: Of the classes, where they are known; a class number beyond them is outside the set.

    Raises:
        DataError: They are no numbers, not finite, negative integers, or not one a sample.
    """
    if array.dtype.kind not in "iufb" or array.ndim == 0:
        raise DataError(
            f"{where} holds {checks.kind_of(array.dtype)}, not class numbers", hint="save labels as 0, 1, 2, ..."
        )
    if len(array) != samples:
        raise DataError(f"{where} holds {len(array)} labels for {samples} samples", hint="save one label a sample")
    if array.size == 0:
        raise DataError(f"{where} holds no number for a sample", hint="save one label a sample")
    columns = array.reshape(samples, -1).astype(np.float64)
    if not np.isfinite(columns).all():
        odd = columns[~np.isfinite(columns)][0]
        raise DataError(f"{where} holds {odd:g}, which is no class number", hint="save labels as 0, 1, 2, ...")
    if columns.shape[1] > 1:
        return _of_columns(columns, names)
    return _of_column(where, columns[:, 0], names, integers=array.dtype.kind in "iu")


def _of_column(where: str, flat: NDArray[np.float64], names: tuple[str, ...], *, integers: bool) -> Metadata:
    """Class numbers, or the numbers of a regression."""
    whole = (flat >= 0) & (flat == np.floor(flat))
    if whole.all() and flat.max() > _LARGEST_CLASS:
        raise DataError(
            f"{where} holds {flat.max():g}, which is too large for a class number",
            hint="save labels as 0, 1, 2, ...; numbers of a regression need a fraction or a sign somewhere",
        )
    if whole.all():
        return _in_set(flat.astype(np.int64), names)
    if integers:
        raise DataError(
            f"{where} holds {flat[~whole][0]:g}, which is no class number",
            hint="save labels as 0, 1, 2, ..., or as float32 if they are the numbers of a regression",
        )
    return Metadata(targets=flat[:, None].astype(np.float32))


def labels_of_cells(where: str, cells: Sequence[object], names: tuple[str, ...] = ()) -> Metadata:
    """Read what stands in a table's label column.

    Names of classes become their numbers: their place in ``names``, or in sorted order where those are not given.

    Raises:
        DataError: As ``labels_of_array``, or some are lists of different lengths.
    """
    if any(isinstance(cell, list) for cell in cells):
        try:
            return labels_of_array(where, np.asarray(cells, dtype=np.float64), len(cells), names)
        except (ValueError, TypeError) as error:
            raise DataError(f"{where} holds lists of different lengths, or other things than numbers") from error
    texts = [str(cell).strip() for cell in cells]
    if not names:
        numbers = _as_numbers(texts)
        if numbers is not None:
            return labels_of_array(where, numbers, len(cells))
        names = tuple(sorted(set(texts)))
    places = {str(number): number for number in range(len(names))} | {name: at for at, name in enumerate(names)}
    labels = np.asarray([places.get(text, OUTSIDE) for text in texts], dtype=np.int64)
    outside = {int(at): texts[at] for at in np.flatnonzero(labels == OUTSIDE)}
    return Metadata(labels=labels, class_names=names, outside=outside)


def split_names(where: str, cells: Sequence[object]) -> tuple[str, ...]:
    """Read the names of splits: train, calibration, validation or test, or a usual other name of these.

    Raises:
        DataError: One is none of them.
    """
    known = {**{name: name for name in SPLITS}, **_ALIASES}
    for at, cell in enumerate(cells):
        if str(cell).strip().lower() not in known:
            raise DataError(
                f"{where}: sample {at} (counted from 0) is in the split {str(cell)!r}",
                hint=f"name one of {', '.join(SPLITS)} in each row",
            )
    return tuple(known[str(cell).strip().lower()] for cell in cells)


def _of_columns(columns: NDArray[np.float64], names: tuple[str, ...]) -> Metadata:
    targets = columns.astype(np.float32)
    one_hot = bool(np.isin(columns, (0, 1)).all() and (columns.sum(axis=1) == 1).all())
    labels = columns.argmax(axis=1).astype(np.int64) if one_hot else None
    return Metadata(labels=labels, targets=targets, class_names=names)


def _in_set(labels: Labels, names: tuple[str, ...]) -> Metadata:
    if not names:
        return Metadata(labels=labels)
    beyond = labels >= len(names)
    outside = {int(at): str(labels[at]) for at in np.flatnonzero(beyond)}
    return Metadata(labels=np.where(beyond, OUTSIDE, labels), class_names=names, outside=outside)


def _as_numbers(texts: Sequence[str]) -> NDArray[np.float64] | None:
    try:
        return np.asarray([float(text) for text in texts])
    except ValueError:
        return None
