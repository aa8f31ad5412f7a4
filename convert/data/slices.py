"""Slices: which kind of sample each is, such as the camera or the site it comes from, one column a question."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.data import checks
from tinsmith.runtime.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tinsmith.convert.data.source import Array, Positions

__all__ = ["SLICE", "SliceColumn", "slices_of_arrays", "slices_of_cells", "slices_of_folder", "wanted"]

# The column that is taken unless a data.yaml names others.
SLICE = "slice"
_FOLDER_TABLE = "slices.csv"
_NOTHING = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceColumn:
    """One way to cut samples into slices.

    Attributes:
        column: Its name, such as ``camera``.
        names: Of the slices, sorted.
        places: The place of each sample's slice in ``names``, int64 [samples].
    """

    column: str
    names: tuple[str, ...]
    places: Positions

    def at(self, positions: Positions) -> SliceColumn:
        """The same of some samples, in their order."""
        return SliceColumn(column=self.column, names=self.names, places=self.places[positions])

    @property
    def cells(self) -> tuple[str, ...]:
        """The slice of each sample."""
        return tuple(self.names[place] for place in self.places)


def wanted(asked: tuple[str, ...], found: Sequence[str], where: str) -> tuple[str, ...]:
    """Which columns of a source are slices.

    Args:
        asked: What the data.yaml names; empty takes the column ``slice`` where there is one.
        found: The source's columns.
        where: The source, for the message.

    Raises:
        DataError: A column was asked for that is not there.
    """
    lacking = [name for name in asked if name not in found]
    if lacking:
        raise DataError(
            f"{where} has no column {lacking[0]!r} to cut slices by; it has {', '.join(map(str, found)) or 'none'}",
            hint="mend `slices:` in the data.yaml",
        )
    return asked or tuple(name for name in (SLICE,) if name in found)


def slices_of_cells(column: str, cells: Sequence[object]) -> SliceColumn:
    """Read what stands in a column; an empty cell is a slice of its own."""
    texts = [str(cell).strip() or _NOTHING for cell in cells]
    names, places = np.unique(np.asarray(texts), return_inverse=True)
    return SliceColumn(column=column, names=tuple(names.tolist()), places=places.reshape(-1).astype(np.int64))


def slices_of_arrays(where: str, arrays: Mapping[str, Array], samples: int) -> tuple[SliceColumn, ...]:
    """Read arrays as slices: texts, whole numbers or truth values, one a sample.

    Args:
        where: The source, for the message.
        arrays: By column, each [samples] or [samples, 1].
        samples: How many there must be.

    Raises:
        DataError: An array holds other things, or not one a sample.
    """
    return tuple(_of_array(f"{where}, array {name!r}", name, array, samples) for name, array in arrays.items())


def slices_of_folder(path: Path, files: Sequence[Path], asked: tuple[str, ...]) -> tuple[SliceColumn, ...]:
    """Read the slices of a folder's samples from the table ``slices.csv`` in it, which names them in a column ``file``.

    Args:
        path: The folder.
        files: The samples, all below it.
        asked: As for ``wanted``.

    Returns:
        Nothing where there is no such table, and no column was asked for.

    Raises:
        DataError: The table is missing, damaged, or lacks a column or a sample.
    """
    table = path / _FOLDER_TABLE
    if not table.is_file():
        wanted(asked, (), f"{path}, which holds no {_FOLDER_TABLE},")
        return ()
    header, rows = _table(table)
    columns = wanted(asked, [name for name in header if name != "file"], str(table))
    try:
        found = [rows[file.relative_to(path).as_posix()] for file in files]
    except KeyError as error:
        raise DataError(f"{table} has no row for {error}", hint="write one row a sample: its path in `file`") from error
    return tuple(slices_of_cells(name, [row[name] for row in found]) for name in columns)


def _table(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The columns, and the rows by their file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="", strict=True)
            rows = {row["file"]: row for row in reader}
    except KeyError as error:
        raise DataError(f"{path} has no column {error}", hint="name each sample by its path in `file`") from error
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} can't be read: {first_line(error)}", hint="save it as UTF-8, with a header") from error
    return list(reader.fieldnames or ()), rows


def _of_array(where: str, column: str, array: Array, samples: int) -> SliceColumn:
    if array.dtype.kind not in "USiub" or array.shape not in {(samples,), (samples, 1)}:
        raise DataError(
            f"{where} holds {checks.kind_of(array.dtype)} {list(array.shape)}, and no slices of {samples} samples",
            hint="save one name or whole number a sample",
        )
    cells = array.reshape(-1).tolist()
    return slices_of_cells(column, [c.decode(errors="replace") if isinstance(c, bytes) else c for c in cells])
