"""Samples in a mixed order, within bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.convert.data.source import Feeds, Positions, Source

__all__ = ["BUFFER_BYTES", "mixed_samples"]

BUFFER_BYTES = 512 << 20
_CHUNK = 256


def mixed_samples(
    source: Source, positions: Positions, size: int, rng: np.random.Generator, *, buffer_bytes: int = BUFFER_BYTES
) -> Iterator[tuple[Feeds, Positions]]:
    """Stream samples in an order that depends on ``rng`` and ``positions`` alone, each exactly once.

    A source that can be read in any order is read in a permutation. One that can't is streamed through a buffer: each
    sample that comes in takes the place of a random one, which goes out. Where the buffer holds them all, that is a
    permutation too.

    Args:
        source: Where they lie.
        positions: Which of its samples, rising.
        size: Samples a batch, at least 1; the last may hold fewer.
        rng: Of the order.
        buffer_bytes: What the buffer may hold; it holds at least 256 samples.

    Yields:
        Feeds with the samples on axis 0, and the place of each sample in ``positions``.
    """
    if source.random_access:
        order = rng.permutation(len(positions))
        rows = [order[start : start + size] for start in range(0, len(order), size)]
        yield from zip(source.read(positions[places] for places in rows), rows, strict=True)
        return
    yield from _regrouped(_through_buffer(source, positions, rng, buffer_bytes), size)


def _through_buffer(
    source: Source, positions: Positions, rng: np.random.Generator, buffer_bytes: int
) -> Iterator[tuple[Feeds, Positions]]:
    """Chunks of any size in the buffer's order."""
    cuts = [slice(start, start + _CHUNK) for start in range(0, len(positions), _CHUNK)]
    places = np.arange(len(positions))
    buffer: Feeds = {}
    held = np.empty(0, dtype=np.int64)
    filled = 0
    for cut, chunk in zip(cuts, source.read(positions[cut] for cut in cuts), strict=True):
        come = places[cut]
        if not buffer:
            room = min(len(positions), _room(chunk, buffer_bytes))
            buffer = {name: np.empty((room, *a.shape[1:]), dtype=a.dtype) for name, a in chunk.items()}
            held = np.empty(room, dtype=np.int64)
        taken = min(len(come), len(held) - filled)
        spots = np.arange(filled, filled + taken)
        _put(buffer, held, spots, {name: a[:taken] for name, a in chunk.items()}, come[:taken])
        filled += taken
        if taken < len(come):
            spots = rng.choice(len(held), size=len(come) - taken, replace=False)
            yield {name: a[spots] for name, a in buffer.items()}, held[spots]
            _put(buffer, held, spots, {name: a[taken:] for name, a in chunk.items()}, come[taken:])
    order = rng.permutation(filled)
    for start in range(0, filled, _CHUNK):
        spots = order[start : start + _CHUNK]
        yield {name: a[spots] for name, a in buffer.items()}, held[spots]


def _room(chunk: Feeds, buffer_bytes: int) -> int:
    sample_bytes = sum(a.nbytes for a in chunk.values()) // len(next(iter(chunk.values())))
    return max(_CHUNK, buffer_bytes // max(1, sample_bytes))


def _put(buffer: Feeds, held: Positions, spots: Positions, chunk: Feeds, come: Positions) -> None:
    for name, array in chunk.items():
        buffer[name][spots] = array
    held[spots] = come


def _regrouped(chunks: Iterator[tuple[Feeds, Positions]], size: int) -> Iterator[tuple[Feeds, Positions]]:
    """The same samples in batches of one size; the last may be smaller."""
    waiting: list[tuple[Feeds, Positions]] = []
    count = 0
    for chunk in chunks:
        waiting.append(chunk)
        count += len(chunk[1])
        if count < size:
            continue
        feeds, rows = _joined(waiting)
        whole = count - count % size
        for start in range(0, whole, size):
            yield {name: a[start : start + size] for name, a in feeds.items()}, rows[start : start + size]
        count -= whole
        waiting = [({name: a[whole:] for name, a in feeds.items()}, rows[whole:])] if count else []
    if count:
        yield _joined(waiting)


def _joined(parts: list[tuple[Feeds, Positions]]) -> tuple[Feeds, Positions]:
    names = parts[0][0]
    rows = np.concatenate([rows for _, rows in parts])
    return {name: np.concatenate([feeds[name] for feeds, _ in parts]) for name in names}, rows
