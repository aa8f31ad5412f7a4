"""What a browser's form sends: ``multipart/form-data`` of RFC 7578, read strictly and within bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.server.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MediaType", "Part", "media_type", "read_parts"]

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TYPE = re.compile(rf"\s*({_WORD}/{_WORD}|form-data)\s*")
# without backtracking: each piece begins with a semicolon, and a quoted value ends at its first bare quote
_PARAMETER = re.compile(rf';\s*({_WORD})=(?:({_WORD})|"((?:[^"\\\r\n]|\\.)*)")\s*')
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_MOST_PARTS = 8
_MOST_HEAD_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """A Content-Type, or a Content-Disposition.

    Attributes:
        name: In lower case, such as ``image/png``; empty where there is none.
        parameters: By name in lower case.
    """

    name: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One field of a form.

    Attributes:
        media_type: Of its content; ``text/plain`` where the browser said nothing.
        body: The content.
    """

    media_type: MediaType
    body: bytes


def media_type(text: str) -> MediaType:
    """Read the value of a Content-Type header.

    Raises:
        Refusal: It is none.
    """
    if not text:
        return MediaType(name="", parameters={})
    head = _TYPE.match(text)
    parameters = {}
    at = head.end() if head else 0
    while head and at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            break
        quoted = parameter[3]
        value = parameter[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        parameters[parameter[1].lower()] = value
        at = parameter.end()
    if head is None or at < len(text):
        raise Refusal(400, "content-type", f"this is no Content-Type: {text[:80]!r}")
    return MediaType(name=head[1].lower(), parameters=parameters)


def read_parts(body: bytes, boundary: str) -> list[Part]:
    """Take a form apart.

    Args:
        body: Of the request.
        boundary: From the Content-Type.

    Raises:
        Refusal: It is no such form, cut short, or of too many parts.
    """
    if not _BOUNDARY.fullmatch(boundary):
        raise _damaged("its boundary is missing, or none")
    return list(_parts(body, b"--" + boundary.encode("ascii")))


def _parts(body: bytes, line: bytes) -> Iterator[Part]:
    at = len(line)
    if not body.startswith(line):
        raise _damaged("it does not begin with its boundary")
    for _ in range(_MOST_PARTS + 1):
        if body.startswith(b"--", at):
            if body[at + 2 :].strip(b" \t\r\n"):
                raise _damaged("something follows its end")
            return
        start = _after_line(body, at)
        end = body.find(b"\r\n" + line, start - 2)  # an empty part shares its line end with its head
        if end < 0:
            raise _damaged("it is cut short")
        yield _part(body, start, end)
        at = end + 2 + len(line)
    raise _damaged(f"it has more than {_MOST_PARTS} parts")


def _after_line(body: bytes, at: int) -> int:
    if not body.startswith(b"\r\n", at):
        raise _damaged("a boundary is not alone on its line")
    return at + 2


def _part(body: bytes, start: int, end: int) -> Part:
    head_end = body.find(b"\r\n\r\n", start, min(end + 2, start + _MOST_HEAD_BYTES))
    if head_end < 0:
        raise _damaged(f"a part has no head, or one of more than {_MOST_HEAD_BYTES:,} bytes")
    headers = _headers(body[start:head_end])
    disposition = media_type(headers.get("content-disposition", ""))
    if disposition.name != "form-data" or "name" not in disposition.parameters:
        raise _damaged("a part does not say by Content-Disposition which field it is")
    if headers.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
        raise _damaged("a part is encoded, which forms are not any more")
    said = media_type(headers.get("content-type", ""))
    return Part(
        media_type=said if said.name else MediaType(name="text/plain", parameters={}), body=body[head_end + 4 : end]
    )


def _headers(head: bytes) -> dict[str, str]:
    headers = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not colon or not re.fullmatch(_WORD, name):
            raise _damaged("the head of a part is no list of headers")
        headers[name.lower()] = value.strip()
    return headers


def _damaged(why: str) -> Refusal:
    return Refusal(400, "multipart", f"the body is no multipart/form-data: {why}")
