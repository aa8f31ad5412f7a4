"""Bodies that are compressed on their way: gzip, and deflate in its zlib wrapping, as HTTP means it."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from tinsmith.runtime.server.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.runtime.server.messages import Response

__all__ = ["check_coding", "compress", "unfold"]

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_LEVEL = 1  # on a device, time is dearer than the last tenth of the bytes
_WORTH_BYTES = 1024


def check_coding(headers: Mapping[str, str]) -> str:
    """The Content-Encoding of a request; empty for none.

    Raises:
        Refusal: It is none that this server can undo.
    """
    coding = headers.get("content-encoding", "").lower()
    if coding in {"", "identity"}:
        return ""
    if coding not in _WINDOWS:
        raise Refusal(
            415,
            "coding",
            "the Content-Encoding must be gzip or deflate, and no more than one",
            headers=(("Accept-Encoding", "gzip, deflate"),),
        )
    return coding


def unfold(body: bytes, coding: str, *, limit_bytes: int) -> bytes:
    """Undo a Content-Encoding.

    Args:
        body: As it was sent.
        coding: From ``check_coding``.
        limit_bytes: How large it may become; never more than that is held.

    Raises:
        Refusal: It becomes larger, or is damaged, cut short, or followed by something else.
    """
    if not coding:
        return body
    decoder = zlib.decompressobj(wbits=_WINDOWS[coding])
    try:
        unfolded = decoder.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise Refusal(400, "coding", f"the body is no {coding}") from None
    if len(unfolded) > limit_bytes:
        raise Refusal(413, "too-large", f"the body unfolds to more than {limit_bytes:,} bytes")
    if not decoder.eof:
        raise Refusal(400, "coding", f"the body's {coding} is cut short")
    if decoder.unused_data:
        raise Refusal(400, "coding", f"something follows the body's {coding}")
    return unfolded


def compress(response: Response, accept: str) -> Response:
    """Compress an answer of some size, where the client says that it may be; ``accept`` is its Accept-Encoding."""
    if not accept or len(response.body) < _WORTH_BYTES:
        return response
    accepted = _accepted(accept)
    coding = next((known for known in ("gzip", "deflate") if known in accepted), None)
    if coding is None:
        return response
    encoder = zlib.compressobj(_LEVEL, wbits=_WINDOWS[coding])
    body = encoder.compress(response.body) + encoder.flush()
    return replace(response, body=body, headers=(*response.headers, ("Content-Encoding", coding)))


def _accepted(accept: str) -> set[str]:
    """The codings of an Accept-Encoding that are not forbidden by a weight of 0."""
    found = set()
    for part in accept.lower().split(","):
        coding, _, weight = part.partition(";")
        if weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            found.add(coding.strip())
    return found
