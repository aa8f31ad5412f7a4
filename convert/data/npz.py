"""Samples in an .npz file, streamed from the archive without ever unpacking all of it."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from tinsmith.convert.data import checks
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tinsmith.convert.data.dataset import Array, Feeds, Labels, Positions
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["NpzSource", "open_npz"]

_RESERVED = ("y", "scale", "zero_point")
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


class NpzSource:
    """An .npz file whose arrays were matched with a model's inputs; see ``Source``."""

    def __init__(
        self, path: Path, arrays: dict[str, TensorSpec], samples: int, labels: Labels | None, scaling: _Scaling | None
    ) -> None:
        self.path = path
        self.labels = labels
        self.class_names: tuple[str, ...] = ()
        self._arrays = arrays
        self._samples = samples
        self._scaling = scaling

    def __len__(self) -> int:
        return self._samples

    def read(self, batches: Iterable[Positions]) -> Iterator[Feeds]:
        """Stream batches; see ``Source.read``."""
        with contextlib.ExitStack() as stack, _translated(self.path):
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            rows = {key: stack.enter_context(contextlib.closing(_Rows(archive, key))) for key in self._arrays}
            for positions in batches:
                yield {
                    spec.name: self._fed(key, rows[key].read(positions), spec, positions)
                    for key, spec in self._arrays.items()
                }

    def _fed(self, key: str, array: Array, spec: TensorSpec, positions: Positions) -> Array:
        if self._scaling is not None:
            array = self._scaling(array)
        return checks.as_fed(f"{self.path}, array {key!r}", array, spec, positions)


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


def open_npz(path: Path, inputs: tuple[TensorSpec, ...]) -> NpzSource:
    """Open an .npz file and check everything but the samples' values.

    A model with one input reads ``x``; any model reads one array an input name. ``y`` holds class numbers. Where ``x``
    holds integers that stand for real numbers, ``scale`` and ``zero_point`` say how: ``x = (q - zero_point) * scale``.

    Raises:
        DataError: As ``open_dataset``.
    """
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no .npz file", hint="save one with numpy.savez_compressed(path, x=x, y=y)")
    with _translated(path), zipfile.ZipFile(path) as archive:
        headers = _headers(path, archive)
        arrays = _match(path, headers, inputs)
        scaling = _scaling(path, archive, headers, arrays)
        samples = _check(path, headers, arrays)
        labels = None
        if "y" in headers and "y" not in arrays:
            labels = checks.as_labels(f"{path}, array 'y'", _load(archive, "y"), samples)
    return NpzSource(path, arrays, samples, labels, scaling)


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


def _match(path: Path, headers: dict[str, _Header], inputs: tuple[TensorSpec, ...]) -> dict[str, TensorSpec]:
    """Find the array of each input: by its name, by its name without TensorFlow's ornaments, or ``x``."""
    if len(inputs) == 1 and "x" in headers:
        return {"x": inputs[0]}
    matched = {}
    for spec in inputs:
        plain = spec.name.removeprefix("serving_default_").rsplit(":", maxsplit=1)[0]
        key = spec.name if spec.name in headers else plain
        if key not in headers:
            raise DataError(
                f"{path} holds {', '.join(map(repr, headers)) or 'nothing'}, but no array for the model's input "
                f"{spec.name!r}",
                hint="save one array an input name" + (", or x" if len(inputs) == 1 else ""),
            )
        matched[key] = spec
    return matched


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


def _check(path: Path, headers: dict[str, _Header], arrays: dict[str, TensorSpec]) -> int:
    """Hold every array to its input; gives the number of samples."""
    for key, spec in arrays.items():
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
