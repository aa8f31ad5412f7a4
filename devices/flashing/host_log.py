"""What this machine has done to devices: a hash-chained audit log of its own, beside those of the devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.devices.folders import xdg_folder
from tinsmith.runtime.audit import AuditLog
from tinsmith.runtime.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.devices.device import Device

__all__ = ["HostLog", "host_log_path"]


def host_log_path() -> Path:
    """Where it lies: ``tinsmith/deployments.jsonl`` in the XDG folder for state."""
    return xdg_folder("XDG_STATE_HOME", ".local/state") / "tinsmith" / "deployments.jsonl"


class HostLog:
    """Appends a line for each deployment, refusal and rollback of a device.

    Args:
        path: Of the log; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self._log = AuditLog(path)

    def append(self, event: str, device: Device, **facts: str) -> None:
        """Write a line, and wait until the disk has it.

        Raises:
            OutputError: It can't be written.
        """
        try:
            self._log.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.from_os_error(self._log.path, error) from error
        self._log.append(event, device=device.name, address=device.address, **facts)
