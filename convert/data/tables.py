"""Samples in a .csv or .jsonl file: one text, one image's path or one list of numbers a row."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.data.fitting import Fit
from tinsmith.convert.data.folder import only_input
from tinsmith.convert.data.images import image_preprocessing
from tinsmith.convert.data.metadata import Metadata, labels_of_cells, split_names
from tinsmith.convert.data.records import RecordSource
from tinsmith.convert.data.slices import SLICE, slices_of_cells, wanted
from tinsmith.convert.data.source import Origin
from tinsmith.runtime.errors import DataError, UnreadableSampleError, first_line
from tinsmith.runtime.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.data.source import Request
    from tinsmith.runtime.preprocessing import Raw

__all__ = ["open_table"]

_SAMPLE_COLUMNS = ("text", "image", "x")
Row = dict[str, Any]


class _Lines:
    """The lines of a file, counting the bytes that were read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.at = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._stream:
            self.at += len(line)
            yield line.decode("utf-8")


def _csv_rows(stream: IO[bytes]) -> Iterator[tuple[int, Row]]:
    """Each row of a .csv file, and the byte where it begins."""
    lines = _Lines(stream)
    reader = csv.reader(iter(lines), strict=True)
    header = [name.removeprefix("\ufeff").strip() for name in next(reader, [])]
    while True:
        at = lines.at
        cells = next(reader, None)
        if cells is None:
            return
        if cells:
            yield at, _named(header, cells)


def _named(header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise ValueError(f"a row of {len(cells)} cells under {len(header)} columns")
    return dict(zip(header, cells, strict=True))


def _jsonl_rows(stream: IO[bytes]) -> Iterator[tuple[int, Row]]:
    """Each row of a .jsonl file, and the byte where it begins."""
    lines = _Lines(stream)
    at = 0
    for line in lines:
        if line.strip():
            row = json.loads(line.removeprefix("\ufeff"))
            if not isinstance(row, dict):
                raise ValueError("a line that is no object")
            yield at, row
        at = lines.at


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A file of rows; only where each begins is in memory; see ``Records``."""

    path: Path
    column: str
    begins: NDArray[np.int64]
    header: list[str]

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, at: int, /) -> Raw:
        with self.path.open("rb") as stream:
            stream.seek(int(self.begins[at]))
            lines = iter(_Lines(stream))
            if self.path.suffix.lower() == ".jsonl":
                cell = json.loads(next(lines).removeprefix("\ufeff")).get(self.column)
            else:
                cell = _named(self.header, next(csv.reader(lines, strict=True)))[self.column]
        return _raw(self.path, self.column, cell, at)


def open_table(path: Path, request: Request) -> RecordSource:
    """Open a table with a column of samples, and perhaps the columns label, split and slice.

    Samples stand in one of the columns text, image (a path, relative to the table) or x (numbers: a JSON list).

    Raises:
        DataError: As ``open_dataset``.
        MissingDependencyError: It names images, and Pillow is not installed.
    """
    spec = only_input(path, request.inputs)
    begins, header, kept = _scan(path, request)
    column = _sample_column(path, header)
    table = _Table(path=path, column=column, begins=begins, header=header)
    given = request.preprocessing
    preprocessing = image_preprocessing(given, spec) if column == "image" else given or Preprocessing()
    fit = Fit(where=str(path), spec=spec, preprocessing=preprocessing)
    files: tuple[Path, ...] = (path,)
    if column == "image":
        files = (path, *(path.parent / str(cell) for cell in kept["image"]))
    origin = Origin(name=path.name, where=str(path), files=files, said=request.said)
    return RecordSource({"x" if spec is None else spec.name: (table, fit)}, _metadata(path, kept, request), origin)


def _scan(path: Path, request: Request) -> tuple[NDArray[np.int64], list[str], dict[str, list[Any]]]:
    """Read the whole file once: where its rows begin, its columns, and the cells of those that are kept."""
    rows: Callable[[IO[bytes]], Iterator[tuple[int, Row]]]
    rows = _jsonl_rows if path.suffix.lower() == ".jsonl" else _csv_rows
    begins: list[int] = []
    header: list[str] = []
    kept: dict[str, list[Any]] = {name: [] for name in _kept_columns(request)}
    try:
        with path.open("rb") as stream:
            for at, row in rows(stream):
                header = header or list(row)
                begins.append(at)
                for name, cells in kept.items():
                    if row.get(name) is not None:
                        cells.append(row[name])
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise DataError(
            f"{path} is damaged behind row {len(begins)}: {first_line(error)}",
            hint="save it as UTF-8, one header line and one row a sample; .jsonl takes texts of any length",
        ) from error
    if not begins:
        raise DataError(f"{path} holds no samples", hint="write one row a sample below the header")
    for name, cells in kept.items():
        if cells and len(cells) != len(begins):
            raise DataError(f"{path} holds {len(cells)} cells of {name!r} for {len(begins)} samples")
    return np.asarray(begins, dtype=np.int64), header, {name: cells for name, cells in kept.items() if cells}


def _kept_columns(request: Request) -> tuple[str, ...]:
    return ("label", "image", request.split_column, *(request.slices or (SLICE,)))


def _sample_column(path: Path, header: list[str]) -> str:
    found = [name for name in _SAMPLE_COLUMNS if name in header]
    if len(found) != 1:
        raise DataError(
            f"{path} has the columns {', '.join(header)}, but the samples must stand in one of "
            f"{', '.join(_SAMPLE_COLUMNS)}",
            hint="name the column text, image (a path) or x (a list of numbers), and the labels' column label",
        )
    return found[0]


def _metadata(path: Path, kept: dict[str, list[Any]], request: Request) -> Metadata:
    known = Metadata(class_names=request.class_names)
    if "label" in kept:
        known = labels_of_cells(f"{path}, column 'label'", kept["label"], request.class_names)
    splits = kept.get(request.split_column)
    slices = wanted(request.slices, list(kept), str(path))
    if splits is None and request.split_column != "split":
        raise DataError(f"{path} has no column {request.split_column!r}", hint="mend `split:` in the data.yaml")
    return Metadata(
        labels=known.labels,
        targets=known.targets,
        class_names=known.class_names,
        outside=known.outside,
        splits=None if splits is None else split_names(f"{path}, column {request.split_column!r}", splits),
        slices=tuple(slices_of_cells(name, kept[name]) for name in slices),
    )


def _raw(path: Path, column: str, cell: Any, at: int) -> Raw:
    if cell is None:
        raise UnreadableSampleError(f"{path}, sample {at} (counted from 0) has no {column}", hint="remove the row")
    if column == "text":
        return str(cell)
    if column == "image":
        return path.parent / str(cell)
    try:
        numbers = np.asarray(json.loads(cell) if isinstance(cell, str) else cell)
    except ValueError:
        numbers = np.asarray("")
    if numbers.dtype.kind in "iuf":
        return numbers
    raise UnreadableSampleError(
        f"{path}, sample {at} (counted from 0): x holds {str(cell)[:40]!r}, which is no list of numbers",
        hint="write it as JSON: [0.5, 1.25]",
    )
