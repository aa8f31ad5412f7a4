"""The zip archive that metadata tools attach behind a model: labels, vocabularies.

Its entries are found by their distance from the start of the file, so they are written anew when the model in front
gets shorter.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Attached", "split_attached"]

_END = struct.Struct("<4s4H2LH")  # end of central directory
_ENTRY = struct.Struct("<4s6H3L5H2L")  # one file of the central directory
_LONGEST_COMMENT = 0xFFFF
_OFFSET_AT = 42  # of the file's data, inside an entry
_DIRECTORY_AT = 16  # of the central directory, inside the end


@dataclass(frozen=True, slots=True)
class Attached:
    """Bytes behind a model.

    Attributes:
        content: The archive; empty where there is none.
        start: Where it lies in the file.
        entries: Where the offsets lie in it that count from the start of the file.
    """

    content: bytes = b""
    start: int = 0
    entries: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Of the archive, in bytes."""
        return len(self.content)

    def moved_to(self, start: int) -> bytes:
        """The archive as it must read when it begins at ``start``."""
        moved = bytearray(self.content)
        for at in self.entries:
            (offset,) = struct.unpack_from("<L", moved, at)
            struct.pack_into("<L", moved, at, offset - self.start + start)
        return bytes(moved)


def split_attached(content: bytes) -> Attached:
    """Find the archive at the end of a file; anything that is no sound archive counts as none."""
    end = content.rfind(b"PK\5\6", max(0, len(content) - _END.size - _LONGEST_COMMENT))
    if end < 0 or end + _END.size > len(content):
        return Attached()
    _, _, _, _, _, size, directory, comment = _END.unpack_from(content, end)
    if end + _END.size + comment != len(content) or size > end:
        return Attached()
    ahead = end - size - directory  # 0: offsets count from the start of the file; else from the archive's own
    places = list(_entries(content, end - size, end))
    starts = [struct.unpack_from("<L", content, at)[0] + ahead for at in places]
    start = min(starts, default=-1)
    if start < 0 or content[start : start + 4] != b"PK\3\4":
        return Attached()
    places.append(end + _DIRECTORY_AT)
    return Attached(content[start:], start, tuple(at - start for at in places) if ahead == 0 else ())


def _entries(content: bytes, at: int, end: int) -> Iterator[int]:
    """Where each file's offset stands."""
    while at + _ENTRY.size <= end and content[at : at + 4] == b"PK\1\2":
        fields = _ENTRY.unpack_from(content, at)
        yield at + _OFFSET_AT
        at += _ENTRY.size + sum(fields[10:13])
