"""The keys of a TOML or JSON file, each asked for by its type; what is wrong is said with the file and the key."""

from __future__ import annotations

import math
import re
from datetime import date
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

__all__ = ["Facts"]

_VERSION = re.compile(r"\d+(\.\d+)+(\.post\d+)?")
_MISSING = object()


class Facts:
    """One table. Everything that is asked for counts as known; ``end`` refuses the rest.

    Args:
        table: What the file holds.
        of: What the file is, for messages, such as ``the profile pi.toml``.
        hint: Where its keys are listed.
        where: The table's place in the file, for messages.
    """

    def __init__(self, table: Mapping[str, Any], *, of: str, hint: str, where: str = "") -> None:
        self._left = dict(table)
        self._of = of
        self._hint = hint
        self._where = where

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def wrong(self, said: str, *, hint: str = "") -> UsageError:
        """The error of this file."""
        return UsageError(f"{self._of} {said}", hint=hint or self._hint)

    def text(self, key: str, *, default: str | None = None) -> str:
        """A text that says something; ``default`` where it is not there."""
        found = self._take(key, default)
        if not isinstance(found, str) or (not found and default is None):
            raise self._unfit(key, found, "a text")
        return found

    def count(self, key: str, *, least: int = 1) -> int:
        """A whole number, not below ``least``."""
        found = self._take(key)
        if not isinstance(found, int) or isinstance(found, bool) or found < least:
            raise self._unfit(key, found, f"a whole number from {least} on")
        return found

    def maybe_count(self, key: str, *, least: int = 1) -> int | None:
        """As ``count``; None where the key is not there."""
        return self.count(key, least=least) if key in self else None

    def number(self, key: str, *, least: float) -> float:
        """A number, not below ``least``."""
        found = self._take(key)
        if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found < math.inf:
            raise self._unfit(key, found, f"a number from {least:g} on")
        return float(found)

    def flag(self, key: str) -> bool:
        """True or false."""
        found = self._take(key)
        if not isinstance(found, bool):
            raise self._unfit(key, found, "true or false")
        return found

    def one_of(self, key: str, choices: Sequence[str]) -> str:
        """One of some words."""
        found = self._take(key)
        if found not in choices:
            raise self._unfit(key, found, f"one of {', '.join(choices)}")
        return str(found)

    def names(
        self, key: str, *, known: Sequence[str] | None = None, default: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """A list of texts; of known ones, where it is said which are; ``default`` where it is not there."""
        found = self._take(key, None if default is None else list(default))
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise self._unfit(key, found, "a list of texts")
        for name in found:
            if known is not None and name not in known:
                raise self._unfit(key, name, f"known ones of {', '.join(known)}")
        return tuple(found)

    def version(self, key: str) -> str:
        """A version, as 2.3.0."""
        found = self._take(key)
        if not isinstance(found, str) or not _VERSION.fullmatch(found):
            raise self._unfit(key, found, 'a version such as "2.3.0"')
        return found

    def day(self, key: str) -> str:
        """A day, as 2026-11-24, with or without quotes."""
        found = self._take(key)
        try:
            return date.fromisoformat(str(found)).isoformat()
        except ValueError:
            raise self._unfit(key, found, "a day such as 2026-11-24") from None

    def table(self, key: str) -> Self:
        """A table inside this one."""
        return self._inner(self._take(key), key)

    def tables(self, key: str, *, least: int = 1) -> tuple[Self, ...]:
        """A list of tables, at least one; where ``least`` is 0, the key may be missing too."""
        found = self._take(key, [] if least == 0 else None)
        if not isinstance(found, list) or len(found) < least:
            raise self._unfit(key, found, f"one table [[{key}]] or more")
        return tuple(self._inner(table, f"{key}[{number}]") for number, table in enumerate(found))

    def tables_by_name(self, key: str) -> dict[str, Self]:
        """Tables by name; none where the key is not there."""
        if key not in self._left:
            return {}
        found = self._take(key)
        if not isinstance(found, dict):
            raise self._unfit(key, found, f"tables such as [{key}.cpu]")
        return {name: self._inner(table, f"{key}.{name}") for name, table in found.items()}

    def end(self) -> None:
        """Refuse what nobody has asked for."""
        for key in self._left:
            raise self.wrong(f"holds an unknown key: {self._place(key)}")

    def _take(self, key: str, default: Any = None) -> Any:
        found = self._left.pop(key, _MISSING)
        if found is not _MISSING:
            return found
        if default is None:
            raise self.wrong(f"lacks {self._place(key)}")
        return default

    def _inner(self, table: Any, key: str) -> Self:
        if not isinstance(table, dict):
            raise self._unfit(key, table, "a table")
        return type(self)(table, of=self._of, hint=self._hint, where=self._place(key))

    def _place(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def _unfit(self, key: str, found: object, wanted: str) -> UsageError:
        return self.wrong(f"says {self._place(key)} = {found!r}; it takes {wanted}")
