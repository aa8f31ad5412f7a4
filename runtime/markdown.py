"""Tables of Markdown, as pull requests show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["escaped", "markdown_table"]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, words: Collection[str]) -> str:
    """A table whose columns stand right, but for those of words; cells are escaped."""
    lines = [header, ["---" if column in words else "---:" for column in header], *rows]
    return "\n".join(f"| {' | '.join(escaped(str(cell)) for cell in line)} |" for line in lines)


def escaped(said: str) -> str:
    """What a file's name holds must not end a cell or begin a tag."""
    return said.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
