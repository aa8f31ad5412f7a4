"""Protocol buffers' wire format: enough to read a SavedModel without TensorFlow, which takes seconds to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Message"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BITS = 63


class Message:
    """One message; fields are asked for by the number that its .proto file gives them."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._numbers: dict[int, list[int]] = {}
        self._parts: dict[int, list[memoryview]] = {}
        for field, value in _fields(memoryview(content)):
            if isinstance(value, int):
                self._numbers.setdefault(field, []).append(value)
            else:
                self._parts.setdefault(field, []).append(value)

    def number(self, field: int, default: int = 0) -> int:
        """The last value of an integer field."""
        return self._numbers.get(field, [default])[-1]

    def has(self, field: int) -> bool:
        """Whether the field is there at all."""
        return field in self._numbers or field in self._parts

    def text(self, field: int) -> str:
        """The last value of a string field; empty where there is none."""
        return bytes(self._parts.get(field, [memoryview(b"")])[-1]).decode(errors="replace")

    def messages(self, *path: int) -> Iterator[Message]:
        """All messages under a path of field numbers."""
        field, *rest = path
        for part in self._parts.get(field, []):
            message = Message(part)
            if rest:
                yield from message.messages(*rest)
            else:
                yield message

    def message(self, field: int) -> Message:
        """The last message of a field; an empty one where there is none."""
        return Message(self._parts.get(field, [memoryview(b"")])[-1])


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            number, at = _varint(content, at)
            yield field, number
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, at = _varint(content, at)
            yield field, content[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {kind} is none of protocol buffers'")
    if at > len(content):
        raise ValueError("a field ends behind its message")


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """A signed 64-bit number, and where it ends."""
    number = shift = 0
    while shift <= _MOST_VARINT_BITS:
        byte = content[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            number &= (1 << 64) - 1
            return (number - (1 << 64) if number >> 63 else number), at
    raise ValueError("a number is longer than 64 bits")
