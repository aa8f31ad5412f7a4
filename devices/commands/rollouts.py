"""``tinsmith rollouts``."""

from __future__ import annotations

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result

__all__ = ["rollouts"]


@click.command()
@options.format_option
def rollouts(output_format: str) -> None:
    """List what was flashed to several devices, and how far it is.

    `tinsmith flash --resume ID` goes on with one.
    """
    from tinsmith.devices.commands.fleet_view import rollouts_document, rollouts_view
    from tinsmith.devices.fleet.journal import list_rollouts, rollouts_folder

    records = list_rollouts(rollouts_folder())
    print_result(output_format, rollouts_document(records), rollouts_view(records))
