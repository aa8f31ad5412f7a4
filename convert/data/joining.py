"""Several datasets read as one, for the same model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.data.metadata import Metadata
from tinsmith.convert.data.source import Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tinsmith.convert.data.dataset import Dataset
    from tinsmith.convert.data.source import Feeds, Positions
    from tinsmith.runtime.errors import DataError

__all__ = ["JoinedSource"]


class JoinedSource:
    """The samples of several datasets, one dataset after the other, without their labels; see ``Source``.

    Args:
        parts: At least one; all were opened for the same inputs.
        name: What to call them together.
    """

    random_access = False

    def __init__(self, parts: Sequence[Dataset], *, name: str) -> None:
        self.metadata = Metadata()
        self.preprocessing = parts[0].preprocessing
        self._parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in parts])
        self.origin = Origin(name=name, where=name, said=" ".join(part.sha256 for part in parts))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def name_of(self, at: int) -> str:
        """That of its part; see ``Source.name_of``."""
        number, place = self._located(at)
        part = self._parts[number]
        return f"{part.source.name_of(int(part.positions[place]))} of {part.name}"

    def read(self, batches: Iterable[Positions]) -> Iterator[Feeds]:
        """Stream batches; see ``Source.read``."""
        shared = [self._shared(positions) for positions in batches if len(positions)]
        if not shared:
            return
        # each part is read once, from first to last
        columns = zip(*shared, strict=True)
        readers = [
            part.source.read([share for share in column if len(share)])
            for part, column in zip(self._parts, columns, strict=True)
        ]
        for shares in shared:
            yield _together([next(reader) for reader, share in zip(readers, shares, strict=True) if len(share)])

    def examine(self, positions: Positions) -> Iterator[Feeds | DataError]:
        """Stream single samples; see ``Source.examine``."""
        for part, share in zip(self._parts, self._shared(positions), strict=True):
            yield from part.source.examine(share)

    def _shared(self, positions: Positions) -> list[Positions]:
        """Which samples of its source each part gives; positions rise, so that the order is kept."""
        starts = self._ends - [len(part) for part in self._parts]
        inside = [(positions >= start) & (positions < end) for start, end in zip(starts, self._ends, strict=True)]
        return [
            part.positions[positions[its] - start] for part, its, start in zip(self._parts, inside, starts, strict=True)
        ]

    def _located(self, at: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._ends, at, side="right"))
        return number, at - (int(self._ends[number - 1]) if number else 0)


def _together(feeds: list[Feeds]) -> Feeds:
    return {name: np.concatenate([part[name] for part in feeds]) for name in feeds[0]}
