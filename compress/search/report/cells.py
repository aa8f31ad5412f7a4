"""Tables of a page: words stand left, numbers right, and everything is escaped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ABSENT", "Number", "Row", "Words", "html_table"]

ABSENT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A figure.

    Attributes:
        said: For people.
        value: What rows are sorted by; None where it is not known.
    """

    said: str
    value: float | None = None

    @classmethod
    def of(cls, value: float | None, form: str) -> Number:
        """As a format says it; a dash where it is not known."""
        return cls(said=ABSENT) if value is None else cls(said=format(value, form), value=value)

    @property
    def html(self) -> str:
        """The cell."""
        known = "" if self.value is None or not math.isfinite(self.value) else f' data-v="{self.value:.6g}"'
        return f"<td{known}>{escape(self.said)}</td>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What is read.

    Attributes:
        said: The text.
        bad: Whether it is a reason to worry.
    """

    said: str
    bad: bool = False

    @property
    def html(self) -> str:
        """The cell."""
        return f'<td class="w{" bad" if self.bad else ""}">{escape(self.said)}</td>'


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        cells: One a column.
        kind: A class for the style; empty for none.
        anchor: What leads here; empty for nothing.
    """

    cells: Sequence[Number | Words]
    kind: str = ""
    anchor: str = ""

    @property
    def html(self) -> str:
        """The row."""
        anchor = f' id="{escape(self.anchor)}"' if self.anchor else ""
        kind = f' class="{escape(self.kind)}"' if self.kind else ""
        return f"<tr{anchor}{kind}>{''.join(cell.html for cell in self.cells)}</tr>"


def html_table(
    columns: Sequence[str], rows: Iterable[Row], *, words: Iterable[str] = (), sortable: bool = False
) -> str:
    """A table that scrolls by itself where the screen is narrow.

    Args:
        columns: Their heads, with units.
        rows: With as many cells each.
        words: Columns of words.
        sortable: Whether the page's script may sort it.
    """
    left = set(words)
    heads = "".join(f'<th scope="col"{_left(name in left)}>{escape(name)}</th>' for name in columns)
    body = "\n".join(row.html for row in rows)
    kind = ' class="sortable"' if sortable else ""
    return f'<div class="wide"><table{kind}><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _left(words: bool) -> str:
    return ' class="w"' if words else ""
