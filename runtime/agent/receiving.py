"""From what a host has sent to a whole bundle: as it is, unpacked, or patched together. Its sha256 decides."""

from __future__ import annotations

import hashlib
import lzma
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.answers import Base, MissingBytes, Received
from tinsmith.runtime.agent.board import BUNDLE
from tinsmith.runtime.agent.bsdiff import patched
from tinsmith.runtime.agent.state import SLOTS
from tinsmith.runtime.errors import DataError, VerificationError, first_line
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.requests import Missing, Receive

__all__ = ["missing", "part_path", "receive", "whole_path"]

_CHUNK_BYTES = 1 << 18
_MOST_LZMA_BYTES = 96 << 20  # xz -9 takes 65 MiB
_AGAIN = "flash again: it will be sent anew"


def part_path(board: Board, part: str) -> Path:
    """Where a host sends a file to, by its sha256."""
    return board.parts / f"{part}.part"


def whole_path(board: Board, sha256: str) -> Path:
    """Where a whole bundle waits to be installed."""
    return board.parts / sha256


def missing(board: Board, request: Missing) -> MissingBytes:
    """Find out what is there of a bundle; changes nothing."""
    held, prefix = _prefix(part_path(board, request.part), request.part_bytes)
    return MissingBytes(
        there=_where(board, request.sha256), part_bytes=held, part_prefix=prefix, bases=tuple(_bases(board))
    )


def receive(board: Board, request: Receive) -> Received:
    """Make ``parts/SHA256`` of a part, and take the part away.

    Raises:
        DataError: Nothing was sent.
        VerificationError: What was sent, or what comes of it, is something else; the part is taken away.
        OutputError: The disk is full.
    """
    whole = whole_path(board, request.sha256)
    part = part_path(board, request.part)
    if _is(whole, request.sha256):
        board.files.unlink(part)
        return Received(received=True)
    base = _base(board, request.base) if request.form == "bsdiff" else None
    if request.form == "bsdiff" and base is None:
        board.files.unlink(part)
        return Received(received=False, reason="the bundle that the patch was made against is not on the device")
    _check_part(board, part, request.part)
    if request.form == "whole":
        _keep(board, part, whole, request)
    else:
        _unpack(board, part, whole, request, base)
    return Received(received=True)


def _check_part(board: Board, part: Path, sha256: str) -> None:
    if not part.is_file():
        raise DataError(f"nothing has been sent to {part}", hint=_AGAIN)
    if sha256_of(part) != sha256:
        board.files.unlink(part)
        raise VerificationError("what has come is not what was sent: sha256 differs", hint=_AGAIN)


def _keep(board: Board, part: Path, whole: Path, request: Receive) -> None:
    if request.part != request.sha256:
        raise DataError("a bundle that is sent as it is has the same sha256 as its part", hint=_AGAIN)
    board.files.sync_file(part)  # the transport may have left it in memory
    board.files.rename(part, whole)
    board.files.sync_folder(board.parts)


def _unpack(board: Board, part: Path, whole: Path, request: Receive, base: Path | None) -> None:
    board.files.check_room(board.parts, request.size_bytes)
    made = board.files.made(whole)
    chunks = _unpacked(part, request.size_bytes) if base is None else patched(base, part, size_bytes=request.size_bytes)
    try:
        board.files.create(made, _checked(chunks, request.sha256))
    except VerificationError:
        board.files.unlink(made)
        board.files.unlink(part)
        raise
    board.files.rename(made, whole)
    board.files.sync_folder(board.parts)
    board.files.unlink(part)
    board.files.unlink(part_path(board, request.sha256))  # a host that began to send it as it is has changed its mind


def _checked(chunks: Iterator[bytes], sha256: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise VerificationError("what was sent does not become the bundle: sha256 differs", hint=_AGAIN)


def _unpacked(part: Path, size_bytes: int) -> Iterator[bytes]:
    """What an .xz file holds, in bounded memory, and never more than it must."""
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MOST_LZMA_BYTES)
    left = size_bytes
    with part.open("rb") as stream:
        while not unpacker.eof:
            content = stream.read(_CHUNK_BYTES) if unpacker.needs_input else b""
            if unpacker.needs_input and not content:
                raise VerificationError("what was sent is cut off", hint=_AGAIN)
            try:
                chunk = unpacker.decompress(content, max_length=_CHUNK_BYTES)
            except lzma.LZMAError as error:
                raise VerificationError(f"what was sent is damaged: {first_line(error)}", hint=_AGAIN) from error
            left -= len(chunk)
            if left < 0:
                raise VerificationError("what was sent holds more than the bundle", hint=_AGAIN)
            if chunk:
                yield chunk


def _prefix(part: Path, most: int) -> tuple[int, str]:
    """How much has come, and its sha256; what is longer than it can be counts as nothing."""
    digest = hashlib.sha256()
    held = 0
    try:
        with part.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                held += len(chunk)
    except FileNotFoundError:
        pass
    return (held, digest.hexdigest()) if held <= most else (0, hashlib.sha256().hexdigest())


def _where(board: Board, sha256: str) -> str:
    state, serving = board.state(), board.serving()
    slots = [slot for slot, found in state.slots.items() if found.sha256 == sha256 and board.is_whole(found)]
    if serving in slots:
        return "active"
    if slots:
        return "slot"
    return "parts" if _is(whole_path(board, sha256), sha256) else ""


def _bases(board: Board) -> Iterator[Base]:
    slots, serving = board.state().slots, board.serving()
    for slot in sorted(SLOTS, key=lambda slot: slot != serving):
        if found := slots.get(slot):
            yield Base(sha256=found.sha256, name=found.name, version=found.version, size_bytes=found.size_bytes)


def _base(board: Board, sha256: str) -> Path | None:
    """The file of a bundle that lies in a slot, and is what it should be."""
    for slot, found in board.state().slots.items():
        path = board.slot(slot) / BUNDLE
        if found.sha256 == sha256 and _is(path, sha256):
            return path
    return None


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256
