"""How a device of the inventory is reached."""

from __future__ import annotations

import shlex
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from tinsmith.devices.transports.addresses import AdbAddress, SshAddress, open_transport, parse_address
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from tinsmith.devices.device import Device
    from tinsmith.devices.transports.addresses import Address, Host
    from tinsmith.devices.transports.protocol import Transport

__all__ = ["address_of", "base_of", "open_device", "typed_line"]

_TRANSPORTS = "tinsmith.transports"


def open_device(device: Device) -> Transport:
    """The transport of a device, which is reached for on its first use; raises as ``open_transport``."""
    return open_transport(address_of(device.address, host_key=device.host_key))


def base_of(device: Device) -> str:
    """The folder on a device that everything goes into; empty where neither the inventory nor the address names one."""
    base = parse_address(device.address).base
    return device.base or ("" if base is None else str(base))


def typed_line(device: Device, command: str) -> str:
    """What to type here to run a command on a device; Ctrl-C ends it there.

    Args:
        device: Which.
        command: For its shell.

    Returns:
        A line for the shell of this machine; the command alone, where only the device's transport knows the way.
    """
    address = parse_address(device.address)
    if isinstance(address, SshAddress):
        return shlex.join(["ssh", "-t", *_ssh_words(address), command])
    if isinstance(address, AdbAddress):
        return shlex.join(["adb", *(["-s", address.serial] if address.serial else []), "shell", "-t", command])
    return command


def _ssh_words(address: SshAddress) -> list[str]:
    words = [] if address.key is None else ["-i", str(address.key)]
    if address.jumps:
        words += ["-J", ",".join(_jump(host) for host in address.jumps)]
    if address.at.port is not None:
        words += ["-p", str(address.at.port)]
    return [*words, address.at.login]


def _jump(host: Host) -> str:
    """As ``ssh -J`` takes it, where IPv6 stands in brackets for the port's sake."""
    user, at, name = host.login.rpartition("@")
    place = f"[{name}]" if ":" in name else name
    return f"{user}{at}{place}" if host.port is None else f"{user}{at}{place}:{host.port}"


def address_of(address: str, *, host_key: str) -> Address:
    """Read an address of the inventory, and pin the host key beside it.

    Raises:
        UsageError: It is none, its transport is not installed, or there is no host key where this one is reached.
    """
    known = ("adb", "local", "ssh", *sorted(entry_points(group=_TRANSPORTS).names))
    parsed = parse_address(address)
    if (scheme := address.partition(":")[0]) not in known:
        hint = f"the transports here are {', '.join(known)}"
        raise UsageError(f"{address!r} is no address of a device: there is no transport {scheme}", hint=hint)
    if not host_key:
        return parsed
    if not isinstance(parsed, SshAddress):
        raise UsageError(f"{address!r} has no host key: only SSH servers show one", hint="drop the key host_key")
    return parse_address(f"{address}{'&' if '?' in address else '?'}hostkey={host_key}")
