"""Virtual boards as devices of the inventory, so that every command that takes a device takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.devices.boards.starting import KINDS, find_board, start_board, stop_board
from tinsmith.devices.inventory import Entry, add_device, read_inventory, remove_device
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from tinsmith.devices.boards.board import Board
    from tinsmith.devices.device import Device

__all__ = ["bring_down", "bring_up"]

_USUAL_PROFILE = "virtual-arm64"


def bring_up(name: str, *, kind: str | None = None) -> tuple[Board, Device]:
    """Start a virtual board, and write it into the inventory.

    Raises:
        UsageError: The board is on, or the inventory has another device of that name.
        HostError: As ``start_board``.
        OutputError: As ``start_board``, or the inventory can't be written.
    """
    there = read_inventory().find(name)
    if there is not None and not _is_ours(there):
        hint = f"take another name, or remove it first: tinsmith devices remove {name}"
        raise UsageError(f"there is a device {name} already, at {there.address}", hint=hint)
    board = start_board(name, kind=kind)
    try:
        if there is not None:
            remove_device(name)
        facts = Entry(name=name, profile=KINDS[board.kind].profile, address=board.address, host_key=board.host_key)
        return board, add_device(facts)
    except BaseException:
        stop_board(name)
        raise


def bring_down(name: str) -> None:
    """Stop a virtual board, and take it out of the inventory; also one that ended with a restart of this machine.

    Raises:
        UsageError: There is no virtual board of that name.
        OutputError: The inventory can't be written.
    """
    there = read_inventory().find(name)
    ours = there is not None and _is_ours(there)
    if not stop_board(name) and not ours:
        raise UsageError(f"there is no virtual board {name}", hint="`tinsmith devices list` lists your devices")
    if ours:
        remove_device(name)


def _is_ours(device: Device) -> bool:
    """Whether it is the virtual board of its name, on or not."""
    board = find_board(device.name)
    return device.profile.name == _USUAL_PROFILE if board is None else device.address == board.address
