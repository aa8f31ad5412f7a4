"""Apply a patch made by bsdiff, in bounded memory, with the standard library and numpy.

The container (Colin Percival, bsdiff 4.3, ``bspatch.c``; bsdiff4 writes the same)::

    0   8   "BSDIFF40"
    8   8   bytes of the control block
    16  8   bytes of the diff block
    24  8   bytes of the new file
    32  ..  three bz2 streams: control, diff, extra

Numbers are 63 bits, little-endian, with the sign in the highest bit. The control block holds triples: so many bytes of
the diff block are added to the old file, so many of the extra block are copied, and so far the place in the old file
moves on.
"""

from __future__ import annotations

import bz2
import os
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["patched"]

_MAGIC = b"BSDIFF40"
_HEADER_BYTES = 32
_TRIPLE_BYTES = 24
_CHUNK_BYTES = 1 << 18
_SIGN = 1 << 63
# Triples in a row that only move: bsdiff4 was seen to make four, and millions would cost time and say nothing.
_MOST_EMPTY = 1024


def patched(old: Path, patch: Path, *, size_bytes: int) -> Iterator[bytes]:
    """The new file, some bytes at a time; whoever takes them holds a hash against them.

    Args:
        old: The file that the patch was made against.
        patch: The patch, which anyone may have made.
        size_bytes: Of the new file, as it is known from elsewhere.

    Raises:
        VerificationError: It is no such patch, damaged, or leads out of the old file or beyond the new one.
        OSError: A file can't be read.
    """
    with old.open("rb") as source, patch.open("rb") as control, patch.open("rb") as diff, patch.open("rb") as extra:
        blocks = _blocks(patch, (control, diff, extra), size_bytes)
        yield from _gathered(_pieces(source, *blocks, left=size_bytes))


def _blocks(patch: Path, streams: tuple[BinaryIO, ...], size_bytes: int) -> tuple[_Block, _Block, _Block]:
    header = streams[0].read(_HEADER_BYTES)
    if len(header) != _HEADER_BYTES or header[:8] != _MAGIC:
        raise _wrong("it does not begin as one")
    control_bytes, diff_bytes, new_bytes = (_number(header[at : at + 8]) for at in (8, 16, 24))
    extra_bytes = patch.stat().st_size - _HEADER_BYTES - control_bytes - diff_bytes
    if min(control_bytes, diff_bytes, extra_bytes) < 0:
        raise _wrong("its blocks are longer than the file")
    if new_bytes != size_bytes:
        raise _wrong(f"it makes {new_bytes:,} bytes, and the bundle has {size_bytes:,}")
    diff_at = _HEADER_BYTES + control_bytes
    return (
        _Block(streams[0], "control", _HEADER_BYTES, control_bytes),
        _Block(streams[1], "diff", diff_at, diff_bytes),
        _Block(streams[2], "extra", diff_at + diff_bytes, extra_bytes),
    )


def _pieces(source: BinaryIO, control: _Block, diff: _Block, extra: _Block, *, left: int) -> Iterator[bytes]:
    old = _Old(source)
    at, empty = 0, 0
    while left:
        add, copy, move = _triple(control)
        empty = 0 if add or copy else empty + 1
        if add < 0 or copy < 0 or add + copy > left or empty > _MOST_EMPTY:
            raise _wrong("its control block leads beyond the new file")
        for piece in diff.pieces(add):
            yield old.plus(at, piece)
            at += len(piece)
        yield from extra.pieces(copy)
        at += move
        left -= add + copy
    while control.has_more():  # those that add nothing may stand at the end
        empty += 1
        if _triple(control)[:2] != (0, 0) or empty > _MOST_EMPTY:
            raise _wrong("its control block leads beyond the new file")
    if diff.has_more() or extra.has_more():
        raise _wrong("it holds more than it uses")


def _triple(control: _Block) -> tuple[int, int, int]:
    content = b"".join(control.pieces(_TRIPLE_BYTES))
    return _number(content[:8]), _number(content[8:16]), _number(content[16:])


class _Old:
    """The old file, read wherever the patch says, and nowhere else."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, os.SEEK_END)

    def plus(self, at: int, piece: bytes) -> bytes:
        """Add bytes to those of the file from ``at`` on, each modulo 256."""
        import numpy as np

        if at < 0 or at + len(piece) > self._size:
            raise _wrong("it leads out of the file that it was made against")
        self._stream.seek(at)
        here = self._stream.read(len(piece))
        if len(here) != len(piece):
            raise _wrong("the file that it was made against has become shorter")
        return (np.frombuffer(here, np.uint8) + np.frombuffer(piece, np.uint8)).tobytes()


class _Block:
    """One bz2 stream inside the patch, taken apart as it is read."""

    def __init__(self, stream: BinaryIO, name: str, at: int, size: int) -> None:
        self._stream = stream
        self._name = name
        self._left = size
        self._bz2 = bz2.BZ2Decompressor()
        self._ready = b""
        self._from = 0
        stream.seek(at)

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next ``size`` bytes, in pieces of bounded length."""
        while size:
            if not self.has_more():
                raise _wrong(f"its {self._name} block is too short")
            piece = self._ready[self._from : self._from + size]
            self._from += len(piece)
            size -= len(piece)
            yield piece

    def has_more(self) -> bool:
        """Whether there is a byte left; what stands behind the end of the stream is refused."""
        while self._from == len(self._ready) and not self._bz2.eof:
            self._ready, self._from = self._next(), 0
        if self._bz2.eof and (self._left or self._bz2.unused_data):
            raise _wrong(f"something stands behind its {self._name} block")
        return self._from < len(self._ready)

    def _next(self) -> bytes:
        content = b""
        if self._bz2.needs_input:
            content = self._stream.read(min(self._left, _CHUNK_BYTES))
            self._left -= len(content)
            if not content:
                raise _wrong(f"its {self._name} block is cut off")
        try:
            return self._bz2.decompress(content, max_length=_CHUNK_BYTES)
        except OSError as error:
            raise _wrong(f"its {self._name} block is damaged") from error


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces put together, so that a write is worth its while."""
    held: list[bytes] = []
    held_bytes = 0
    for piece in pieces:
        held.append(piece)
        held_bytes += len(piece)
        if held_bytes >= _CHUNK_BYTES:
            yield b"".join(held)
            held, held_bytes = [], 0
    if held:
        yield b"".join(held)


def _number(content: bytes) -> int:
    number = int.from_bytes(content, "little")
    return number if number < _SIGN else _SIGN - number


def _wrong(said: str) -> VerificationError:
    return VerificationError(f"the patch is damaged or made to harm: {said}", hint="flash again with the whole bundle")
