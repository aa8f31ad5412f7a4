"""Waiting for the server of a board that was started."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.devices.boards.processes import Process

__all__ = ["last_words", "wait_for_adb", "wait_for_carrier", "wait_for_ssh"]

_POLL_S = 0.01
_ANSWER_LIMIT_S = 2.0


def wait_for_ssh(process: Process, folder: Path, place: tuple[str, int], *, time_limit_s: float) -> None:
    """Wait until an SSH server says its name (RFC 4253, 4.2): something before it may take connections, and drop them.

    Raises:
        HostError: It does not in time.
    """
    _wait(process, folder, time_limit_s, lambda: _greets(place))


def wait_for_adb(process: Process, folder: Path, place: tuple[str, int], *, time_limit_s: float) -> None:
    """Wait until something takes connections; adbd says nothing before it is asked.

    Raises:
        HostError: Nothing does in time.
    """
    _wait(process, folder, time_limit_s, lambda: _answers(place))


def wait_for_carrier(process: Process, folder: Path, link: str, *, time_limit_s: float) -> None:
    """Wait until a cable is in at both ends: a packet before that is lost, and the next one comes a whole second later.

    Raises:
        HostError: It is not in time.
    """
    _wait(process, folder, time_limit_s, lambda: _is_in(link))


def last_words(folder: Path) -> str:
    """The last line in the log of a board."""
    with contextlib.suppress(OSError, IndexError):
        return (folder / "log").read_text(errors="replace").strip().splitlines()[-1]
    return f"it says nothing in {folder / 'log'}"


def _wait(process: Process, folder: Path, time_limit_s: float, is_up: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + time_limit_s
    while not is_up():
        if not process.lives:
            raise HostError(f"the virtual board did not start: {last_words(folder)}")
        if time.monotonic() > ends_s:
            raise HostError(f"the virtual board did not start within {time_limit_s:g} s: {last_words(folder)}")
        time.sleep(_POLL_S)


def _is_in(link: str) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/sys/class/net") / link / "carrier").read_text().strip() == "1"
    return False


def _greets(place: tuple[str, int]) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(place, timeout=_ANSWER_LIMIT_S) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def _answers(place: tuple[str, int]) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(place, timeout=_ANSWER_LIMIT_S):
        return True
    return False
