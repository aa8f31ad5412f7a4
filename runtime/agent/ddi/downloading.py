"""From an artifact on the server to a part on the board, which goes on at the byte where the last try ended."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.ddi.server import RefusedError
from tinsmith.runtime.agent.receiving import part_path
from tinsmith.runtime.errors import LinkLostError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.ddi.bodies import Body
    from tinsmith.runtime.agent.ddi.documents import Artifact
    from tinsmith.runtime.agent.ddi.server import HawkbitServer

__all__ = ["download", "held_bytes"]

# It is not there, lies where no redirect is followed to, or is shorter than what has come.
_FINAL = (*range(300, 400), http.client.NOT_FOUND, http.client.GONE, http.client.REQUESTED_RANGE_NOT_SATISFIABLE)
_AGAIN = "upload the bundle to the server again"


def held_bytes(board: Board, sha256: str) -> int:
    """How much has come of a bundle."""
    try:
        return part_path(board, sha256).stat().st_size
    except FileNotFoundError:
        return 0


def download(board: Board, server: HawkbitServer, artifact: Artifact) -> bool:
    """Get what is missing of an artifact; its hash is not checked here.

    Returns:
        Whether all of it came now, so that a wrong hash is the server's doing; a part that was there may have been
        damaged when the power was cut.

    Raises:
        DeviceError: The server does not give it now, or the link was cut; what has come stays.
        VerificationError: The server has no such artifact, or another number of bytes than its document says.
        DataError: The link leads where nobody may be asked.
        OutputError: The disk is full.
    """
    part = part_path(board, artifact.sha256)
    board.files.make_folder(board.parts)
    held = held_bytes(board, artifact.sha256)
    if held > artifact.size_bytes:
        board.files.unlink(part)
        held = 0
    if held == artifact.size_bytes:
        return False
    board.files.check_room(board.parts, artifact.size_bytes - held)
    try:
        with server.artifact(artifact.link, offset=held) as body:
            _check_size(artifact, body)
            if body.start_bytes == 0:
                board.files.unlink(part)
            board.files.append(part, _no_more(body.chunks, artifact.size_bytes - body.start_bytes))
            if held_bytes(board, artifact.sha256) < artifact.size_bytes:
                raise LinkLostError("the link to hawkBit was cut", hint="nothing need be done: it is tried again")
            return body.start_bytes == 0
    except (RefusedError, VerificationError) as error:
        if isinstance(error, RefusedError) and error.status not in _FINAL:
            raise
        board.files.unlink(part)
        raise VerificationError(f"{artifact.said} can't be downloaded: {error.message}", hint=_AGAIN) from error


def _check_size(artifact: Artifact, body: Body) -> None:
    if body.size_bytes not in (None, artifact.size_bytes):
        raise VerificationError(f"it has {body.size_bytes:,} bytes, and not {artifact.size_bytes:,}", hint=_AGAIN)


def _no_more(chunks: Iterator[bytes], left: int) -> Iterator[bytes]:
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise VerificationError("more comes than its size", hint=_AGAIN)
        yield chunk
