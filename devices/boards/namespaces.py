"""Boards in namespaces of their own: processes, mounts, network, name and the clock since boot are theirs alone.

Such a board lives as long as one process, ``unshare``; with it go all its programs, its mounts and its cable.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.devices.boards.control_groups import forget
from tinsmith.devices.boards.cpuinfo import CPU, describe_cpu
from tinsmith.devices.boards.listening import last_words, wait_for_carrier
from tinsmith.devices.boards.processes import Process, ended_by_errors, start
from tinsmith.devices.boards.programs import program, run
from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PROGRAMS", "Cable", "cable_of", "inside", "power_off", "power_on"]

PROGRAMS = ("ip", "mount", "nsenter", "unshare")

_NETWORK = "10.77"
_LINK = "tinsmith"
_MOST_BOARDS = 254
_START_LIMIT_S = 30.0
_POLL_S = 0.01
_STEP_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """The cable between this machine and a board.

    Attributes:
        number: Of the board among all of this machine's, from 1.
    """

    number: int

    @property
    def link(self) -> str:
        """This machine's end of it."""
        return f"{_LINK}{self.number}"

    @property
    def host(self) -> str:
        """This machine's address on it."""
        return f"{_NETWORK}.{self.number}.1"

    @property
    def board(self) -> str:
        """The board's address."""
        return f"{_NETWORK}.{self.number}.2"


def cable_of(link: str) -> Cable:
    """The cable by this machine's end of it."""
    return Cable(number=int(link.removeprefix(_LINK)))


def power_on(
    name: str, folder: Path, system: Path, server: Sequence[str], *, cable: Cable | None = None
) -> tuple[Process, Cable]:
    """Start a board with what its disk holds, and wait until its cable is in, but not for its server.

    Args:
        name: What it calls itself.
        folder: Where its disk lies, which is made where it is not there, and its log.
        system: What its disk began as.
        server: What it runs: the path of a program of this machine, and arguments; it finds the board's root at
            ``/mnt/board``, and ``folder`` at ``/mnt/state``.
        cable: The one that it had before; the first that is free unless given.

    Raises:
        HostError: It did not start.
    """
    for part in ("upper", "work"):
        (folder / part).mkdir(exist_ok=True)
    describe_cpu(folder)
    (folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
    source, target = os.pipe()
    with as_file(files(__package__) / "board-init.sh") as script, os.fdopen(target, "w") as told:
        process = start(
            [*_apart(), "/bin/sh", str(script), name, str(folder), str(system), *server],
            log=folder / "log", stdin=source, environment={"QEMU_CPU": CPU},
        )  # fmt: skip
        os.close(source)
        with ended_by_errors(process):
            cable = _plugged(inside(process, folder), cable)
            told.write(f"{cable.board}/24\n")
            told.close()
            wait_for_carrier(process, folder, cable.link, time_limit_s=_START_LIMIT_S)
    return process, cable


def inside(process: Process, folder: Path) -> Process:
    """The first program of a board, by which its namespaces are entered.

    Raises:
        HostError: It ended before there was one.
    """
    ends_s = time.monotonic() + _START_LIMIT_S
    while not (children := process.children()):
        if not process.lives or time.monotonic() > ends_s:
            raise HostError(f"the virtual board did not start: {last_words(folder)}")
        time.sleep(_POLL_S)
    return children[0]


def power_off(process: Process, cable: Cable) -> None:
    """Kill a board with all that runs there, and take its cable away; one that has ended has taken it along."""
    if process.lives:
        # its first program: the kernel ends all others with it, and unshare waits for them
        for first in process.children():
            first.end()
        process.wait(_STEP_LIMIT_S)
        process.end()
        with contextlib.suppress(HostError):
            _ip("link", "delete", cable.link)
    forget(cable.link)


def _plug_in(board: Process, cable: Cable) -> None:
    """Bring a cable to a board, whose end of it is called ``eth0``.

    Raises:
        HostError: There is one of that number.
    """
    _ip("link", "add", cable.link, "type", "veth", "peer", "name", "eth0", "netns", str(board.number))
    _ip("address", "add", f"{cable.host}/24", "dev", cable.link)
    _ip("link", "set", cable.link, "up")


def _plugged(board: Process, cable: Cable | None) -> Cable:
    if cable is not None:
        # the kernel takes it away some time after the board that had it
        ends_s = time.monotonic() + _STEP_LIMIT_S
        while _is_taken(cable) and time.monotonic() < ends_s:
            time.sleep(_POLL_S)
        _plug_in(board, cable)
        return cable
    for number in range(1, _MOST_BOARDS + 1):
        free = Cable(number=number)
        if not _is_taken(free):
            # another process may be as quick, and the kernel decides
            try:
                _plug_in(board, free)
            except HostError:
                if not _is_taken(free):
                    raise
                continue
            return free
    raise HostError(f"{_MOST_BOARDS} virtual boards are on", hint="stop some of them: tinsmith devices down NAME")


def _is_taken(cable: Cable) -> bool:
    return (Path("/sys/class/net") / cable.link).exists()


def _apart() -> list[str]:
    uptime_s = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    return [program("unshare"), "--fork", "--kill-child", "--pid", "--mount", "--net", "--uts", "--ipc",
            "--time", "--boottime", str(-uptime_s)]  # fmt: skip


def _ip(*arguments: str) -> None:
    run(["ip", *arguments], doing="plugging the cable of a virtual board", time_limit_s=_STEP_LIMIT_S)
