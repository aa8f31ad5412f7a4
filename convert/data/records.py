"""Sources whose samples can be read one by one, in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tinsmith.runtime.errors import DataError, UnreadableSampleError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tinsmith.convert.data.fitting import Fit
    from tinsmith.convert.data.metadata import Metadata
    from tinsmith.convert.data.source import Feeds, Origin, Positions
    from tinsmith.runtime.preprocessing import Raw

__all__ = ["ImageFiles", "RecordSource", "Records", "TextFiles"]


class Records(Protocol):
    """Raw samples by their place; an array is one as well."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, at: int, /) -> Raw:
        """The raw sample at a place; raises ``UnreadableSampleError``."""
        ...


class ImageFiles:
    """One image file a sample."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, at: int, /) -> Raw:
        return self._files[at]


class TextFiles:
    """One UTF-8 text file a sample."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, at: int, /) -> Raw:
        path = self._files[at]
        try:
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableSampleError(
                f"{path} can't be read as UTF-8 text: {first_line(error)}",
                hint="save it as UTF-8, or move it out of the folder",
            ) from error


class RecordSource:
    """Samples that are read one by one; see ``Source``.

    Args:
        columns: The raw samples of each input, and how they come to fit it, by its name; all of one length.
        metadata: Of the samples.
        origin: Of the samples.
        files: Where each sample is a file, that file.
    """

    random_access = True

    def __init__(
        self,
        columns: Mapping[str, tuple[Records, Fit]],
        metadata: Metadata,
        origin: Origin,
        files: Sequence[Path] = (),
    ) -> None:
        self.origin = origin
        self.metadata = metadata
        self.preprocessing = next(iter(columns.values()))[1].preprocessing
        self._columns = columns
        self._files = files

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()))[0])

    def name_of(self, at: int) -> str:
        """Its file, or its number; see ``Source.name_of``."""
        return str(self._files[at]) if self._files else f"sample {at} (counted from 0)"

    def read(self, batches: Iterable[Positions]) -> Iterator[Feeds]:
        """Read batches, in any order; see ``Source.read``."""
        for positions in batches:
            yield {
                name: fit.batch([records[int(at)] for at in positions], positions)
                for name, (records, fit) in self._columns.items()
            }

    def examine(self, positions: Positions) -> Iterator[Feeds | DataError]:
        """Read single samples; see ``Source.examine``."""
        yield from map(self._examined, map(int, positions))

    def _examined(self, at: int) -> Feeds | DataError:
        try:
            return {name: fit.one(records[at], at) for name, (records, fit) in self._columns.items()}
        except DataError as error:
            return error
