"""JSON as clients send it: bounded, and the same whichever library reads it."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from tinsmith.runtime.server.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_DEPTH",
    "MAX_TEXT_BYTES",
    "Document",
    "Documents",
    "OrjsonDocuments",
    "PlainDocuments",
    "open_documents",
    "shown",
]

# a tensor nested along every axis that numpy knows fits, and nothing that makes a parser recurse far
MAX_DEPTH = 40
# Numbers take up to eight times their text in memory, and lists and strings thirty times.
MAX_TEXT_BYTES = 16 << 20
_MAX_SKELETON_BYTES = 1 << 20
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
            Refusal: It is no JSON in UTF-8 (400), nested deeper than ``MAX_DEPTH`` (400), longer than
                ``MAX_TEXT_BYTES`` or made of a million lists and strings (413).
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
        self._decoder = json.JSONDecoder(parse_constant=_constant)
        self._encoder = json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda array: array.tolist()
        )

    def read(self, text: bytes) -> Document:
        """As ``Documents.read``."""
        booleans = _bounded(text)
        try:
            value = _in_range(self._decoder.decode(text.decode()))
            if _SURROGATE.search(text):
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, OverflowError, RecursionError) as error:
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
    """Refuse what would fill the memory or the stack; tells whether there may be booleans."""
    if len(text) > MAX_TEXT_BYTES:
        raise Refusal(413, "too-large", f"JSON may be {MAX_TEXT_BYTES:,} bytes long; send tensors as binary data")
    skeleton = text.translate(None, _NUMBERS)
    if len(skeleton) > _MAX_SKELETON_BYTES:
        raise Refusal(
            413, "too-large", "the JSON holds too many lists and strings; send tensors flat, or as binary data"
        )
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


def _in_range(value: Any) -> Any:
    """Whole numbers beyond 64 bits become doubles, as orjson has it; raises where one is beyond a double too."""
    if type(value) is list:
        if _all_small(value):
            return value
        return [_in_range(item) for item in value]
    if type(value) is dict:
        return {name: _in_range(item) for name, item in value.items()}
    if type(value) is int and not -(2**63) <= value < 2**64:
        return float(value)
    if type(value) is float and math.isinf(value):
        message = "a number is beyond a double"
        raise ValueError(message)
    return value


def _all_small(values: list[Any]) -> bool:
    """Whether these are numbers only, and all in range: two passes in C instead of a call for each."""
    try:
        least, most = min(values), max(values)
        return bool(-(2**63) <= least <= most < 2**63)
    except (TypeError, ValueError):  # not only numbers, or nothing at all
        return False


def _constant(text: str) -> NoReturn:
    message = f"{text} is no JSON"
    raise ValueError(message)
