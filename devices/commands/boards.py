"""``tinsmith devices up`` and ``down``: virtual boards."""

from __future__ import annotations

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result

__all__ = ["down", "up"]

_USUAL = "virtual"


@click.command()
@click.argument("name", default=_USUAL)
@click.option(
    "--kind",
    type=click.Choice(["ssh", "proot", "adb", "vm"]),
    help="ssh: OpenSSH at an address of its own. proot: the same without root. adb: a real adbd. vm: a whole machine."
    " The first of ssh and proot that this machine can have, unless given.",
)
@options.format_option
def up(name: str, kind: str | None, output_format: str) -> None:
    """Start a virtual arm64 board, and write it into your inventory.

    It is an emulated Cortex-A72 with Debian 12, Python and nothing of tinsmith, for whoever has no board at hand. How
    fast anything is there says nothing of a real one. The first board of a kind fetches its system from the mirror of
    Debian that apt uses, unless `make boards` has.
    """
    from tinsmith.devices.boards.lending import bring_up
    from tinsmith.devices.commands.devices_view import device_facts

    board, device = bring_up(name, kind=kind)
    document = {"device": device.to_json(), "board": board.to_json()}
    print_result(output_format, document, [device_facts(device), "", f"stop it with: tinsmith devices down {name}"])


@click.command()
@click.argument("name", default=_USUAL)
@options.format_option
def down(name: str, output_format: str) -> None:
    """Stop a virtual board, and take it out of your inventory; its disk is lost."""
    from tinsmith.devices.boards.lending import bring_down

    bring_down(name)
    print_result(output_format, {"stopped": name}, [f"stopped {name}"])
