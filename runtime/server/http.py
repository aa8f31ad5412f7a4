"""HTTP/1.1 and 1.0 on bytes alone: connections' bytes in, heads and bodies out, and answers to bytes.

Strict where leniency has let requests be smuggled: lines end with CRLF, a length is said in one way, nothing is
folded. Sources: RFC 9110 (semantics) and RFC 9112 (messages).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from tinsmith.runtime.server.http_body import ChunkedBody, CountedBody
from tinsmith.runtime.server.messages import Head, Refusal
from tinsmith.runtime.server.target import split_target

if TYPE_CHECKING:
    from tinsmith.runtime.server.messages import Response

__all__ = [
    "BODILESS",
    "CONTINUE",
    "MAX_FIELDS",
    "MAX_HEAD_BYTES",
    "Incoming",
    "Received",
    "checked_field",
    "head_of_response",
]

MAX_HEAD_BYTES = 16 << 10
MAX_FIELDS = 100
BODILESS = frozenset({204, 304})
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_LINE = re.compile(r"([A-Z][A-Z-]{0,19}) ([!-~]+) HTTP/([0-9])\.([0-9])\r\n")
# one class for the value and its surrounding blanks: two would make a long run of blanks cost its square
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)\r\n")
_END = b"\r\n\r\n"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A head, and what it says about the connection.

    Attributes:
        head: For the handler.
        keep_alive: Whether another request may follow.
        expects_continue: Whether the client waits for a go-ahead before it sends the body.
        minor: Of the version: 0 or 1.
    """

    head: Head
    keep_alive: bool
    expects_continue: bool
    minor: int


class Incoming:
    """The requests of one connection, whatever pieces their bytes come in.

    Ask for a ``head`` and feed bytes until there is one, then for its ``body`` in the same way, then for the next head.
    Once either has raised, nothing that follows on the connection can be trusted.
    """

    def __init__(self, *, max_body_bytes: int, peer: str = "") -> None:
        self._max_body_bytes = max_body_bytes
        self._peer = peer
        self._buffer = b""
        self._seen = 0
        self._blank_line_allowed = True
        self._last: tuple[bytes, Received] | None = None
        self._body: CountedBody | ChunkedBody = CountedBody(0)

    @property
    def begun(self) -> bool:
        """Whether bytes are here that were not asked for yet."""
        return bool(self._buffer)

    @property
    def left_bytes(self) -> int:
        """What is missing of the body that is being read, as far as that is known."""
        return self._body.left_bytes

    def feed(self, data: bytes) -> None:
        """Take what came in."""
        self._buffer = self._buffer + data if self._buffer else data

    def head(self) -> Received | None:
        """The next request's head, or None where more bytes are needed.

        Raises:
            Refusal: It is malformed (400), too long (414, 431), its body is (413), or it asks for what is not done
                here (417, 501, 505).
        """
        end = self._find_end()
        if end is None:
            return None
        raw = self._buffer[: end + 2]
        self._buffer = self._buffer[end + 4 :]
        self._seen, self._blank_line_allowed = 0, True
        # clients that keep a connection send the same head again and again, and parsing it is most of the work here
        if self._last is None or self._last[0] != raw:
            self._last = raw, _parse(raw.decode("latin-1"), self._peer)
        received = self._last[1]
        self._body = self._expect(received.head)
        return received

    def body(self) -> bytes | None:
        """The body that belongs to the last head, or None where more bytes are needed.

        Raises:
            Refusal: Its chunks are malformed (400), or more than is allowed (413).
        """
        self._buffer = self._body.take(self._buffer)
        return self._body.whole

    def _find_end(self) -> int | None:
        """Where the blank line begins; refuses what can't become a head, before all of it is here."""
        buffer = self._buffer
        if self._blank_line_allowed and buffer.startswith(b"\r\n"):  # RFC 9112 2.2: some clients end bodies with one
            self._buffer = buffer = buffer[2:]
            self._blank_line_allowed = False
        if not buffer or buffer == b"\r":
            return None
        if not 0x41 <= buffer[0] <= 0x5A:
            raise _malformed("it does not begin with a method; this port speaks plain HTTP/1.1 or, where set up, TLS")
        end = buffer.find(_END, max(0, self._seen - 3), MAX_HEAD_BYTES)
        self._seen = len(buffer)
        stop = end if end >= 0 else min(len(buffer), MAX_HEAD_BYTES)
        if buffer.count(b"\n", 0, stop) != buffer.count(b"\r\n", 0, stop):
            raise _malformed("a line ends without a carriage return")
        if end >= 0:
            return end
        if len(buffer) >= MAX_HEAD_BYTES:
            raise _too_long(buffer)
        return None

    def _expect(self, head: Head) -> CountedBody | ChunkedBody:
        if head.body_bytes is None:
            return ChunkedBody(self._max_body_bytes)
        if head.body_bytes > self._max_body_bytes:
            raise Refusal(
                413, "body-size", f"the body has {head.body_bytes} bytes; at most {self._max_body_bytes} are taken"
            )
        return CountedBody(head.body_bytes)


def _parse(text: str, peer: str) -> Received:
    line = _LINE.match(text)
    if line is None:
        raise _malformed("its first line is not `METHOD /path HTTP/1.1`")
    method, target, major, minor = line.groups()
    if major != "1" or minor not in "01":
        raise Refusal(505, "http", f"HTTP/{major}.{minor} is not spoken here; use HTTP/1.1")
    headers = _fields(text, line.end())
    path, query = split_target(target)
    _check_host(headers, minor)
    head = Head(
        method=method, path=path, query=query, headers=headers, body_bytes=_body_bytes(headers, minor), peer=peer
    )
    return Received(
        head=head,
        keep_alive=_keeps_alive(headers, minor),
        expects_continue=_expects_continue(headers, minor),
        minor=int(minor),
    )


def _fields(text: str, at: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    count = 0
    while at < len(text):
        found = _FIELD.match(text, at)
        if found is None:
            raise _malformed(f"header field {count + 1} is not `Name: value` on one line")
        name, value = found[1].lower(), found[2].strip(" \t")
        headers[name] = _joined(name, headers[name], value) if name in headers else value
        at = found.end()
        count += 1
        if count > MAX_FIELDS:
            raise Refusal(431, "head-size", f"there are more than {MAX_FIELDS} header fields")
    return headers


def _joined(name: str, before: str, value: str) -> str:
    if name == "host":
        raise _malformed("it names more than one Host")
    if name == "content-length":
        if before != value:
            raise _malformed("it gives two different Content-Lengths")
        return value
    return f"{before}, {value}"


def _check_host(headers: dict[str, str], minor: str) -> None:
    if minor == "1" and "host" not in headers:
        raise _malformed("it has no Host, which HTTP/1.1 requires")


def _body_bytes(headers: dict[str, str], minor: str) -> int | None:
    """How long the body is; None for chunks. RFC 9112 section 6."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise _malformed("it has both Content-Length and Transfer-Encoding, so where it ends depends on the reader")
        if minor == "0":
            raise _malformed("HTTP/1.0 knows no Transfer-Encoding")
        if coding.lower() != "chunked":
            raise Refusal(501, "http", "the only Transfer-Encoding taken is chunked")
        return None
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit() and len(length) <= 18):
        raise _malformed("its Content-Length is no whole number")
    return int(length)


def _keeps_alive(headers: dict[str, str], minor: str) -> bool:
    said = headers.get("connection")
    if said is None:
        return minor == "1"
    options = {option.strip() for option in said.lower().split(",")}
    return "close" not in options and (minor == "1" or "keep-alive" in options)


def _expects_continue(headers: dict[str, str], minor: str) -> bool:
    said = headers.get("expect")
    if said is None or minor == "0":
        return False
    if said.lower() != "100-continue":
        raise Refusal(417, "http", "the only Expect that is met is 100-continue")
    return True


def _too_long(buffer: bytes) -> Refusal:
    if buffer.find(b"\r\n", 0, MAX_HEAD_BYTES) < 0:
        return Refusal(414, "head-size", f"the first line is longer than {MAX_HEAD_BYTES} bytes")
    return Refusal(431, "head-size", f"first line and header fields are longer than {MAX_HEAD_BYTES} bytes")


def _malformed(why: str) -> Refusal:
    return Refusal(400, "http", f"the request is malformed: {why}")


def head_of_response(response: Response, *, keep_alive: bool, minor: int = 1) -> bytes:
    """All of an answer up to its body.

    Raises:
        ValueError: A header field holds a line end or another control character.
    """
    lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}\r\nDate: {_date(int(time.time()))}\r\n"]
    if response.status not in BODILESS:
        lines.append(f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n")
    lines += ["{}: {}\r\n".format(*checked_field(name, value)) for name, value in response.headers]
    if not keep_alive:
        lines.append("Connection: close\r\n")
    elif minor == 0:
        lines.append("Connection: keep-alive\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1")


def checked_field(name: str, value: str) -> tuple[str, str]:
    """A header field that may be sent.

    Raises:
        ValueError: It holds a line end or another control character, or its name is none.
    """
    if _FIELD.fullmatch(f"{name}:{value}\r\n") is None:
        message = f"{name!r}: {value!r} is no header field"
        raise ValueError(message)
    return name, value


@lru_cache(maxsize=64)
def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


@lru_cache(maxsize=1)
def _date(now_s: int) -> str:
    """RFC 9110 5.6.7, in English whatever the locale."""
    at = time.gmtime(now_s)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year} "
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
    )
