"""What can be known of a fleet before anything is sent: whether the bundle fits every device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.devices.flashing.deploying import check_cargo
from tinsmith.runtime.errors import TinsmithError, error_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.devices.device import Device
    from tinsmith.devices.fit import Load

__all__ = ["check_devices"]


def check_devices(load: Load, devices: Sequence[Device], forced: tuple[str, ...]) -> None:
    """Refuse a bundle that some of the devices can't run, and say of each what is wrong.

    Raises:
        TinsmithError: What ``check_cargo`` raises; for several devices, one of the family with the highest exit code.
    """
    found = [error for device in devices if (error := _wrong(load, device, forced)) is not None]
    if len(found) == 1:
        raise found[0]
    if found:
        worst = max(found, key=lambda error: error.exit_code)
        lines = [f"{len(found)} of {len(devices)} devices can't take {load.name}, and nothing was sent to any"]
        message = "\n  ".join([*lines, *(error.message for error in found)])
        raise error_of(worst.code, worst.exit_code, message, hint=worst.hint)


def _wrong(load: Load, device: Device, forced: tuple[str, ...]) -> TinsmithError | None:
    try:
        check_cargo(load, device, forced)
    except TinsmithError as error:
        return error
    return None
