"""What is measured of each sample: a few numbers a tensor, which follow from its dtype and shape alone.

The bundle's reference and the watch on a server use this one code, so that like is compared with like. Floats are those
that are stored: a quantized input is measured in its integers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.runtime.monitor.reference import Statistic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Feeds = Mapping[str, Array]
    Floats = NDArray[np.floating[Any]]
    Named = Iterator[tuple[str, Floats]]

__all__ = ["MOST_COLUMNS", "MOST_ENTRIES", "samples_in", "summarise"]

# Entries of a sample that are looked at: they give its mean within 2 % of its deviation, and all 150,528 numbers of a
# picture would take far longer than the whole rest.
MOST_ENTRIES = 2048
# A row of so few numbers is a table's, and each has its own meaning.
MOST_COLUMNS = 16
_SUMS_TO_ONE = 1e-3


def summarise(feeds: Feeds, outputs: Feeds) -> list[tuple[Statistic, Floats]]:
    """Measure samples.

    ===================================  ===============================================================================
    tensor                               what is measured of each sample
    ===================================  ===============================================================================
    one number                           ``value``
    input, a row of up to 16 numbers     each by its position, ``0``, ``1``, ...
    input, a row of 32 or 64-bit         ``length`` up to the last that is not 0, ``mean``, and ``distinct``: how many
    integers (tokens)                    different ones there are, over the length
    input, text                          ``length`` in characters
    output, a row of scores              ``class`` of the highest, ``top``: that score, ``entropy`` in nats
    any other                            ``mean``, ``std``, ``min``, ``max`` and ``zeros``, the share of entries that
                                         are 0; of at most 2,048 evenly spaced entries
    ===================================  ===============================================================================

    Scores of floats that are no shares of 1 become shares by softmax; integers count from the least of their dtype,
    which is what a quantized softmax stands for.

    Args:
        feeds: One array an input name, in stored dtypes, samples on axis 0.
        outputs: One array an output name, likewise.

    Returns:
        Each statistic with its values, floats [samples]; NaN where a sample makes it so.
    """
    samples = samples_in(feeds, outputs)
    found: list[tuple[Statistic, Floats]] = []
    with np.errstate(all="ignore"):
        for side, tensors, measure in (("inputs", feeds, _of_input), ("outputs", outputs, _of_output)):
            for tensor, array in tensors.items():
                if samples and array.size:
                    named = measure(array.reshape(samples, -1), _is_row(array, samples))
                    found += [(Statistic(side, tensor, name), values) for name, values in named]
    return found


def samples_in(feeds: Feeds, outputs: Feeds) -> int:
    """How many samples arrays hold: the length of axis 0 where all share it, else 1, as there is no batch axis."""
    lengths = {array.shape[0] if array.ndim else 1 for arrays in (feeds, outputs) for array in arrays.values()}
    return lengths.pop() if len(lengths) == 1 else 1


def _is_row(array: Array, samples: int) -> bool:
    """Whether a sample of it is a row of numbers, without further axes."""
    return array.ndim <= 2 if array.shape[:1] == (samples,) else array.ndim <= 1


def _of_input(rows: Array, is_row: bool) -> Named:
    entries = rows.shape[1]
    if rows.dtype.kind in "OSU":
        yield "length", _characters(rows)
    elif entries == 1:
        yield "value", rows[:, 0].astype(np.float64)
    elif is_row and entries <= MOST_COLUMNS:
        for position in range(entries):
            yield str(position), rows[:, position].astype(np.float64)
    elif is_row and _is_wide(rows.dtype):
        yield from _of_tokens(rows)
    else:
        yield from _of_many(rows)


def _of_output(rows: Array, is_row: bool) -> Named:
    if rows.dtype.kind in "OSU":
        yield "length", _characters(rows)
    elif rows.shape[1] == 1:
        yield "value", rows[:, 0].astype(np.float64)
    elif is_row and rows.dtype.kind in "fiu" and not _is_wide(rows.dtype):
        yield from _of_scores(rows)
    else:
        yield from _of_many(rows)


def _is_wide(dtype: np.dtype[np.generic]) -> bool:
    """Whether these are numbers of things rather than quantized or counted light."""
    return dtype.kind in "iu" and dtype.itemsize >= 4


def _of_many(rows: Array) -> Named:
    # single precision: its sums are pairwise, and twice as fast
    x = np.ascontiguousarray(_some(rows), np.float32)
    entries = x.shape[1]
    mean = np.add.reduce(x, axis=1) / entries
    yield "mean", mean
    if rows.dtype.kind == "b":
        return
    yield "min", np.minimum.reduce(x, axis=1)
    yield "max", np.maximum.reduce(x, axis=1)
    # row by row: along an axis, counting takes ten times as long, and a sum of squares four times
    yield "zeros", np.array([1 - np.count_nonzero(row) / entries for row in x])
    yield "std", np.sqrt(np.array([row.dot(row) for row in x - mean[:, None]]) / entries)


def _some(rows: Array) -> Array:
    """At most ``MOST_ENTRIES`` of each row, evenly spaced.

    The stride shares no factor with the row's length, so that it falls on every channel and column in turn.
    """
    entries = rows.shape[1]
    if entries <= MOST_ENTRIES:
        return rows
    stride = -(-entries // MOST_ENTRIES)
    while math.gcd(stride, entries) != 1:
        stride += 1
    return rows[:, ::stride]


def _of_tokens(rows: Array) -> Named:
    entries = rows.shape[1]
    filled = rows != 0
    length = np.where(filled.any(axis=1), entries - filled[:, ::-1].argmax(axis=1), 0).astype(np.float64)
    least_one = np.maximum(length, 1)
    yield "length", length
    yield "mean", np.add.reduce(rows, axis=1, dtype=np.float64) / least_one
    ordered = np.sort(rows, axis=1)
    changes = np.add.reduce(ordered[:, 1:] != ordered[:, :-1], axis=1, dtype=np.float64)
    yield "distinct", (changes + 1 - ~filled.all(axis=1)) / least_one


def _of_scores(rows: Array) -> Named:
    yield "class", rows.argmax(axis=1).astype(np.float64)
    x = rows.astype(np.float32)
    top = np.maximum.reduce(x, axis=1)
    yield "top", top
    shares = _shares(x, top) if rows.dtype.kind == "f" else _parts(x - np.iinfo(rows.dtype.name).min)
    yield "entropy", -np.add.reduce(shares * np.log(np.maximum(shares, np.float32(1e-30))), axis=1)


def _shares(x: Floats, top: Floats) -> Floats:
    are_shares = [
        abs(total - 1) <= _SUMS_TO_ONE and most <= 1 + _SUMS_TO_ONE
        for total, most in zip(np.add.reduce(x, axis=1).tolist(), top.tolist(), strict=True)
    ]
    if all(are_shares):
        return x
    return np.where(np.array(are_shares)[:, None], x, _parts(np.exp(x - top[:, None])))


def _parts(x: Floats) -> Floats:
    """Each over the sum of its row; 0 where that is 0."""
    sums = np.add.reduce(x, axis=1)[:, None]
    parts: Floats = np.divide(x, sums, out=np.zeros_like(x), where=sums != 0)
    return parts


def _characters(rows: Array) -> Floats:
    return np.asarray(
        [sum(len(str(cell) if not isinstance(cell, bytes) else cell) for cell in row) for row in rows], float
    )
