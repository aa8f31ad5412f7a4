"""Patches from one bundle to another, in the format of bsdiff 4.3 that the agent applies.

Bundles of one model mostly have the same parts in the same places, with weights that moved a little: their bytes are
subtracted part by part, in a moment. Where that does not make the patch small, because the parts themselves have moved
inside, bsdiff4's suffix sorting looks for what stands elsewhere; it takes 5 s a megabyte, so only small bundles are
given to it. (Colin Percival, "Naive differences of executable code", 2003; the container is described in
``tinsmith.runtime.agent.bsdiff``.)
"""

from __future__ import annotations

import bz2
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tinsmith.runtime.bundle.container import read_entries
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from tinsmith.runtime.bundle.container import Entry

__all__ = ["write_patch"]

_MAGIC = b"BSDIFF40"
_HEAD_BYTES = 32
_SIGN = 1 << 63
_CHUNK_BYTES = 1 << 20
_MOST_SORTED_BYTES = 4 << 20
# A patch that saves less than this share of the new file is looked for by sorting as well.
_GOOD_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes of the new file: a difference to the old one, or, where ``old_at`` is None, as they are."""

    new_at: int
    size_bytes: int
    old_at: int | None = None


def write_patch(old: Path, new: Path, patch: Path) -> None:
    """Write the smaller of the patches that lead from one bundle to another.

    Args:
        old: The bundle that the device has.
        new: The one that it shall have.
        patch: Where to write it, whole or not at all.

    Raises:
        DataError: One of the two is no bundle.
        OutputError: The patch can't be written.
    """
    new_bytes = new.stat().st_size
    with staged_file(patch) as staged:
        _write_by_parts(old, new, staged)
        found_bytes = staged.stat().st_size
        if found_bytes > _GOOD_SHARE * new_bytes and max(new_bytes, old.stat().st_size) <= _MOST_SORTED_BYTES:
            import bsdiff4

            found = bsdiff4.diff(old.read_bytes(), new.read_bytes())
            if len(found) < found_bytes:
                staged.write_bytes(found)


def _write_by_parts(old: Path, new: Path, patch: Path) -> None:
    size_bytes = new.stat().st_size
    with old.open("rb") as before, new.open("rb") as after, patch.open("wb") as target:
        spans = list(_spans(read_entries(before), read_entries(after), size_bytes))
        _pack(before, after, spans, size_bytes, target)


def _spans(old: Sequence[Entry], new: Sequence[Entry], size_bytes: int) -> Iterator[_Span]:
    """The new file from its first byte to its last; parts of one name lie upon each other from their beginnings."""
    at = 0
    for entry, base in _pairs(old, new):
        if at < entry.offset:
            yield _Span(at, entry.offset - at)
        alike = 0 if base is None else min(base.size_bytes, entry.size_bytes)
        if base is not None and alike:
            yield _Span(entry.offset, alike, base.offset)
        if alike < entry.size_bytes:
            yield _Span(entry.offset + alike, entry.size_bytes - alike)
        at = entry.offset + entry.size_bytes
    if at < size_bytes:
        yield _Span(at, size_bytes - at)


def _pairs(old: Sequence[Entry], new: Sequence[Entry]) -> Iterator[tuple[Entry, Entry | None]]:
    """Each new part with the old one of its name; else, as artifacts are renamed, with one of its folder and kind."""
    left = {entry.name: entry for entry in old}
    kept = left.keys() & {entry.name for entry in new}
    for entry in new:
        alike = (name for name in left if name not in kept and _kind(name) == _kind(entry.name))
        yield entry, left.pop(entry.name if entry.name in left else next(alike, ""), None)


def _kind(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    return str(path.parent), path.suffix


def _pack(before: BinaryIO, after: BinaryIO, spans: list[_Span], size_bytes: int, target: BinaryIO) -> None:
    """Control, differences and what is new, behind a head that says how long they are; none is held in memory."""
    target.write(bytes(_HEAD_BYTES))
    _compress((b"".join(map(_number, triple)) for triple in _triples(spans)), target)
    control_end = target.tell()
    _compress(_contents(before, after, [span for span in spans if span.old_at is not None]), target)
    diff_end = target.tell()
    _compress(_contents(before, after, [span for span in spans if span.old_at is None]), target)
    target.seek(0)
    target.write(_MAGIC + b"".join(map(_number, (control_end - _HEAD_BYTES, diff_end - control_end, size_bytes))))


def _compress(pieces: Iterable[bytes], target: BinaryIO) -> None:
    packer = bz2.BZ2Compressor(9)
    for piece in pieces:
        target.write(packer.compress(piece))
    target.write(packer.flush())


def _contents(before: BinaryIO, after: BinaryIO, spans: list[_Span]) -> Iterator[bytes]:
    for span in spans:
        yield from _content(before, after, span)


def _triples(spans: list[_Span]) -> Iterator[tuple[int, int, int]]:
    """A span each, before it a move to where its difference lies."""
    at = 0
    for span in spans:
        if span.old_at is None:
            yield 0, span.size_bytes, 0
            continue
        if span.old_at != at:
            yield 0, 0, span.old_at - at
        yield span.size_bytes, 0, 0
        at = span.old_at + span.size_bytes


def _content(before: BinaryIO, after: BinaryIO, span: _Span) -> Iterator[bytes]:
    import numpy as np

    for done in range(0, span.size_bytes, _CHUNK_BYTES):
        count = min(_CHUNK_BYTES, span.size_bytes - done)
        content = _read(after, span.new_at + done, count)
        if span.old_at is None:
            yield content
            continue
        base = np.frombuffer(_read(before, span.old_at + done, count), np.uint8)
        yield (np.frombuffer(content, np.uint8) - base).tobytes()  # bytes wrap around, as the format has it


def _read(stream: BinaryIO, at: int, count: int) -> bytes:
    stream.seek(at)
    return stream.read(count)


def _number(value: int) -> bytes:
    return (abs(value) | (_SIGN if value < 0 else 0)).to_bytes(8, "little")
