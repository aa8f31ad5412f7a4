"""How results and errors reach the user: tables for people, one JSON document for machines."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from tinsmith.runtime.errors import TinsmithError

__all__ = ["SCHEMA", "console", "facts", "print_error", "print_result", "table"]

SCHEMA = 1
_PIPED_WIDTH = 100
_NAME_WIDTH = 32
_NUMBER = re.compile(r"-|[±+-]?\s?\d[\d,. ]*\s?(?:%|x)?")


def console(*, stderr: bool = False) -> Console:
    """A console on the present stdout or stderr; 100 columns wide where there is no terminal to ask."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _PIPED_WIDTH, highlight=False, soft_wrap=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> Table:
    """A table whose numbers stand right and whose words stand left; the first column names the row."""
    from rich import box
    from rich.table import Table

    result = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for position, column in enumerate(columns):
        cells = [_cell(row[position]) for row in rows]
        numeric = position > 0 and all(_NUMBER.fullmatch(cell) for cell in cells)
        longest = max((len(cell) for cell in cells), default=0)
        result.add_column(
            column,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric,
            min_width=min(longest, _NAME_WIDTH) if position == 0 else None,
        )
    for row in rows:
        result.add_row(*(_literal(value) for value in row))
    return result


def facts(rows: Sequence[tuple[str, object]]) -> Table:
    """One fact a line: its name, then what is known of it."""
    from rich.table import Table

    result = Table.grid(padding=(0, 2))
    result.add_column(no_wrap=True, style="bold")
    result.add_column(overflow="fold")
    for name, value in rows:
        result.add_row(_literal(name), _literal(value))
    return result


def print_result(output_format: str, document: dict[str, Any], view: Sequence[RenderableType | object]) -> None:
    """Print one result on stdout, as ``--format`` asks.

    Args:
        output_format: ``table`` or ``json``.
        document: What machines get; the schema number is added.
        view: What people get, from top to bottom.
    """
    if output_format == "json":
        sys.stdout.write(json.dumps({"schema": SCHEMA, **document}, indent=2, allow_nan=False) + "\n")
        return
    screen = console()
    for part in view:
        screen.print(part, markup=False)


def print_error(error: TinsmithError, *, as_json: bool) -> None:
    """Say what failed and what to do next: on stderr, or as the one JSON document on stdout."""
    if as_json:
        said = error.to_json()
        sys.stdout.write(json.dumps({"schema": SCHEMA, "error": said}, indent=2) + "\n")
        return
    sys.stderr.write(f"error: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"hint:  {error.hint}\n")


def _literal(value: object) -> Text:
    """A cell as it is: brackets in a path or a command are no markup."""
    from rich.text import Text

    return Text(_cell(value))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
