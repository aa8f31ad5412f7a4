"""``tinsmith status`` and ``tinsmith rollback``."""

from __future__ import annotations

import rich_click as click
from click.exceptions import Exit

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result

__all__ = ["rollback", "status"]

_devices_option = click.option(
    "-d", "--device", "names", multiple=True, required=True, help="A device, a group, a tag, or local."
)


@click.command()
@_devices_option
@click.option("--check", is_flag=True, help="Hash what is served and run its golden inputs again, on the device.")
@options.format_option
def status(names: tuple[str, ...], *, check: bool, output_format: str) -> None:
    """Show what devices serve, and what a rollback would go to.

    Of several, each is listed, and the exit code is the highest of them.
    """
    from tinsmith.devices.commands.status_view import status_view
    from tinsmith.devices.flashing.deploying import status_of
    from tinsmith.devices.inventory import resolve_devices

    found = [status_of(device, check=check) for device in resolve_devices(names)]
    if len(found) == 1 and found[0].error is not None:
        raise found[0].error
    print_result(output_format, {"devices": [one.to_json() for one in found]}, status_view(found))
    if code := max(0 if one.error is None else one.error.exit_code for one in found):
        raise Exit(code)


@click.command()
@_devices_option
@click.option("--reason", default="asked for by hand", show_default=True, help="For the audit logs; one line.")
@options.format_option
def rollback(names: tuple[str, ...], *, reason: str, output_format: str) -> None:
    """Let devices serve what they served before.

    What is there is hashed first: a damaged way back is not gone. Asked twice, it goes back once.
    """
    from tinsmith.devices.commands.status_view import rollback_document, rollback_view
    from tinsmith.devices.flashing.deploying import Deployer
    from tinsmith.devices.inventory import resolve_devices

    deployer = Deployer()
    backs = [deployer.rolled_back(device, reason) for device in resolve_devices(names)]
    if len(backs) == 1 and backs[0].error is not None:
        raise backs[0].error
    print_result(output_format, {"devices": [rollback_document(back) for back in backs]}, rollback_view(backs))
    if code := max(0 if one.error is None else one.error.exit_code for one in backs):
        raise Exit(code)
