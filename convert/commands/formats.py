"""``tinsmith formats``."""

from __future__ import annotations

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result, table

__all__ = ["formats"]


@click.command()
@options.format_option
def formats(output_format: str) -> None:
    """Show which format turns into which, and what it needs."""
    from tinsmith.convert.formats import FORMAT_COLUMNS, format_rows, formats_document

    print_result(output_format, formats_document(), [table(FORMAT_COLUMNS, format_rows())])
