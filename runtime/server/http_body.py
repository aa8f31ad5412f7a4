"""A request's body, out of bytes that come in any pieces: of a given length, or in chunks (RFC 9112 section 7.1)."""

from __future__ import annotations

import re

from tinsmith.runtime.server.messages import Refusal

__all__ = ["ChunkedBody", "CountedBody"]

# size in hex, then extensions, which mean nothing to us; no blanks between, which readers take differently
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*")
_MAX_LINE_BYTES = 1024
# of extensions and trailers together: they are read and dropped, so there must be an end to them
_MAX_EXTRA_BYTES = 16 << 10


class CountedBody:
    """A body of a known length.

    Attributes:
        whole: All of it, or None where more bytes are needed.
        left_bytes: How many are still to come.
    """

    def __init__(self, length_bytes: int) -> None:
        self._parts: bytes | bytearray = b""
        self.left_bytes = length_bytes
        self.whole: bytes | None = None if length_bytes else b""

    def take(self, buffer: bytes) -> bytes:
        """Use up what belongs to the body; gives back what does not."""
        if self.whole is not None:
            return buffer
        part = buffer[: self.left_bytes]  # no copy where all of it belongs
        self.left_bytes -= len(part)
        if not self.left_bytes:
            self.whole, self._parts = b"".join((self._parts, part)), b""
        elif not self._parts:
            self._parts = part
        else:  # a body in two pieces is copied once; one in many must not be copied for each
            if isinstance(self._parts, bytes):
                self._parts = bytearray(self._parts)
            self._parts += part
        return buffer[len(part) :]


class ChunkedBody:
    """A body in chunks; extensions and trailers are checked and dropped.

    Attributes:
        whole: As of ``CountedBody``.
        left_bytes: Always 0: nobody knows.
    """

    left_bytes = 0

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts = bytearray()
        self._extra_bytes = 0
        self._left = 0
        self._step = self._size
        self.whole: bytes | None = None

    def take(self, buffer: bytes) -> bytes:
        """Use up what belongs to the body; gives back what does not.

        Raises:
            Refusal: It is malformed (400), or longer than is allowed (413).
        """
        at = 0
        while self.whole is None:
            after = self._step(buffer, at)
            if after is None:
                break
            at = after
        return buffer[at:] if at else buffer

    def _size(self, buffer: bytes, at: int) -> int | None:
        end = self._line_end(buffer, at)
        if end is None:
            return None
        found = _SIZE.fullmatch(buffer, at, end)
        if found is None:
            raise _malformed("a chunk does not begin with its size in hex")
        self._spend(end - found.end(1))
        self._left = int(found[1], 16)
        if len(self._parts) + self._left > self._max_bytes:
            raise Refusal(413, "body-size", f"the body has more than the {self._max_bytes} bytes that are taken")
        self._step = self._data if self._left else self._trailer
        return end + 2

    def _data(self, buffer: bytes, at: int) -> int | None:
        if at == len(buffer):
            return None
        part = buffer[at : at + self._left]
        self._parts += part
        self._left -= len(part)
        if not self._left:
            self._step = self._data_end
        return at + len(part)

    def _data_end(self, buffer: bytes, at: int) -> int | None:
        if not b"\r\n".startswith(buffer[at : at + 2]):
            raise _malformed("a chunk is longer than the size it gives")
        if len(buffer) < at + 2:
            return None
        self._step = self._size
        return at + 2

    def _trailer(self, buffer: bytes, at: int) -> int | None:
        end = self._line_end(buffer, at)
        if end is None:
            return None
        if end == at:
            self.whole, self._parts = bytes(self._parts), bytearray()
        elif _TRAILER.fullmatch(buffer, at, end) is None:
            raise _malformed("a trailer is not `Name: value` on one line")
        self._spend(end - at + 2)
        return end + 2

    def _line_end(self, buffer: bytes, at: int) -> int | None:
        """Where the line that begins at ``at`` ends, or None where more bytes are needed."""
        end = buffer.find(b"\n", at, at + _MAX_LINE_BYTES)
        if end < 0:
            if len(buffer) - at >= _MAX_LINE_BYTES:
                raise _malformed(f"a line between the chunks is longer than {_MAX_LINE_BYTES} bytes")
            return None
        if end == at or buffer[end - 1] != 0x0D:
            raise _malformed("a line between the chunks ends without a carriage return")
        return end - 1

    def _spend(self, extra_bytes: int) -> None:
        self._extra_bytes += extra_bytes
        if self._extra_bytes > _MAX_EXTRA_BYTES:
            raise _malformed(f"its chunk extensions and trailers are longer than {_MAX_EXTRA_BYTES} bytes")


def _malformed(why: str) -> Refusal:
    return Refusal(400, "http", f"the request's body is malformed: {why}")
