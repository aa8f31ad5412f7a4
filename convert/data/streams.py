"""Samples that come one after the other, such as those of a generator; nothing but their labels is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tinsmith.convert.data.fitting import Fit
    from tinsmith.convert.data.metadata import Metadata
    from tinsmith.convert.data.source import Feeds, Origin, Positions
    from tinsmith.runtime.preprocessing import Raw

    Pairs = Callable[[], Iterable[Any]]

__all__ = ["Scan", "StreamSource", "scan"]


class StreamSource:
    """Pairs of a sample and its label, made anew for each reading; see ``Source``.

    Args:
        name: Of the input.
        pairs: Gives the same pairs in the same order each time.
        fit: How they come to fit the input.
        metadata: Of the samples.
        origin: Of the samples.
        samples: How many there are.
    """

    random_access = False

    def __init__(self, pairs: Pairs, fit: Fit, metadata: Metadata, origin: Origin, samples: int) -> None:
        self.origin = origin
        self.metadata = metadata
        self.preprocessing = fit.preprocessing
        self._pairs = pairs
        self._fit = fit
        self._name = "x" if fit.spec is None else fit.spec.name
        self._samples = samples

    def __len__(self) -> int:
        return self._samples

    def name_of(self, at: int) -> str:
        """Its number; see ``Source.name_of``."""
        return f"sample {at} (counted from 0)"

    def read(self, batches: Iterable[Positions]) -> Iterator[Feeds]:
        """Stream batches; see ``Source.read``."""
        walk = self._walk()
        for positions in batches:
            raws = [_forward(walk, int(at), self.origin.where) for at in positions]
            yield {self._name: self._fit.batch(raws, positions)}

    def examine(self, positions: Positions) -> Iterator[Feeds | DataError]:
        """Stream single samples; see ``Source.examine``."""
        walk = self._walk()
        for at in map(int, positions):
            yield self._examined(_forward(walk, at, self.origin.where), at)

    def _examined(self, raw: Raw, at: int) -> Feeds | DataError:
        try:
            return {self._name: self._fit.one(raw, at)}
        except DataError as error:
            return error

    def _walk(self) -> Iterator[tuple[int, Raw]]:
        for at, pair in enumerate(self._pairs()):
            yield at, sample_of(pair, self.origin.where)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a walk over all pairs has found.

    Attributes:
        samples: How many there are.
        labels: Of the samples; empty where they have none.
        slices: The cells of each column that says what kind of sample each is.
        sha256: Of all samples and labels.
    """

    samples: int
    labels: list[Any]
    slices: dict[str, list[Any]]
    sha256: str


def scan(pairs: Iterable[Any], where: str) -> Scan:
    """Walk over all pairs once.

    Raises:
        DataError: There are none, or only some have labels or slices.
    """
    labels: list[Any] = []
    slices: dict[str, list[Any]] = {}
    digest = hashlib.sha256()
    samples = 0
    for pair in pairs:
        raw, label, cells = sample_of(pair, where)
        digest.update(_bytes_of(raw) + repr(label).encode())
        samples += 1
        labels += [] if label is None else [label]
        for name, cell in cells.items():
            slices.setdefault(name, []).append(cell)
    if not samples:
        raise DataError(f"{where} holds no samples")
    for what, found in (("labels", labels), *((f"slices {name!r}", cells) for name, cells in slices.items())):
        if len(found) not in (0, samples):
            raise DataError(f"{where} holds {len(found)} {what} for {samples} samples", hint="give each sample one")
    return Scan(samples=samples, labels=labels, slices=slices, sha256=digest.hexdigest())


def sample_of(pair: Any, where: str) -> tuple[Raw, Any, dict[str, Any]]:
    """The sample, the label and the slices of one pair; a sample alone has the label None.

    Raises:
        DataError: It is something else.
    """
    raw, label, cells = (*pair, {})[:3] if _is_pair(pair) else (pair, None, {})
    if not isinstance(raw, str | bytes | Path):
        raw = np.asarray(raw)
        if raw.dtype.hasobject:
            raise DataError(f"{where} gives {type(pair).__name__}, and no pairs of a sample and its label")
    if isinstance(label, bytes):
        label = label.decode("utf-8", errors="replace")
    return raw, label.tolist() if isinstance(label, np.ndarray | np.generic) else label, cells


def _is_pair(pair: Any) -> bool:
    """Whether it is a sample with its label, or with its label and a dict of what kind of sample it is."""
    return isinstance(pair, tuple) and (len(pair) == 2 or (len(pair) == 3 and isinstance(pair[2], dict)))


def _bytes_of(raw: Raw) -> bytes:
    if isinstance(raw, np.ndarray):
        return f"{raw.dtype}{raw.shape}".encode() + np.ascontiguousarray(raw).tobytes()
    if isinstance(raw, Path):
        return raw.read_bytes() if raw.is_file() else str(raw).encode()
    return raw.encode() if isinstance(raw, str) else raw


def _forward(walk: Iterator[tuple[int, Raw]], at: int, where: str) -> Raw:
    """The sample at a place, passing those before it."""
    for place, raw in walk:
        if place == at:
            return raw
    raise DataError(f"{where} gave fewer samples this time than before", hint="make it give the same samples each time")
