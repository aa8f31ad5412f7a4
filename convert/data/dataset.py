"""Samples with labels, wherever they lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tinsmith.runtime.errors import DataError
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Array = NDArray[np.generic]
Feeds = dict[str, Array]
Labels = NDArray[np.int64]
Positions = NDArray[np.int64]

__all__ = ["Array", "Batch", "Dataset", "Feeds", "Labels", "Positions", "Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some samples.

    Attributes:
        feeds: One array an input name, samples on axis 0: real numbers as float32 where the model's input is float or
            quantized, the input's own dtype where it takes integers.
        labels: One class number a sample, int64; None where the samples have none.
    """

    feeds: Feeds
    labels: Labels | None


class Source(Protocol):
    """Where samples lie.

    Attributes:
        path: The file or folder.
        labels: One class number a sample, in the order of the samples; None where there are none.
        class_names: The name of each class number; empty where they are not known.
    """

    path: Path
    labels: Labels | None
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """How many samples there are; at least one."""
        ...

    def read(self, batches: Iterable[Positions]) -> Iterator[Feeds]:
        """Read one batch after the other, and check its values.

        Args:
            batches: Which samples stand in each batch; none is empty, and the positions rise from first to last.

        Raises:
            DataError: A sample can't be read, or holds NaN or infinity.
        """
        ...


class Dataset:
    """Samples in a fixed order; reading them again gives the same again.

    Args:
        source: Where they lie.
        positions: Which of the source's samples, rising; None for all.
        name: What to call them in messages; None for the file's name.
    """

    def __init__(self, source: Source, positions: Positions | None = None, name: str | None = None) -> None:
        self._source = source
        self._positions = np.arange(len(source)) if positions is None else positions
        self.name = name or source.path.name

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def labels(self) -> Labels | None:
        """One class number a sample, int64; None where the samples have none."""
        return None if self._source.labels is None else self._source.labels[self._positions]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class number; empty where they are not known."""
        return self._source.class_names

    @property
    def sha256(self) -> str:
        """Names the very samples: of the file or folder, and of the positions where only some are taken."""
        whole = sha256_of(self._source.path)
        if len(self) == len(self._source):
            return whole
        return hashlib.sha256(whole.encode() + self._positions.astype("<i8").tobytes()).hexdigest()

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream the samples; only one batch is in memory at a time.

        Args:
            size: Samples a batch, at least 1; the last batch may hold fewer.

        Raises:
            DataError: A sample can't be read, or holds NaN or infinity.
        """
        if size < 1:
            raise ValueError(f"a batch holds at least one sample, not {size}")
        cuts = [slice(start, start + size) for start in range(0, len(self), size)]
        labels = self.labels
        for cut, feeds in zip(cuts, self._source.read(self._positions[cut] for cut in cuts), strict=True):
            yield Batch(feeds=feeds, labels=None if labels is None else labels[cut])

    def mixed_batches(self, size: int, *, seed: int, epoch: int) -> Iterator[Batch]:
        """Stream the samples in an order that depends on ``seed`` and ``epoch`` alone, each sample exactly once.

        Args:
            size: Samples a batch, at least 1; the last batch may hold fewer.
            seed: Of the order.
            epoch: From 0; each epoch has an order of its own.

        Raises:
            DataError: A sample can't be read, or holds NaN or infinity.
        """
        (whole,) = self.batches(len(self))
        order = np.random.default_rng((seed, epoch)).permutation(len(self))
        for start in range(0, len(self), size):
            rows = order[start : start + size]
            feeds = {name: array[rows] for name, array in whole.feeds.items()}
            yield Batch(feeds=feeds, labels=None if whole.labels is None else whole.labels[rows])

    def take(self, n: int) -> Dataset:
        """The first ``n`` samples, or all where there are fewer."""
        if n < 1:
            raise ValueError(f"take at least one sample, not {n}")
        return self._part(self._positions[:n], f"the first {min(n, len(self))} of {self.name}")

    def stratified_split(self, n: int, seed: int) -> tuple[Dataset, Dataset]:
        """Split so that each class has the same share in both parts, as nearly as whole samples allow.

        The shares are rounded by the largest remainder (Hamilton's method), ties to the lower class number; which
        samples of a class are picked depends on the seed alone.

        Args:
            n: Samples in the first part; at least 1, and fewer than there are.
            seed: Of the choice.

        Returns:
            The picked samples, and all others; both in their old order.

        Raises:
            DataError: The samples have no labels, or there are not more than ``n``.
        """
        labels = self.labels
        if labels is None:
            raise DataError(f"{self.name} has no labels, so it can't be split by class", hint="add y to the .npz")
        if not 0 < n < len(self):
            raise DataError(f"{n} samples can't be split off {self.name}, which holds {len(self)}")
        picked = np.zeros(len(self), dtype=bool)
        rng = np.random.default_rng(seed)
        classes, counts = np.unique(labels, return_counts=True)
        for label, quota in zip(classes, _shares(counts, n), strict=True):
            picked[rng.permutation(np.flatnonzero(labels == label))[:quota]] = True
        return (
            self._part(self._positions[picked], f"{n} samples of {self.name}"),
            self._part(self._positions[~picked], f"the other {len(self) - n} samples of {self.name}"),
        )

    def _part(self, positions: Positions, name: str) -> Dataset:
        return self if len(positions) == len(self) else Dataset(self._source, positions, name)


def _shares(counts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Share ``n`` out in proportion to ``counts`` by the largest remainder; exact, in whole numbers."""
    total = int(counts.sum())
    quotas = counts * n // total
    remainders = counts * n % total
    order = np.argsort(-remainders, kind="stable")
    quotas[order[: n - int(quotas.sum())]] += 1
    return np.asarray(quotas, dtype=np.int64)
