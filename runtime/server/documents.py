"""JSON as clients send it: bounded, and the same whichever library reads it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from tinsmith.runtime.server.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_DEPTH", "Document", "Documents", "OrjsonDocuments", "PlainDocuments", "open_documents", "shown"]

# a tensor nested along every axis that numpy knows fits, and nothing that makes a parser recurse far
MAX_DEPTH = 40
_TOO_DEEP = b"[" * (MAX_DEPTH + 1)
# what numbers are made of: without it, the text of a large tensor shrinks to its brackets
_NUMBERS = b"0123456789.,-+eE \n\r\t"
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_SQUARE = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SHOWN = 60


class Document(NamedTuple):
    """What a JSON text said.

    Attributes:
        value: Dicts, lists, strings, numbers, booleans and None; no number is NaN or infinite.
        booleans: Whether ``true`` or ``false`` may stand in it; where they don't, nobody need look for them.
    """

    value: Any
    booleans: bool


class Documents(Protocol):
    """A JSON library."""

    name: str

    def read(self, text: bytes) -> Document:
        """Read a text; where a key comes twice, the last one counts.

        Raises:
            Refusal: It is no JSON in UTF-8, or nested deeper than ``MAX_DEPTH``.
        """
        ...

    def text(self, value: Any) -> bytes:
        """Write a value; it may hold arrays of finite numbers, of one axis and contiguous."""
        ...


class OrjsonDocuments:
    """The package orjson: ten times as fast as the standard library on a tensor."""

    name = "orjson"

    def __init__(self) -> None:
        import orjson

        self._loads: Callable[[bytes], Any] = orjson.loads
        self._dumps: Callable[..., bytes] = orjson.dumps
        self._option = orjson.OPT_SERIALIZE_NUMPY

    def read(self, text: bytes) -> Document:
        """As ``Documents.read``."""
        booleans = _bounded(text)
        try:
            return Document(self._loads(text), booleans)
        except ValueError as error:
            raise _no_json(error) from None

    def text(self, value: Any) -> bytes:
        """As ``Documents.text``; a float32 has as few digits as tell it from its neighbours."""
        return self._dumps(value, option=self._option)


class PlainDocuments:
    """The standard library, held to what orjson refuses: NaN, infinity, numbers beyond a double, half surrogates."""

    name = "json"

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(parse_float=_real, parse_int=_integer, parse_constant=_constant)
        self._encoder = json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda array: array.tolist()
        )

    def read(self, text: bytes) -> Document:
        """As ``Documents.read``."""
        booleans = _bounded(text)
        try:
            value = self._decoder.decode(text.decode())
            if _SURROGATE.search(text):
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise _no_json(error) from None
        return Document(value, booleans)

    def text(self, value: Any) -> bytes:
        """As ``Documents.text``; a float32 has the digits of the double that it is."""
        return self._encoder.encode(value).encode()


def open_documents() -> Documents:
    """Take orjson where it is installed, the standard library elsewhere."""
    try:
        return OrjsonDocuments()
    except ImportError:
        return PlainDocuments()


def shown(value: object) -> str:
    """What a client sent, as it may stand in an error: escaped, and cut short."""
    if isinstance(value, str):
        value = value[: _SHOWN + 1]
    text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _bounded(text: bytes) -> bool:
    """Refuse what is nested too deep; tells whether there may be booleans."""
    skeleton = text.translate(None, _NUMBERS)
    if skeleton.count(b"[") + skeleton.count(b"{") > MAX_DEPTH:
        _check_depth(skeleton)
    return b"tru" in skeleton or b"fals" in skeleton


def _check_depth(skeleton: bytes) -> None:
    if b"\\" in skeleton:
        skeleton = _ESCAPE.sub(b"", skeleton)
    brackets = b"".join(skeleton.split(b'"')[::2]).translate(_SQUARE, _NOT_SQUARE)
    for _ in range(MAX_DEPTH):  # each round takes off the innermost level
        if not brackets:
            return
        if _TOO_DEEP in brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise Refusal(400, "json", f"the JSON is nested deeper than {MAX_DEPTH}, or a bracket is missing")


def _no_json(error: Exception) -> Refusal:
    return Refusal(400, "json", f"this is no JSON: {str(error).replace(chr(10), ' ')[:200]}")


def _real(text: str) -> float:
    value = float(text)
    if value - value:  # it is NaN where the value is infinite
        message = "a number is larger than a double"
        raise ValueError(message)
    return value


def _integer(text: str) -> int | float:
    if len(text) < 19:
        return int(text)
    value = _real(text)
    if abs(value) > 2.0**64:
        return value
    exact = int(text)
    return exact if -(2**63) <= exact < 2**64 else value


def _constant(text: str) -> NoReturn:
    message = f"{text} is no JSON"
    raise ValueError(message)
