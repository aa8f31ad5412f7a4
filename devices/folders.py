"""Folders of the user's, where the XDG base directory specification has them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["xdg_folder"]


def xdg_folder(variable: str, usual: str) -> Path:
    """Such a folder; it may not be there yet.

    Args:
        variable: Such as ``XDG_STATE_HOME``.
        usual: Below the user's home, where it says nothing; a relative path there counts as nothing.
    """
    told = os.environ.get(variable, "")
    return Path(told) if told.startswith("/") else Path.home() / usual
