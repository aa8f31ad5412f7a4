"""Steps: what is being done with a device, for errors that name the device, the stage and the next command."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from tinsmith.runtime.errors import DeviceError, NoRoomError

__all__ = ["Step"]

_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done with one device.

    Attributes:
        address: The device, as the inventory writes it.
        doing: What, such as ``putting model.part``.
    """

    address: str
    doing: str

    def failed(self, reason: str, *, hint: str, kind: type[DeviceError] = DeviceError) -> DeviceError:
        """The error that says so: the device, the stage, the reason, and the next command as the hint."""
        return kind(f"{self.address}: {self.doing}: {reason}", hint=hint)

    def full(self, folder: str) -> DeviceError:
        """The error of a full disk, where ``folder`` is on it."""
        hint = f"free some space there; `df -h {folder}` on the device shows what is left"
        return self.failed("its disk is full", hint=hint, kind=NoRoomError)

    def refused(self, error: OSError, folder: str) -> DeviceError:
        """The error for what an operating system said about a file in ``folder``."""
        if error.errno in _FULL:
            return self.full(folder)
        hint = f"`ls -ld {folder}` on the device shows whether it is there and who may write to it"
        return self.failed(error.strerror or str(error), hint=hint)
