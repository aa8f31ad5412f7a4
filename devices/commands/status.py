"""``tinsmith status`` and ``tinsmith rollback``."""

from __future__ import annotations

import rich_click as click
from click.exceptions import Exit

from tinsmith.devices.commands.selection import devices_option, parallel_option
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result

__all__ = ["rollback", "status"]


@click.command()
@devices_option
@click.option("--check", is_flag=True, help="Hash what is served and run its golden inputs again, on the device.")
@parallel_option
@options.format_option
def status(names: tuple[str, ...], *, check: bool, parallel: int, output_format: str) -> None:
    """Show what devices serve.

    And what a rollback would go to. Of several, each is listed, and the exit code is the highest of them.
    """
    from tinsmith.devices.commands.status_view import status_view
    from tinsmith.devices.flashing.deploying import status_of
    from tinsmith.devices.fleet.pool import in_order
    from tinsmith.devices.inventory import resolve_devices

    found = in_order(lambda device: status_of(device, check=check), resolve_devices(names), parallel=parallel)
    if len(found) == 1 and found[0].error is not None:
        raise found[0].error
    print_result(output_format, {"devices": [one.to_json() for one in found]}, status_view(found))
    if code := max(0 if one.error is None else one.error.exit_code for one in found):
        raise Exit(code)


@click.command()
@devices_option
@click.option("--reason", default="asked for by hand", show_default=True, help="For the audit logs; one line.")
@parallel_option
@options.format_option
def rollback(names: tuple[str, ...], *, reason: str, parallel: int, output_format: str) -> None:
    """Let devices serve what they served before.

    What is there is hashed first: a damaged way back is not gone. Asked twice, it goes back once.
    """
    from tinsmith.devices.commands.status_view import rollback_document, rollback_view
    from tinsmith.devices.flashing.deploying import Deployer
    from tinsmith.devices.fleet.pool import in_order
    from tinsmith.devices.inventory import resolve_devices

    deployer = Deployer()
    backs = in_order(lambda device: deployer.rolled_back(device, reason), resolve_devices(names), parallel=parallel)
    if len(backs) == 1 and backs[0].error is not None:
        raise backs[0].error
    print_result(output_format, {"devices": [rollback_document(back) for back in backs]}, rollback_view(backs))
    if code := max(0 if one.error is None else one.error.exit_code for one in backs):
        raise Exit(code)
