"""Where everything goes on a device."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tinsmith.devices.reaching import base_of
from tinsmith.devices.transports.addresses import AdbAddress, LocalAddress, parse_address

if TYPE_CHECKING:
    from tinsmith.devices.device import Device

__all__ = ["base_on"]


def base_on(device: Device) -> PurePosixPath:
    """The base folder of a device: as the inventory or the address names it, else the usual one.

    That is ``tinsmith`` in the user's home over SSH, where relative paths begin, a folder of the user's data on this
    machine, and one that needs no root on phones.
    """
    if told := base_of(device):
        return PurePosixPath(told)
    address = parse_address(device.address)
    if isinstance(address, LocalAddress):
        return PurePosixPath(Path.home() / ".local/share/tinsmith/device")
    return PurePosixPath("/data/local/tmp/tinsmith" if isinstance(address, AdbAddress) else "tinsmith")
