"""``tinsmith devices``: list, show, add, setup, remove, check, probe; ``up`` and ``down`` are in ``boards``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from tinsmith.devices.commands.boards import down, up
from tinsmith.devices.commands.setting_up import set_up_and_print
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result
from tinsmith.runtime.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["devices"]


def _setup_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a setup can be told: ``wanted`` as ``Wanted`` takes it."""
    told = (
        click.option("--engine", help="The engine that it gets; the first of its profile unless given."),
        click.option(
            "--trust", multiple=True, type=click.Path(path_type=Path), help="A public key whose bundles it shall take."
        ),
        click.option(
            "--wheels",
            type=click.Path(path_type=Path),
            help="A folder of wheels for it; without one, your pip fetches them.",
        ),
        click.option("--service/--no-service", default=True, help="Have systemd keep a server running. [default: yes]"),
    )
    for option in reversed(told):
        function = option(function)
    return function


@click.group()
def devices() -> None:
    """Keep your devices, and say what runs on them.

    A device is a profile and an address. Yours are kept in one file, which you may edit too: $TINSMITH_DEVICES, or
    tinsmith/devices.toml in the folder for configuration.
    """


@devices.command("list")
@options.format_option
def list_(output_format: str) -> None:
    """List your devices, and the profiles that tinsmith brings."""
    from tinsmith.devices.commands.devices_view import overview_of, profile_document
    from tinsmith.devices.inventory import read_inventory
    from tinsmith.runtime.profile import list_profiles, load_profile

    inventory = read_inventory()
    profiles = [load_profile(name) for name in list_profiles()]
    document = {
        "inventory": str(inventory.path),
        "devices": [device.to_json() for device in inventory.devices],
        "profiles": [profile_document(profile) for profile in profiles],
    }
    print_result(output_format, document, overview_of(inventory, profiles))


@devices.command()
@click.argument("name")
@options.format_option
def show(name: str, output_format: str) -> None:
    """Show a device or a profile: what it has, where that is known from, and latencies that were published for it."""
    from tinsmith.devices.commands.devices_view import device_facts, profile_document, profile_view
    from tinsmith.devices.inventory import profile_of, read_inventory

    inventory = read_inventory()
    device = inventory.find(name)
    profile = profile_of(name, inventory=inventory)
    document: dict[str, Any] = {"profile": profile_document(profile)}
    if device is not None:
        document = {"device": device.to_json(), **document}
    view = profile_view(profile) if device is None else [device_facts(device), "", *profile_view(profile)]
    print_result(output_format, document, view)


@devices.command()
@click.argument("name")
@click.option("--profile", required=True, help="What it is: a profile's name or alias, or a .toml file of yours.")
@click.option("--address", required=True, help="How it is reached: local, ssh://USER@HOST or adb:SERIAL.")
@click.option("--group", "groups", multiple=True, help="A name that stands for several devices at once.")
@click.option("--tag", "tags", multiple=True, help="A word about it, by which it can be named as well.")
@click.option("--host-key", default="", help="The host key that it must show, as `ssh-keygen -l` prints it.")
@click.option("--base", default="", help="The folder there that everything goes into.")
@click.option(
    "--runner", default="", help="On a phone, the program that runs a model: benchmark_model, or one of yours."
)
@click.option("--setup", is_flag=True, help="Set it up as well; as `tinsmith devices setup` does.")
@_setup_options
@options.format_option
def add(
    *,
    output_format: str,
    setup: bool,
    engine: str | None,
    trust: tuple[Path, ...],
    wheels: Path | None,
    service: bool,
    **facts: Any,
) -> None:
    """Write a device into your inventory, and set it up where --setup says so."""
    from tinsmith.devices.commands.devices_view import device_facts
    from tinsmith.devices.inventory import Entry, add_device
    from tinsmith.runtime.bundle.minisign import load_public_key

    is_phone = facts["address"].startswith("adb:") and not setup
    if not setup and (engine or wheels or not service or (trust and not is_phone)):
        raise UsageError(
            "--engine, --trust, --wheels and --no-service are about setting a device up", hint="give --setup as well"
        )
    for key in trust:
        load_public_key(str(key))  # said now, and not by the first flash
    # a board keeps its keys itself; those of a phone stand in the inventory
    device = add_device(Entry(**facts, trust=tuple(str(key) for key in trust) if is_phone else ()))
    if setup:
        set_up_and_print([device], output_format, engine=engine, trust=trust, wheels=wheels, service=service)
    else:
        print_result(output_format, {"device": device.to_json()}, [device_facts(device)])


@devices.command()
@click.option("-d", "--device", "names", multiple=True, required=True, help="A device, a group, a tag, or local.")
@_setup_options
@options.format_option
def setup(names: tuple[str, ...], output_format: str, **wanted: Any) -> None:
    """Give a device what it needs to be flashed: an environment of its own, trusted keys, and a server.

    The device needs Python 3.10 or later; what else it needs is sent from here, so that it needs no network. Asked
    again, only what is missing is sent. Of several devices, each is listed, and the exit code is the highest of them.
    """
    from tinsmith.devices.inventory import resolve_devices

    set_up_and_print(resolve_devices(names), output_format, **wanted)


@devices.command()
@click.argument("name")
@options.format_option
def remove(name: str, output_format: str) -> None:
    """Take a device out of your inventory; nothing changes on the device."""
    from tinsmith.devices.inventory import remove_device

    device = remove_device(name)
    print_result(output_format, {"removed": device.to_json()}, [f"removed {device.name} ({device.address})"])


@devices.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-d", "--device", "names", multiple=True, required=True, help="A device, a group, a tag or a profile.")
@options.format_option
def check(file: Path, names: tuple[str, ...], output_format: str) -> None:
    """Say whether a bundle or an artifact fits, before anything is sent.

    Engine, operators, accelerator, dtypes and disk decide; what is estimated decides nothing. Exit code 4 where it does
    not fit on one of them.
    """
    from tinsmith.devices.commands.devices_view import fit_view
    from tinsmith.devices.fit import check_fit, read_load
    from tinsmith.devices.inventory import profiles_of

    load = read_load(file)
    fits = [check_fit(load, profile, device=name) for name, profile in profiles_of(names)]
    print_result(output_format, {"file": file.name, "devices": [fit.to_json() for fit in fits]}, fit_view(load, fits))
    if not all(fit.fits for fit in fits):
        raise Exit(ModelError.exit_code)


@devices.command()
@click.option("-d", "--device", "names", multiple=True, required=True, help="A device, a group, a tag, or local.")
@options.format_option
def probe(names: tuple[str, ...], output_format: str) -> None:
    """Ask a live device what it is, and show where its profile is wrong about it.

    Nothing is written to the device. Of several, each is listed, and the exit code is the highest of them.
    """
    from tinsmith.devices.commands.probe_view import probe_document, probe_view
    from tinsmith.devices.inventory import resolve_devices
    from tinsmith.devices.probing import probe_all

    looks = probe_all(resolve_devices(names))
    if len(looks) == 1 and looks[0].error is not None:
        raise looks[0].error
    print_result(output_format, {"devices": [probe_document(look) for look in looks]}, probe_view(looks))
    if code := max(0 if look.error is None else look.error.exit_code for look in looks):
        raise Exit(code)


devices.add_command(up)
devices.add_command(down)
