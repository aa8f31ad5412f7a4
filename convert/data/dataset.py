"""Samples with labels, wherever they lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.data.joining import JoinedSource
from tinsmith.convert.data.metadata import OUTSIDE, SPLITS
from tinsmith.convert.data.mixing import mixed_samples
from tinsmith.convert.data.shares import Shares, share_out
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tinsmith.convert.data.metadata import Labels, Targets
    from tinsmith.convert.data.slices import SliceColumn
    from tinsmith.convert.data.source import Feeds, Positions, Source
    from tinsmith.runtime.preprocessing import Preprocessing

__all__ = ["Batch", "Dataset", "Splits", "digest_of"]

_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some samples.

    Attributes:
        feeds: One array an input name, samples on axis 0: real numbers as float32 where the model's input is float or
            quantized, the input's own dtype where it takes integers.
        labels: One class number a sample, int64; None where the samples have none.
        targets: Numbers to predict, float32 [samples, numbers]: of a regression, or one truth value a class. None where
            the labels are class numbers, or there are none.
    """

    feeds: Feeds
    labels: Labels | None
    targets: Targets | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The four parts of a dataset; no sample is in two of them, and one that would be empty is None.

    Attributes:
        train: To learn from.
        calibration: To find the ranges of activations on.
        validation: To choose among models on.
        test: To report on.
    """

    train: Dataset | None
    calibration: Dataset | None
    validation: Dataset | None
    test: Dataset | None


class Dataset:
    """Samples in a fixed order; reading them again gives the same again.

    Args:
        source: Where they lie.
        positions: Which of the source's samples, rising; None for all.
        name: What to call them in messages; None for the source's name.
        shares: Of the splits, where the source does not say them; None for the usual ones.
        digests: The ``digest_of`` of each sample, where somebody has read them all already.
        captured: Samples without labels that were seen in use: only ranges are found on them.
    """

    def __init__(
        self,
        source: Source,
        positions: Positions | None = None,
        name: str | None = None,
        *,
        shares: Shares | None = None,
        digests: NDArray[np.bytes_] | None = None,
        captured: tuple[Dataset, ...] = (),
    ) -> None:
        self.source = source
        self.positions = np.arange(len(source)) if positions is None else positions
        self.name = name or source.origin.name
        self._shares = shares
        self._digests = digests
        self._captured = captured

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def labels(self) -> Labels | None:
        """One class number a sample, int64; None where the samples have none.

        Raises:
            DataError: A label is none of the set.
        """
        if self.source.metadata.labels is None:
            return None
        labels = self.source.metadata.labels[self.positions]
        if (labels == OUTSIDE).any():
            self._refuse_label(int(self.positions[np.argmax(labels == OUTSIDE)]))
        return labels

    @property
    def targets(self) -> Targets | None:
        """Numbers to predict, float32 [samples, numbers]; None where the labels are class numbers."""
        targets = self.source.metadata.targets
        return None if targets is None else targets[self.positions]

    @property
    def has_answers(self) -> bool:
        """Whether anything says what each sample should be answered with."""
        return self.source.metadata.labels is not None or self.source.metadata.targets is not None

    @property
    def split_by_user(self) -> bool:
        """Whether the source or its data.yaml says how the samples are split."""
        return self.source.metadata.splits is not None or self._shares is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class number; empty where they are not known."""
        return self.source.metadata.class_names

    @property
    def slices(self) -> tuple[SliceColumn, ...]:
        """What kind of sample each is, such as ``night``, one a column; empty where the source does not say."""
        return tuple(column.at(self.positions) for column in self.source.metadata.slices)

    @property
    def preprocessing(self) -> Preprocessing:
        """All that is done to a raw sample; what a device must do as well."""
        return self.source.preprocessing

    @property
    def sha256(self) -> str:
        """Names the very samples: of file or folder, what was captured, and the positions if only some are taken."""
        whole = self.source.origin.sha256
        if self._captured:
            whole = hashlib.sha256(" ".join([whole, *(part.sha256 for part in self._captured)]).encode()).hexdigest()
        if len(self) == len(self.source):
            return whole
        return hashlib.sha256(whole.encode() + self.positions.astype("<i8").tobytes()).hexdigest()

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream the samples; only one batch is in memory at a time.

        Args:
            size: Samples a batch, at least 1; the last batch may hold fewer.

        Raises:
            DataError: A sample can't be read, holds NaN or infinity, or has a label that is none of the set.
        """
        if size < 1:
            raise ValueError(f"a batch holds at least one sample, not {size}")
        cuts = [np.arange(start, min(start + size, len(self))) for start in range(0, len(self), size)]
        yield from self._labelled(zip(self.source.read(self.positions[cut] for cut in cuts), cuts, strict=True))

    def mixed_batches(self, size: int, *, seed: int, epoch: int) -> Iterator[Batch]:
        """Stream the samples in an order that depends on ``seed`` and ``epoch`` alone, each sample exactly once.

        Sources that can be read in any order give a permutation; an .npz or a stream passes through a buffer of 512 MiB
        at most, and gives a permutation where it fits in.

        Args:
            size: Samples a batch, at least 1; the last batch may hold fewer.
            seed: Of the order.
            epoch: From 0; each epoch has an order of its own.

        Raises:
            DataError: As ``batches``.
        """
        if size < 1:
            raise ValueError(f"a batch holds at least one sample, not {size}")
        rng = np.random.default_rng((seed, epoch))
        yield from self._labelled(mixed_samples(self.source, self.positions, size, rng))

    def splits(self, seed: int, shares: Shares | None = None) -> Splits:
        """Split into train, calibration, validation and test.

        Where the source says the splits, they are taken as they are. Else samples are drawn by the seed, class by class
        where there are labels, and samples that are alike byte for byte stay together.

        Args:
            seed: Of the draw.
            shares: Of the splits; None for those of the data.yaml, or the usual ones. Not used where the source says
                the splits.

        Raises:
            DataError: As ``batches``: every sample is read once.
        """
        said = self.source.metadata.splits
        if said is not None:
            chosen = np.asarray([SPLITS.index(said[at]) for at in self.positions])
        else:
            chosen = share_out(self.labels, self._digested(), shares or self._shares or Shares(), seed)
        parts = [self.where(chosen == at, f"{name} of {self.name}") for at, name in enumerate(SPLITS)]
        return Splits(train=parts[0], calibration=parts[1], validation=parts[2], test=parts[3])

    def where(self, chosen: NDArray[np.bool_], name: str) -> Dataset | None:
        """The chosen samples.

        Args:
            chosen: Whether each sample is, bool [samples].
            name: What to call them in messages.

        Returns:
            A part, or None where nothing is chosen.
        """
        if chosen.all():
            return self
        digests = None if self._digests is None else self._digests[chosen]
        part = Dataset(self.source, self.positions[chosen], name, shares=self._shares, digests=digests)
        return part if len(part) else None

    def called(self, name: str) -> Dataset:
        """The same samples by another name."""
        return Dataset(
            self.source, self.positions, name, shares=self._shares, digests=self._digests, captured=self._captured
        )

    def cleaned(self, keep: NDArray[np.bool_], digests: NDArray[np.bytes_]) -> Dataset:
        """The samples that are kept, at least one, with the ``digest_of`` of each of them."""
        whole = bool(keep.all())
        name = self.name if whole else f"the usable samples of {self.name}"
        return Dataset(
            self.source, self.positions[keep], name, shares=self._shares, digests=digests, captured=self._captured
        )

    def with_captured(self, captured: tuple[Dataset, ...]) -> Dataset:
        """The same samples, with more beside them that were seen in use."""
        beside = (*self._captured, *captured)
        return Dataset(
            self.source, self.positions, self.name, shares=self._shares, digests=self._digests, captured=beside
        )

    def for_ranges(self, part: Dataset) -> Dataset:
        """A part of these samples, and behind it what was captured; without labels where anything was."""
        if not self._captured:
            return part
        count = sum(len(found) for found in self._captured)
        return Dataset(JoinedSource([part, *self._captured], name=f"{part.name} and {count:,} captured samples"))

    def take(self, n: int) -> Dataset:
        """The first ``n`` samples, or all where there are fewer."""
        if n < 1:
            raise ValueError(f"take at least one sample, not {n}")
        return self.where(np.arange(len(self)) < n, f"the first {min(n, len(self))} of {self.name}") or self

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
        first = self.where(picked, f"{n} samples of {self.name}")
        rest = self.where(~picked, f"the other {len(self) - n} samples of {self.name}")
        return first or self, rest or self

    def _labelled(self, read: Iterator[tuple[Feeds, Positions]]) -> Iterator[Batch]:
        labels, targets = self.labels, self.targets
        for feeds, rows in read:
            yield Batch(
                feeds=feeds,
                labels=None if labels is None else labels[rows],
                targets=None if targets is None else targets[rows],
            )

    def _digested(self) -> NDArray[np.bytes_]:
        if self._digests is None:
            self._digests = np.asarray(
                [
                    digest_of({name: array[row] for name, array in batch.feeds.items()})
                    for batch in self.batches(_BATCH)
                    for row in range(len(next(iter(batch.feeds.values()))))
                ],
                dtype="S32",
            )
        return self._digests

    def _refuse_label(self, at: int) -> None:
        names = ", ".join(self.class_names[:8]) + (", ..." if len(self.class_names) > 8 else "")
        raise DataError(
            f"{self.source.origin.where}: {self.source.name_of(at)} has the label "
            f"{self.source.metadata.outside[at]!r}, which is none of {names}",
            hint="add it to `labels:` in the data.yaml; `tinsmith data check` lists all of them",
        )


def digest_of(sample: Feeds) -> bytes:
    """Names one sample, without a batch axis, by its content: 31 of the bytes of a sha256.

    The last byte is always 1, because numpy drops zeros at the end of bytes.
    """
    digest = hashlib.sha256()
    for array in sample.values():
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()[:31] + b"\x01"


def _shares(counts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Share ``n`` out in proportion to ``counts`` by the largest remainder; exact, in whole numbers."""
    total = int(counts.sum())
    quotas = counts * n // total
    remainders = counts * n % total
    order = np.argsort(-remainders, kind="stable")
    quotas[order[: n - int(quotas.sum())]] += 1
    return np.asarray(quotas, dtype=np.int64)
