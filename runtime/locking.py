"""Folders that one process at a time works in."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import BusyError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LOCK_NAME", "alone_in"]

LOCK_NAME = ".lock"


@contextlib.contextmanager
def alone_in(folder: Path, *, busy: str) -> Iterator[None]:
    """Keep other processes out of a folder; the system lets go of it when this one ends, however it does.

    Args:
        folder: It is there; its file ``.lock`` stays.
        busy: What to say where another process is in there.

    Raises:
        BusyError: Another process is.
        OutputError: It can't be written.
    """
    import fcntl

    path = folder / LOCK_NAME
    try:
        stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(busy, hint="wait until it has ended") from None
        yield
