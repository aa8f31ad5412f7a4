"""What a crash, a reboot or a host that went away has left is brought to an end before anything else is done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.slots import Slots
    from tinsmith.runtime.agent.state import Installed, State, Trial

__all__ = ["CUT_OFF", "settle", "sweep", "take_back", "went_back"]

CUT_OFF = "the update was cut off before it was committed"
_OLD_S = 86_400


def settle(board: Slots) -> tuple[State, str]:
    """Bring a board to rest; called under its lock, at the start of every request that changes anything.

    The link says what is served, the state what was meant. Where they disagree, a switch was cut off: before it the old
    slot is served, and the update never began; behind it the new one is, and its trial goes on while its time and its
    boot last.

    Returns:
        The state, and what was done, for people; empty where nothing was.
    """
    state = board.state()
    board.pay(state)
    serving = board.serving()
    if serving == state.committed and state.trial is None:
        return state, ""
    if state.trial is not None:
        return _settle_trial(board, state, state.trial, serving)
    if serving is None:
        board.serve(state.committed)  # somebody took the link away
        return state, "the link to what is served was missing, and has been made again"
    reason = "a rollback that was cut off behind its switch has been finished"
    return went_back(board, state, serving, reason), reason


def take_back(board: Slots, state: State, target: str | None, reason: str) -> State:
    """Switch to an older slot, and say so; the caller has verified what lies there."""
    board.serve(target)
    return went_back(board, state, target, reason)


def went_back(board: Slots, state: State, target: str | None, reason: str) -> State:
    """Write down that an older slot is served again."""
    left = state.trial.slot if state.trial is not None else state.committed
    taken = state.at(left)
    after = replace(state, committed=target, back=None, trial=None, rolled_back=taken)
    return board.record(after, "rollback", taken, reason=reason)


def _settle_trial(board: Slots, state: State, trial: Trial, serving: str | None) -> tuple[State, str]:
    if serving != trial.slot:
        return went_back(board, state, serving, CUT_OFF), CUT_OFF
    reason = _over(board, trial)
    if not reason:
        return state, ""
    target = state.at(state.committed)
    if target is not None and not board.is_whole(target):
        return _keep(board, state, target, reason)
    return take_back(board, state, state.committed, reason), reason


def _over(board: Slots, trial: Trial) -> str:
    """Why a trial is over; empty while it is not."""
    now = board.now()
    if now.boot_id != trial.boot_id:
        return "the device was started again before the update was committed"
    if now.uptime_s > trial.until_uptime_s:
        return "nobody committed the update in time"
    return ""


def _keep(board: Slots, state: State, damaged: Installed, reason: str) -> tuple[State, str]:
    """A damaged way back is worse than an update that nobody has confirmed."""
    said = f"{reason}, but version {damaged.version} in slot {damaged.slot} is damaged: the update stays"
    slots = {slot: found for slot, found in state.slots.items() if slot != damaged.slot}
    after = replace(state, committed=board.serving(), back=None, trial=None, slots=slots)
    return board.record(after, "refusal", damaged, reason=said), said


def sweep(board: Board) -> None:
    """Take away what uploads have left that nobody went on with for a day.

    Only where a status is asked for: where the clock is set between an upload and its use, by a network that came up,
    the new file looks as if it were years old.
    """
    for path in list(_old(board.parts, board.now().wall_s - _OLD_S)):
        board.files.unlink(path)


def _old(folder: Path, before_s: float) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.lstat().st_mtime < before_s and not path.is_dir():
            yield path
