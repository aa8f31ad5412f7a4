"""Samples in an .npz file, streamed from the archive without ever unpacking all of it."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from tinsmith.convert.data import checks
from tinsmith.convert.data.fitting import Fit
from tinsmith.convert.data.metadata import Metadata, labels_of_array, split_names
from tinsmith.convert.data.slices import SLICE, slices_of_arrays, wanted
from tinsmith.convert.data.source import Origin
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.preprocessing import Preprocessing
from tinsmith.runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tinsmith.convert.data.source import Array, Feeds, Positions, Request

__all__ = ["NpzSource", "open_npz"]

_SPLIT = "split"
_RESERVED = ("y", "scale", "zero_point", SLICE, _SPLIT)
_UNREADABLE = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What the head of an array in the archive says about it."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scaling:
    """How the file's integers stand for real numbers: ``real = scale * (integer - zero_point)``."""

    scale: float
    zero_point: int

    def __call__(self, array: Array) -> Array:
        real = array.astype(np.float32)
        real -= np.float32(self.zero_point)
        real *= np.float32(self.scale)
        return real


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One array of the archive, and how it comes to fit an input."""

    key: str
    fit: Fit
    scaling: _Scaling | None

    def batch(self, array: Array, positions: Positions) -> Array:
        """Samples on axis 0, preprocessed and checked."""
        real = array if self.scaling is None else self.scaling(array)
        if self.fit.preprocessing.operations or self.fit.spec is None:
            return self.fit.batch(list(real), positions)
        return checks.as_fed(self.fit.where, real, self.fit.spec, positions)


class NpzSource:
    """An .npz file whose arrays were matched with a model's inputs; see ``Source``."""

    random_access = False

    def __init__(self, path: Path, columns: dict[str, _Column], metadata: Metadata, origin: Origin) -> None:
        self.origin = origin
        self.metadata = metadata
        self.preprocessing = next(iter(columns.values())).fit.preprocessing
        self._path = path
        self._columns = columns
        with zipfile.ZipFile(path) as archive, archive.open(f"{next(iter(columns.values())).key}.npy") as stream:
            self._samples = _read_header(stream).shape[0]

    def __len__(self) -> int:
        return self._samples

    def name_of(self, at: int) -> str:
        """Its number; see ``Source.name_of``."""
        return f"sample {at} (counted from 0)"

    def read(self, batches: Iterable[Positions]) -> Iterator[Feeds]:
        """Stream batches; see ``Source.read``."""
        for positions, arrays in self._raw(batches):
            yield {name: column.batch(arrays[name], positions) for name, column in self._columns.items()}

    def examine(self, positions: Positions) -> Iterator[Feeds | DataError]:
        """Stream single samples; see ``Source.examine``."""
        for at, arrays in self._raw(np.split(positions, len(positions))):
            yield self._examined(arrays, at)

    def _examined(self, arrays: dict[str, Array], at: Positions) -> Feeds | DataError:
        try:
            return {name: np.asarray(column.batch(arrays[name], at)[0]) for name, column in self._columns.items()}
        except DataError as error:
            return error

    def _raw(self, batches: Iterable[Positions]) -> Iterator[tuple[Positions, dict[str, Array]]]:
        with contextlib.ExitStack() as stack, _translated(self._path):
            archive = stack.enter_context(zipfile.ZipFile(self._path))
            rows = {
                name: stack.enter_context(contextlib.closing(_Rows(archive, column.key)))
                for name, column in self._columns.items()
            }
            for positions in batches:
                yield positions, {name: rows[name].read(positions) for name in self._columns}


class _Rows:
    """Reads rising rows of one array; a row that was passed can't be read again."""

    def __init__(self, archive: zipfile.ZipFile, key: str) -> None:
        self._stream: IO[bytes] = archive.open(f"{key}.npy")
        self._header = _read_header(self._stream)
        self._whole = _read_fortran(self._stream, self._header) if self._header.fortran else None
        self._at = 0

    def read(self, positions: Positions) -> Array:
        if self._whole is not None:
            return np.asarray(self._whole[positions])
        parts = [self._run(int(run[0]), len(run)) for run in np.split(positions, _breaks(positions))]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        self._stream.close()

    def _run(self, start: int, count: int) -> Array:
        row_bytes = self._header.row_bytes
        self._stream.seek((start - self._at) * row_bytes, 1)
        content = _read_exactly(self._stream, count * row_bytes)
        self._at = start + count
        return np.frombuffer(content, dtype=self._header.dtype).reshape(count, *self._header.shape[1:])


def open_npz(path: Path, request: Request) -> NpzSource:
    """Open an .npz file and check everything but the samples' values.

    A model with one input reads ``x``; any model reads one array an input name. ``y`` holds labels, ``slice`` what kind
    of sample each is, and ``split`` the name of the split it is in. Where ``x`` holds integers that stand for real
    numbers, ``scale`` and ``zero_point`` say how: ``x = (q - zero_point) * scale``.

    Raises:
        DataError: As ``open_dataset``.
    """
    _check_is_npz(path)
    with _translated(path), zipfile.ZipFile(path) as archive:
        headers = _headers(path, archive)
        inputs = _inputs(path, headers, request) if request.inputs is None else request.inputs
        arrays = checks.match_inputs(str(path), headers, inputs)
        scaling = _scaling(path, archive, headers, arrays)
        samples = _check(path, headers, arrays, request)
        metadata = Metadata(class_names=request.class_names)
        if "y" in headers and "y" not in arrays:
            metadata = labels_of_array(f"{path}, array 'y'", _load(archive, "y"), samples, request.class_names)
        free = [key for key in headers if key not in arrays]
        cells = {key: _load(archive, key) for key in wanted(request.slices, free, str(path))}
        slices, splits = slices_of_arrays(str(path), cells, samples), _splits(path, archive, free, samples)
        metadata = replace(metadata, slices=slices, splits=splits)
    columns = {spec.name: _column(path, key, spec, request, scaling) for key, spec in arrays.items()}
    origin = Origin(name=path.name, where=str(path), files=(path,), said=request.said)
    return NpzSource(path, columns, metadata, origin)


def _check_is_npz(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no .npz file", hint="save one with numpy.savez_compressed(path, x=x, y=y)")


def _column(path: Path, key: str, spec: TensorSpec, request: Request, scaling: _Scaling | None) -> _Column:
    preprocessing = request.preprocessing or Preprocessing()
    known = None if request.inputs is None and preprocessing.operations else spec
    fit = Fit(where=f"{path}, array {key!r}", spec=known, preprocessing=preprocessing)
    return _Column(key=key, fit=fit, scaling=scaling)


def _inputs(path: Path, headers: dict[str, _Header], request: Request) -> tuple[TensorSpec, ...]:
    """The arrays as the inputs of a model that takes them as they are."""
    keys = ["x"] if "x" in headers else [key for key in headers if key not in {*_RESERVED, *request.slices}]
    if not keys:
        raise DataError(f"{path} holds no samples: {', '.join(headers)}", hint="save them as x")
    dtypes = {key: "float32" if "scale" in headers else headers[key].dtype.name for key in keys}
    return tuple(TensorSpec(name=key, dtype=dtypes[key], shape=(None, *headers[key].shape[1:])) for key in keys)


def _headers(path: Path, archive: zipfile.ZipFile) -> dict[str, _Header]:
    headers = {}
    for member in archive.namelist():
        key = member.removesuffix(".npy")
        with archive.open(member) as stream:
            headers[key] = _read_header(stream)
        if headers[key].dtype.hasobject:
            raise DataError(
                f"{path}, array {key!r} holds pickled objects, and tinsmith never unpickles anything",
                hint="save plain arrays of one shape and dtype: numpy.savez(path, x=numpy.stack(samples))",
            )
    return headers


def _splits(path: Path, archive: zipfile.ZipFile, free: list[str], samples: int) -> tuple[str, ...] | None:
    """The split of each sample, from an array of names that no input takes."""
    if _SPLIT not in free:
        return None
    (column,) = slices_of_arrays(str(path), {_SPLIT: _load(archive, _SPLIT)}, samples)
    return split_names(f"{path}, array {_SPLIT!r}", column.cells)


def _scaling(
    path: Path, archive: zipfile.ZipFile, headers: dict[str, _Header], arrays: dict[str, TensorSpec]
) -> _Scaling | None:
    if "scale" not in headers or "scale" in arrays:
        return None
    scale = _scalar(path, archive, headers, "scale")
    zero_point = _scalar(path, archive, headers, "zero_point") if "zero_point" in headers else 0.0
    if not (np.isfinite(scale) and scale > 0 and float(zero_point).is_integer()):
        raise DataError(f"{path}: scale {scale} and zero_point {zero_point} are no quantization")
    for key, spec in arrays.items():
        if headers[key].dtype.kind not in "iu" or not checks.takes_real_numbers(spec):
            raise DataError(
                f"{path} holds a scale, but array {key!r} is {headers[key].dtype} for an input of {spec.dtype}",
                hint="scale and zero_point are for integers that stand for real numbers; leave them out otherwise",
            )
    return _Scaling(scale=scale, zero_point=int(zero_point))


def _scalar(path: Path, archive: zipfile.ZipFile, headers: dict[str, _Header], key: str) -> float:
    header = headers[key]
    if int(np.prod(header.shape)) != 1 or header.dtype.kind not in "fiu":
        raise DataError(f"{path}, array {key!r} must be a single number, not {header.dtype} {list(header.shape)}")
    return float(_load(archive, key).reshape(-1)[0])


def _check(path: Path, headers: dict[str, _Header], arrays: dict[str, TensorSpec], request: Request) -> int:
    """Hold every array to its input, unless preprocessing changes it; gives the number of samples."""
    changed = request.preprocessing is not None and request.preprocessing.operations
    if changed and len(arrays) > 1:
        raise DataError(f"{path}: preprocessing is for models with one input", hint="save what the model takes")
    for key, spec in arrays.items():
        if changed and headers[key].shape:
            continue
        where = f"{path}, array {key!r}"
        checks.check_dtype(where, headers[key].dtype, spec)
        checks.check_shape(where, headers[key].shape, spec)
    counts = {key: headers[key].shape[0] for key in arrays}
    if len(set(counts.values())) > 1:
        raise DataError(f"{path}: the arrays hold different numbers of samples: {counts}")
    samples = next(iter(counts.values()))
    if samples == 0:
        raise DataError(f"{path} holds no samples", hint="save at least one; tinsmith never makes samples up")
    return samples


def _load(archive: zipfile.ZipFile, key: str) -> Array:
    with archive.open(f"{key}.npy") as stream:
        return np.asarray(npy.read_array(stream, allow_pickle=False))


def _read_header(stream: IO[bytes]) -> _Header:
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(stream)
    if version not in readers:
        raise ValueError(f"an array of .npy version {version}")
    shape, fortran, dtype = readers[version](stream)
    return _Header(shape=shape, fortran=fortran and len(shape) > 1, dtype=dtype)


def _read_fortran(stream: IO[bytes], header: _Header) -> Array:
    """Column after column: a row can't be read by itself, so all are."""
    content = _read_exactly(stream, header.row_bytes * header.shape[0])
    return np.frombuffer(content, dtype=header.dtype).reshape(header.shape[::-1]).transpose()


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise EOFError("the array ends too early")
    return content


def _breaks(positions: Positions) -> Positions:
    """Where a run of neighbours ends and the next begins."""
    return np.flatnonzero(np.diff(positions) != 1) + 1


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise DataError(f"{path} is damaged: {error}", hint="get the file again from its source") from error
