"""Calibrations as files: one .npz of plain arrays, the same bytes for the same calibration.

=============  =========================  ==========================================================================
array          dtype, shape               says
=============  =========================  ==========================================================================
version        int64 []                   of this format, 1
model_sha256   str []                     the model that was run
samples        int64 []                   how many were run
names          str [tensors]              one a tensor
extremes       float64 [tensors, 2, 2]    half (even, odd), end (low, high)
averages       float64 [tensors, 2, 3]    half, then weight and weighted sums of low and high
averaged       int64 [tensors, 2]         entries of the average; 0 where the half saw nothing
grids          int64 [tensors, 2, 3]      exponent, lowest bin and number of bins; 0 bins for no histogram
counts         int64 [all bins]           of all histograms, one after the other
=============  =========================  ==========================================================================
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.calibration.calibration import Calibration
from tinsmith.convert.calibration.histogram import LEAST_EXPONENT, MOST_BINS, Histogram
from tinsmith.convert.calibration.ranges import Range
from tinsmith.convert.calibration.statistics import Average, Seen, Statistics
from tinsmith.runtime.errors import DataError, first_line
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.generic]]

__all__ = ["load_calibration", "save_calibration"]

_VERSION = 1
# No model that one calibrates has more tensors than fit into it; a file that unpacks to more is no calibration.
_MOST_BYTES = 4 << 30
_GREATEST_EXPONENT = 127
_SHAPES = {"extremes": (2, 2), "averages": (2, 3), "averaged": (2,), "grids": (2, 3)}


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration, whole or not at all.

    Raises:
        OutputError: The file can't be written.
    """
    stream = io.BytesIO()
    np.savez_compressed(stream, **_packed(calibration))  # type: ignore[arg-type]
    write_bytes(path, stream.getvalue())


def load_calibration(path: Path) -> Calibration:
    """Read a calibration; the file is not trusted.

    Raises:
        DataError: It is missing, damaged, or no calibration.
    """
    try:
        _check_size(path)
        with np.load(path, allow_pickle=False) as file:
            return _unpacked({name: file[name] for name in file.files})
    except OSError as error:
        raise DataError(f"cannot read the calibration {path}: {error.strerror or first_line(error)}") from error
    except Exception as error:  # zipfile, zlib and numpy raise BadZipFile, KeyError, ValueError, EOFError and more
        raise DataError(
            f"{path} is no calibration, or is damaged: {first_line(error)}",
            hint="make it with `tinsmith calibrate MODEL --data DATA -o RANGES`",
        ) from error


def _check_size(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
            raise ValueError("it unpacks to more than any model needs")


def _packed(calibration: Calibration) -> Arrays:
    halves = [half for seen in calibration.tensors.values() for half in (seen.even, seen.odd)]
    shape = (len(calibration.tensors), 2)
    bins = [h.histogram.counts for h in halves if h is not None and h.histogram is not None]
    return {
        "version": np.array(_VERSION),
        "model_sha256": np.array(calibration.model_sha256),
        "samples": np.array(calibration.samples),
        "names": np.array(list(calibration.tensors)),
        "extremes": np.array([_extremes(half) for half in halves], np.float64).reshape(*shape, 2),
        "averages": np.array([_average(half) for half in halves], np.float64).reshape(*shape, 3),
        "averaged": np.array([0 if half is None else half.average.samples for half in halves]).reshape(shape),
        "grids": np.array([_grid(half) for half in halves], np.int64).reshape(*shape, 3),
        "counts": np.concatenate([np.zeros(0, np.int64), *bins]),
    }


def _extremes(half: Statistics | None) -> tuple[float, float]:
    return (0.0, 0.0) if half is None else (half.extremes.low, half.extremes.high)


def _average(half: Statistics | None) -> tuple[float, float, float]:
    return (0.0, 0.0, 0.0) if half is None else (half.average.weight, half.average.low, half.average.high)


def _grid(half: Statistics | None) -> tuple[int, int, int]:
    if half is None or half.histogram is None:
        return 0, 0, 0
    return half.histogram.exponent, half.histogram.lowest, len(half.histogram.counts)


def _unpacked(arrays: Arrays) -> Calibration:
    _check(arrays)
    names = [str(name) for name in arrays["names"]]
    counts = np.asarray(arrays["counts"], np.int64)
    histograms = list(_histograms(np.asarray(arrays["grids"]).reshape(-1, 3), counts))
    found = []
    for at in range(2 * len(names)):
        tensor, half = divmod(at, 2)
        found.append(_half(arrays, tensor, half, histograms[at]))
    tensors = {name: Seen(even=found[2 * at], odd=found[2 * at + 1]) for at, name in enumerate(names)}
    if any(not seen.halves for seen in tensors.values()):
        raise ValueError("a tensor has no range")
    return Calibration(model_sha256=str(arrays["model_sha256"]), samples=int(arrays["samples"].item()), tensors=tensors)


def _half(arrays: Arrays, tensor: int, half: int, histogram: Histogram | None) -> Statistics | None:
    entries = int(arrays["averaged"][tensor, half])
    if not entries:
        return None
    low, high = (float(end) for end in arrays["extremes"][tensor, half])
    weight, average_low, average_high = (float(part) for part in arrays["averages"][tensor, half])
    if low > high or weight <= 0:
        raise ValueError("a range ends before it starts")
    return Statistics(
        extremes=Range(low=low, high=high),
        average=Average(samples=entries, weight=weight, low=average_low, high=average_high),
        histogram=histogram,
    )


def _histograms(grids: NDArray[np.generic], counts: NDArray[np.int64]) -> Iterator[Histogram | None]:
    at = 0
    for exponent, lowest, bins in grids.tolist():
        if not bins:
            yield None
            continue
        part = counts[at : at + bins]
        sound = LEAST_EXPONENT <= exponent <= _GREATEST_EXPONENT and 0 <= -lowest < bins <= MOST_BINS
        if not sound or len(part) != bins or (part < 0).any() or not part.any():
            raise ValueError("a histogram does not hold together")
        yield Histogram(exponent=exponent, lowest=lowest, counts=part)
        at += bins


def _check(arrays: Arrays) -> None:
    if int(arrays["version"].item()) != _VERSION:
        raise ValueError(f"version {arrays['version'].item()} is not {_VERSION}, which this tinsmith reads")
    tensors = len(arrays["names"])
    for name, shape in _SHAPES.items():
        array = arrays[name]
        if array.shape != (tensors, *shape) or array.dtype.kind not in "if" or not np.isfinite(array).all():
            raise ValueError(f"{name} is not what it must be")
    if int(arrays["samples"].item()) < 1 or not tensors or len(set(arrays["names"].tolist())) != tensors:
        raise ValueError("it holds no samples, or no tensors")
