"""What a predict call is sent: an image file, text, or numbers, however the client wrapped it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.server.messages import Refusal
from tinsmith.runtime.server.multipart import MediaType, media_type, read_parts

if TYPE_CHECKING:
    from tinsmith.runtime.server.documents import Documents

__all__ = ["Content", "File", "Numbers", "RawNumbers", "Text", "read_content"]

_CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file, such as an image.

    Attributes:
        body: Its bytes.
    """

    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text.

    Attributes:
        text: As a string.
    """

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Numbers of one sample.

    Attributes:
        data: A number or nested lists, not yet looked at.
    """

    data: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RawNumbers:
    """Numbers of one sample or of several, as they lie in memory.

    Attributes:
        body: Their bytes, in little-endian order, not yet counted.
    """

    body: bytes


Content = File | Text | Numbers | RawNumbers


def read_content(kind: str, body: bytes, *, wanted: str, documents: Documents) -> Content:
    """Take what was sent out of its wrapping.

    Args:
        kind: The request's Content-Type; bytes of which it says nothing more than ``application/octet-stream`` are
            taken for what the model takes: an image file, text, or raw numbers.
        body: Without its Content-Encoding.
        wanted: What the model takes, as ``Preprocessing.takes``.
        documents: The JSON library.

    Raises:
        Refusal: 415 for a Content-Type that no model takes here, 400 for a body that is not what it says.
    """
    said = media_type(kind)
    if said.name == "multipart/form-data":
        parts = [part for part in read_parts(body, said.parameters.get("boundary", "")) if part.body]
        if len(parts) != 1:
            raise Refusal(400, "multipart", f"one field of the form must hold something, and {len(parts)} do")
        said, body = parts[0].media_type, parts[0].body
    if said.name == "application/octet-stream":
        if wanted == "numbers":
            return RawNumbers(body=body)
        said = MediaType(name="text/plain" if wanted == "text" else "image/*", parameters=said.parameters)
    if said.name.startswith("image/"):
        return File(body=body)
    if said.name == "text/plain":
        return Text(text=_text(body, said.parameters.get("charset", "utf-8")))
    if said.name == "application/json":
        return _from_document(documents.read(body).value)
    raise Refusal(
        415,
        "content-type",
        f"the Content-Type {said.name or '(none)'} is not taken here: send image/*, text/plain, application/json, "
        "application/octet-stream or multipart/form-data",
    )


def _text(body: bytes, charset: str) -> str:
    if charset.lower() not in _CHARSETS:
        raise Refusal(415, "content-type", f"text is taken in UTF-8, not in {charset[:40]!r}")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal(400, "content", f"the text is no UTF-8: {error.reason} at byte {error.start}") from None


def _from_document(value: Any) -> Content:
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= {"text", "data"}:
        raise Refusal(400, "content", 'the JSON must be {"text": ...} or {"data": ...}')
    if "data" in value:
        return Numbers(data=value["data"])
    if not isinstance(value["text"], str):
        raise Refusal(400, "content", "text must be a string")
    return Text(text=value["text"])
