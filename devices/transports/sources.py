"""The file here that is being put on a device."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, BinaryIO

from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

__all__ = ["opened", "pieces"]


@contextlib.contextmanager
def opened(source: Path, offset: int) -> Iterator[tuple[BufferedReader, int]]:
    """Give the file, read on from ``offset``, and its size in bytes.

    Raises:
        HostError: It can't be opened.
        ValueError: The offset lies outside of it.
    """
    try:
        stream = source.open("rb")
    except OSError as error:
        raise HostError(f"cannot read {source}: {error.strerror}", hint=f"check it with: ls -l {source}") from error
    with stream:
        size_bytes = stream.seek(0, 2)
        if not 0 <= offset <= size_bytes:
            raise ValueError(f"offset {offset} of {source}, which has {size_bytes} bytes")
        stream.seek(offset)
        yield stream, size_bytes


def pieces(stream: BinaryIO, piece_bytes: int) -> Iterator[bytes]:
    """The rest of a file in pieces of at most so many bytes."""
    while piece := stream.read(piece_bytes):
        yield piece
