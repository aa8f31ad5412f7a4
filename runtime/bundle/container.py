"""The zip form of a bundle: stored entries in one order, and no byte that is free to differ.

A zip file says most things twice, and leaves room before, between and behind its entries; programs differ in which of
it they believe. So a bundle has one form alone for given parts. The reader makes anew every header that the directory
calls for, and refuses a file in which a byte of them is another. Entries are stored, not deflated: their bytes then
depend on no zlib, none can swell, and what sends a bundle packs it better as a whole.
(PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.)
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from tinsmith.runtime.errors import DataError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["MOST_BYTES", "Entry", "check_name", "crc_of", "read_chunks", "read_entries", "write_entries"]

# Sizes and offsets have 32 bits; zip's way to more of them is an extra field.
MOST_BYTES = (1 << 32) - 2
_MOST_ENTRIES = 4096
_LONGEST_NAME = 255
_CHUNK_BYTES = 1 << 20
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_MADE_BY_UNIX = 3 << 8 | _VERSION
_ENCRYPTED = 0x1
_UTF8 = 0x800
_DAY = 0x21  # 1980-01-01, the first that a zip file can name
_MODE = (stat.S_IFREG | 0o644) << 16
_HINT = "get the bundle again from where it was made"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One part of the zip file.

    Attributes:
        name: Its path, with slashes.
        crc: CRC-32 of its content.
        size_bytes: Of its content.
        offset: Of its first byte in the file; 0 before it is written.
    """

    name: str
    crc: int
    size_bytes: int
    offset: int = 0


def check_name(name: str) -> None:
    """Hold a name to what is one file below the folder on every system.

    Raises:
        DataError: It is absolute, leads out of the folder, names a drive or a stream, or is no plain text.
    """
    pieces = name.split("/")
    unsafe = not name.isprintable() or any(sign in name for sign in '\\:*?"<>|')
    if unsafe or any(piece in ("", ".", "..") or piece[-1] in ". " for piece in pieces):
        raise DataError(f"the bundle holds {name!r}, which is no safe path below a folder", hint=_HINT)
    if any(len(piece.encode()) > _LONGEST_NAME for piece in pieces) or len(name.encode()) > 4 * _LONGEST_NAME:
        raise DataError(f"the bundle holds a name of {len(name.encode()):,} bytes: {name[:40]!r}", hint=_HINT)


def crc_of(chunks: Iterable[bytes]) -> int:
    """The CRC-32 of a content."""
    crc = 0
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    return crc


def write_entries(stream: BinaryIO, parts: Sequence[tuple[Entry, Iterable[bytes]]]) -> None:
    """Write a whole zip file.

    Args:
        stream: At its start.
        parts: In their order; each with its content, which must be what the entry says of it.

    Raises:
        DataError: It would be larger than ``MOST_BYTES``, or hold more than 4,096 parts.
    """
    total = sum(entry.size_bytes + 2 * len(entry.name.encode()) + 76 for entry, _ in parts) + _END.size
    if total > MOST_BYTES or len(parts) > _MOST_ENTRIES:
        raise DataError(
            f"the bundle would hold {total:,} bytes in {len(parts):,} parts, and at most {MOST_BYTES:,} bytes in "
            f"{_MOST_ENTRIES:,} parts can be",
            hint="serve the artifact itself, or make it smaller: `tinsmith recipe list`",
        )
    written = []
    for entry, content in parts:
        header = _local(entry)
        stream.write(header)
        written.append(replace(entry, offset=stream.tell()))
        stream.writelines(content)
    directory = b"".join(_central(entry) for entry in written)
    start = stream.tell()
    stream.write(directory + _end(len(written), len(directory), start))


def read_entries(stream: BinaryIO) -> tuple[Entry, ...]:
    """Read the directory, and hold every byte outside the contents to the one form.

    Raises:
        DataError: It is no such zip file; the first thing that is wrong is named.
    """
    size = stream.seek(0, os.SEEK_END)
    count, length, start = _read_end(stream, size)
    stream.seek(start)
    directory = stream.read(length)
    entries = tuple(_walk(directory, count))
    _check_names(entries)
    position = 0
    for entry in entries:
        header = _local(entry)
        stream.seek(position)
        if stream.read(len(header)) != header or entry.offset != position + len(header):
            raise _wrong(f"the header of {entry.name!r} and the directory disagree, or there are bytes between entries")
        position = entry.offset + entry.size_bytes
    if position != start:
        raise _wrong("there are bytes between its last entry and its directory")
    return entries


def read_chunks(stream: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """The content of an entry, some bytes at a time.

    Raises:
        VerificationError: It ends early, or is not what the directory's CRC-32 says; raised behind the last chunk.
    """
    crc = 0
    position, end = entry.offset, entry.offset + entry.size_bytes
    while position < end:
        stream.seek(position)
        chunk = stream.read(min(_CHUNK_BYTES, end - position))
        if not chunk:
            raise VerificationError(f"{entry.name} in the bundle ends early", hint=_HINT)
        crc = zlib.crc32(chunk, crc)
        position += len(chunk)
        yield chunk
    if crc != entry.crc:
        raise VerificationError(f"{entry.name} in the bundle is damaged: its CRC-32 is another", hint=_HINT)


def _read_end(stream: BinaryIO, size: int) -> tuple[int, int, int]:
    """How many entries there are, and the length and start of the directory."""
    stream.seek(0)
    if stream.read(2) != b"PK" or size < _END.size:
        raise _wrong("it is no zip file")
    stream.seek(size - _END.size)
    end = stream.read(_END.size)
    signature, _, _, _, count, length, start, _ = _END.unpack(end)
    if signature != b"PK\5\6":
        raise _wrong("it was cut off, or has a comment or other data at its end")
    if count > _MOST_ENTRIES or start + length + _END.size != size or end != _end(count, length, start):
        raise _wrong("its directory is not where its end says")
    return count, length, start


def _walk(directory: bytes, count: int) -> Iterator[Entry]:
    position = 0
    for _ in range(count):
        entry = _read_central(directory, position)
        header = _central(entry)
        if directory[position : position + len(header)] != header:
            raise _wrong(f"its directory says of {entry.name!r} what tinsmith never writes")
        position += len(header)
        yield entry
    if position != len(directory):
        raise _wrong("its directory holds more than its entries")


def _read_central(directory: bytes, position: int) -> Entry:
    if len(directory) - position < _CENTRAL.size:
        raise _wrong("its directory was cut off")
    facts = _CENTRAL.unpack_from(directory, position)
    flags, method, crc, size, whole, length, mode, offset = (*facts[3:5], *facts[7:11], *facts[15:])
    raw = directory[position + _CENTRAL.size : position + _CENTRAL.size + length]
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise _wrong(f"the name {raw!r} is no UTF-8") from None
    check_name(name)
    if flags & _ENCRYPTED:
        raise _wrong(f"{name!r} is encrypted in zip's own way")
    if method or size != whole:
        raise _wrong(f"{name!r} is compressed (method {method}), and a bundle's entries are stored")
    if stat.S_ISLNK(mode >> 16):
        raise _wrong(f"{name!r} is a link")
    return Entry(name=name, crc=crc, size_bytes=size, offset=offset + _LOCAL.size + length)


def _check_names(entries: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name.casefold() in seen:
            raise _wrong(f"it holds {entry.name!r} twice")
        seen.add(entry.name.casefold())


def _local(entry: Entry) -> bytes:
    name = entry.name.encode()
    crc, size = entry.crc, entry.size_bytes
    return _LOCAL.pack(b"PK\3\4", _VERSION, _flags(name), 0, 0, _DAY, crc, size, size, len(name), 0) + name


def _central(entry: Entry) -> bytes:
    name = entry.name.encode()
    crc, size = entry.crc, entry.size_bytes
    offset = entry.offset - _LOCAL.size - len(name)
    common = (_VERSION, _flags(name), 0, 0, _DAY, crc, size, size, len(name), 0)
    return _CENTRAL.pack(b"PK\1\2", _MADE_BY_UNIX, *common, 0, 0, 0, _MODE, offset) + name


def _end(count: int, length: int, start: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, count, count, length, start, 0)


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _UTF8


def _wrong(what: str) -> DataError:
    return DataError(f"this is no bundle that tinsmith made: {what}", hint=_HINT)
