"""``tinsmith flash``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result

__all__ = ["flash"]


@click.command()
@click.argument("file", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("-d", "--device", "names", multiple=True, required=True, help="A device, a group, a tag, or local.")
@click.option("--window", "window_s", type=click.FloatRange(0), default=10.0, show_default=True,
              help="Seconds that the update is watched on the device before it is kept.")  # fmt: skip
@click.option("--allow-unsigned", "unsigned", is_flag=True,
              help="Take a bundle that nobody signed, on a device that trusts no key.")  # fmt: skip
@click.option("--allow-downgrade", "downgrade", is_flag=True, help="Take an older version than the device has had.")
@options.time_limit_option
@options.force_option("fit", "profile")
@options.format_option
def flash(*, file: Path, names: tuple[str, ...], forced: tuple[str, ...], output_format: str, window_s: float,
          unsigned: bool, downgrade: bool, time_limit_s: float) -> None:  # fmt: skip
    """Make a bundle the one that a device serves, or change nothing.

    Sends what is missing, checks hash, signature and version, runs the bundle on the device, switches in one step, and
    watches it: a device that is cut off at any moment serves the old bundle or the new one, whole. What is not healthy
    is taken back (exit code 7).
    """
    from tinsmith.devices.commands.flash_view import Following, flash_view
    from tinsmith.devices.flashing.deploying import Deployer, cargo_of, check_cargo
    from tinsmith.devices.flashing.flash import Permissions
    from tinsmith.devices.inventory import resolve_devices

    devices = resolve_devices(names)
    cargo, load = cargo_of(file)
    for device in devices:
        check_cargo(load, device, forced)
    permissions = Permissions(unsigned=unsigned, downgrade=downgrade, window_s=window_s, time_limit_s=time_limit_s)
    deployer = Deployer()
    deployments = []
    for device in devices:
        with Following(device.name) as watch:
            deployments.append(deployer.flash(device, cargo, permissions, watch))
    document = {"bundle": str(file), "deployments": [deployment.to_json() for deployment in deployments]}
    print_result(output_format, document, flash_view(deployments))
