"""The fields of a JSON document, each asked for by its type; what is wrong is said with its place in the document."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

from tinsmith.runtime.errors import DataError, first_line
from tinsmith.runtime.facts import Facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

__all__ = ["Fields", "fields_of", "parse_json"]

_HINT = "make it again with this version of tinsmith"
_T = TypeVar("_T")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Fields(Facts):
    """One object of a document. Everything that is asked for counts as known; ``end`` refuses the rest.

    Every method raises ``DataError`` for a field that is missing or holds something else.
    """

    def wrong(self, said: str, *, hint: str = "") -> DataError:
        """The error of this document."""
        return DataError(f"{self._of} is damaged: it {said}", hint=hint or self._hint)

    def schema(self, newest: int) -> None:
        """Take the number of the schema, and refuse one that this tinsmith does not know yet."""
        found = self.count("schema")
        if found > newest:
            raise DataError(
                f"{self._of} has schema {found}, newer than this tinsmith knows ({newest})", hint="update tinsmith"
            )

    def word(self, key: str) -> str:
        """A text, which may be empty."""
        found = self._take(key)
        if not isinstance(found, str):
            raise self._unfit(key, found, "a text")
        return found

    def sha256(self, key: str) -> str:
        """64 hex digits."""
        found = self._take(key)
        if not isinstance(found, str) or not _SHA256.fullmatch(found):
            raise self._unfit(key, found, "64 hex digits")
        return found

    def hexadecimal(self, key: str, *, nbytes: int) -> bytes:
        """So many bytes as hex digits."""
        found = self._take(key)
        try:
            content = bytes.fromhex(found)
        except (TypeError, ValueError):
            raise self._unfit(key, found, "hex digits") from None
        if len(content) != nbytes:
            raise self._unfit(key, found, f"{2 * nbytes} hex digits")
        return content

    def list(self, key: str) -> list[Any]:
        """A list of anything."""
        found = self._take(key)
        if not isinstance(found, list):
            raise self._unfit(key, found, "a list")
        return found

    def objects(self, key: str) -> tuple[dict[str, Any], ...]:
        """A list of objects that hold anything."""
        found = self.list(key)
        for item in found:
            if not isinstance(item, dict):
                raise self._unfit(key, item, "a list of objects")
        return tuple(found)

    def many(self, key: str) -> tuple[Self, ...]:
        """A list of objects, none among them."""
        return tuple(self._inner(item, f"{key}[{number}]") for number, item in enumerate(self.list(key)))

    def maybe(self, key: str) -> Self | None:
        """An object, or null."""
        return None if self.null(key) else self.table(key)

    def null(self, key: str) -> bool:
        """Whether there is null; it is then taken."""
        if key in self._left and self._left[key] is None:
            del self._left[key]
            return True
        return False

    def wholes(self, key: str, *, least: int | None = None, free: bool = False) -> tuple[Any, ...]:
        """A list of whole numbers, none below ``least``; and nulls, where ``free`` allows them."""
        found = self.list(key)
        for item in found:
            number = isinstance(item, int) and not isinstance(item, bool) and (least is None or item >= least)
            if not number and not (free and item is None):
                raise self._unfit(key, item, "whole numbers" if least is None else f"whole numbers from {least} on")
        return tuple(found)

    def finite(self, key: str) -> float:
        """A finite number, as float."""
        return self._number(key, self._take(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(self._number(key, item) for item in self.list(key))

    def each(self, read: Callable[[Self, str], _T]) -> dict[str, _T]:
        """All that nobody has asked for yet, read alike: ``each(Fields.word)`` gives texts by name."""
        return {key: read(self, key) for key in list(self._left)}

    def _number(self, key: str, item: object) -> float:
        if not isinstance(item, int | float) or isinstance(item, bool) or not math.isfinite(item):
            raise self._unfit(key, item, "a finite number")
        return float(item)


def fields_of(content: bytes, *, of: str) -> Fields:
    """Parse a document that holds an object; raises as ``parse_json``."""
    document = parse_json(content, of=of)
    if not isinstance(document, dict):
        raise DataError(f"{of} is damaged: it is no object", hint=_HINT)
    return Fields(document, of=of, hint=_HINT)


def parse_json(content: bytes, *, of: str) -> Any:
    """Parse a JSON document that anyone may have written.

    Args:
        content: UTF-8.
        of: What to call it in messages.

    Raises:
        DataError: It is no JSON, nests too deep, names a field twice, or holds NaN or infinity.
    """
    try:
        return json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise DataError(f"{of} nests too deep", hint=_HINT) from None
    except ValueError as error:
        raise DataError(f"{of} is damaged: {first_line(error)}", hint=_HINT) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is named twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
