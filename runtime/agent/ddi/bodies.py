"""The bodies of answers: documents of bounded size, and artifacts chunk by chunk."""

from __future__ import annotations

import http.client
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import LinkLostError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Body", "read_artifact", "read_bounded"]

_CHUNK_BYTES = 1 << 18
_DOCUMENT_LIMIT_S = 60.0
_AGAIN = "nothing need be done: it is tried again"
_RANGE = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """An artifact on its way.

    Attributes:
        start_bytes: Where in the artifact it begins: where it was asked to, or at 0.
        size_bytes: Of the whole artifact; None where the server does not say.
        chunks: What comes, until the end or until the link is cut, which raises ``LinkLostError``.
    """

    start_bytes: int
    size_bytes: int | None
    chunks: Iterator[bytes]


def read_artifact(response: http.client.HTTPResponse, *, offset: int) -> Body:
    """An artifact that was asked for from a byte on; raises ``LinkLostError`` where another range comes."""
    start_bytes = _start_bytes(response, offset)
    size_bytes = None if response.length is None else start_bytes + response.length
    return Body(start_bytes=start_bytes, size_bytes=size_bytes, chunks=_chunks(response))


def read_bounded(response: http.client.HTTPResponse, most_bytes: int) -> bytes:
    """A whole document; raises ``LinkLostError`` where it is longer, is cut off, or takes more than a minute."""
    ends_s = time.monotonic() + _DOCUMENT_LIMIT_S
    content = b""
    for chunk in _chunks(response):
        content += chunk
        if len(content) > most_bytes or time.monotonic() > ends_s:
            raise LinkLostError("hawkBit sends more than a document, or too slowly", hint="is it a hawkBit server?")
    return content


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What comes, as it comes. What is left is counted here: ``read1`` does so since Python 3.11.8 only."""
    left = response.length
    try:
        while left != 0 and (chunk := response.read1(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))):
            left = None if left is None else left - len(chunk)
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise LinkLostError(f"the link to hawkBit was cut: {first_line(error)}", hint=_AGAIN) from error
    if left:
        raise LinkLostError(f"the link to hawkBit was cut, {left:,} bytes early", hint=_AGAIN)


def _start_bytes(response: http.client.HTTPResponse, offset: int) -> int:
    if response.status != http.client.PARTIAL_CONTENT:
        return 0
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != offset:
        raise LinkLostError("hawkBit sends another range of the artifact than was asked for", hint=_AGAIN)
    return offset
