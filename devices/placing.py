"""The folder on a device that everything of ours goes into."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tinsmith.devices.reaching import base_of
from tinsmith.devices.transports.addresses import AdbAddress, LocalAddress, parse_address

if TYPE_CHECKING:
    from tinsmith.devices.device import Device

__all__ = ["base_on"]

_ON_ANDROID = PurePosixPath("/data/local/tmp/tinsmith")
_BELOW_HOME = PurePosixPath("tinsmith")


def base_on(device: Device) -> PurePosixPath:
    """The base folder; where neither the inventory nor the address names one, the usual one of its kind.

    A relative one is seen from where the transport's programs start: over SSH, the user's home.
    """
    if named := base_of(device):
        return PurePosixPath(named)
    address = parse_address(device.address)
    if isinstance(address, AdbAddress):
        return _ON_ANDROID
    return _here() if isinstance(address, LocalAddress) else _BELOW_HOME


def _here() -> PurePosixPath:
    """This machine's own, where the XDG specification wants data of the user."""
    data = os.environ.get("XDG_DATA_HOME", "")
    folder = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return PurePosixPath(folder / "tinsmith" / "device")
