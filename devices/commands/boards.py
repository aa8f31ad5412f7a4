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
    type=click.Choice(["ssh", "proot", "adb", "vm", "icount"]),
    help="ssh: OpenSSH at an address of its own. proot: the same without root. adb: a real adbd. vm: a whole machine."
    " icount: the same, and it counts instructions."
    " The first of ssh and proot that this machine can have, unless given.",
)
@click.option("--setup", is_flag=True, help="Set it up as well, as `devices setup` does: half a minute.")
@options.format_option
def up(name: str, kind: str | None, *, setup: bool, output_format: str) -> None:
    """Start a virtual arm64 board, and write it into your inventory.

    It is an emulated Cortex-A72 with Debian 12, Python and nothing of tinsmith, for whoever has no board at hand. How
    fast anything is there says nothing of a real one. The first board of a kind fetches its system from the mirror of
    Debian that apt uses, unless `make boards` has.
    """
    from tinsmith.devices.boards.lending import bring_up
    from tinsmith.devices.commands.devices_view import device_facts
    from tinsmith.devices.commands.setting_up import set_up_and_print

    board, device = bring_up(name, kind=kind)
    if setup:
        set_up_and_print((device,), output_format)
        return
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
