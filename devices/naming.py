"""Errors by the name under which the user knows a device."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import TinsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.devices.device import Device
    from tinsmith.devices.transports.protocol import Transport

__all__ = ["named"]


@contextlib.contextmanager
def named(device: Device, transport: Transport) -> Iterator[None]:
    """Let errors that begin with the address of a device begin with its name; those that name it stay as they are."""
    try:
        yield
    except TinsmithError as error:
        said = error.message.removeprefix(f"{transport.address}: ")
        if said == error.message:
            raise
        raise type(error).revive(f"{device.name}: {said}", error.hint) from error
