"""A virtual board: what is known of one that was started, and the kinds there are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.devices.boards.processes import Process
from tinsmith.devices.reaching import address_of
from tinsmith.devices.transports.addresses import open_transport
from tinsmith.runtime.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.devices.transports.protocol import Transport

__all__ = ["Board", "Kind", "read_board", "write_board"]

_FILE = "board.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board that was started.

    Attributes:
        name: Of its folder, and in the inventory.
        kind: ``ssh``, ``proot``, ``adb``, ``vm`` or ``icount``.
        folder: Where its keys, its disk and its logs lie.
        address: How it is reached, as the inventory writes it.
        host_key: The fingerprint of the key that it shows; empty where it has none.
        process: The one whose end is the end of the board.
        port: Where it is reached on this machine; 0 where it has an address of its own.
        link: This machine's end of the cable to it; empty where it has none.
    """

    name: str
    kind: str
    folder: Path
    address: str
    host_key: str = ""
    process: Process
    port: int = 0
    link: str = ""

    @property
    def runs(self) -> bool:
        """Whether it is on."""
        return self.process.lives

    def open(self) -> Transport:
        """A transport to it, for the caller to close; raises as ``open_transport``."""
        return open_transport(address_of(self.address, host_key=self.host_key))

    def to_json(self) -> dict[str, Any]:
        """For its file, and for reports."""
        return {**asdict(self), "folder": str(self.folder)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of board.

    Attributes:
        name: As ``--kind`` takes it.
        programs: What this machine must have.
        needs_root: Whether only root can start one.
        prepare: Makes what it starts from, where that is not there; seconds.
        is_prepared: Whether that is there.
        start: Starts the board of a name in its folder; where it was on before, with the disk, the keys and the address
            that it had.
        profile: What it can do.
        forget: Lets programs of this machine know that a board is off, where there are any.
    """

    name: str
    programs: tuple[str, ...]
    needs_root: bool
    prepare: Callable[[], object]
    is_prepared: Callable[[], bool]
    start: Callable[[str, Path, Board | None], Board]
    profile: str = "virtual-arm64"
    forget: Callable[[Board], None] | None = None


def write_board(board: Board) -> None:
    """Keep what is known of a board in its folder; raises ``OutputError`` where that can't be written."""
    write_text(board.folder / _FILE, json.dumps(board.to_json(), indent=2))


def read_board(folder: Path) -> Board | None:
    """What is known of the board in a folder; None where no start of it came to its end."""
    try:
        facts = json.loads((folder / _FILE).read_text())
        return Board(**{**facts, "folder": Path(facts["folder"]), "process": Process(**facts["process"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
