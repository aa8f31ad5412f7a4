"""Options of the commands that take many devices at once."""

from __future__ import annotations

import rich_click as click

__all__ = ["DEVICES_HELP", "devices_option", "parallel_option"]

DEVICES_HELP = "A device, a group, a tag, or local."
devices_option = click.option("-d", "--device", "names", multiple=True, required=True, help=DEVICES_HELP)
parallel_option = click.option(
    "--parallel", type=click.IntRange(1, 500), default=8, show_default=True, help="Devices at once."
)
