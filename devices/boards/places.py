"""Where virtual boards keep their state, and the systems they start from: folders of the XDG specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.devices.folders import xdg_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cache_folder", "state_folder"]


def state_folder() -> Path:
    """The folder with one folder a board; it may not be there yet."""
    return xdg_folder("XDG_STATE_HOME", ".local/state") / "tinsmith" / "boards"


def cache_folder() -> Path:
    """The folder of systems that are made once; it may go at any time, and may not be there yet."""
    return xdg_folder("XDG_CACHE_HOME", ".cache") / "tinsmith" / "boards"
