"""What has become of an activation that may have been cut off anywhere; the board knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.ddi.journal import ON_TRIAL
from tinsmith.runtime.agent.recovery import CUT_OFF

if TYPE_CHECKING:
    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.ddi.journal import Action
    from tinsmith.runtime.agent.state import Installed, State

__all__ = ["Fate", "Kept", "NotBegun", "OnTrial", "TakenBack", "fate_of", "newest_serial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBegun:
    """It was never served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTrial:
    """It is served, and may be taken back.

    Attributes:
        until_uptime_s: When that happens by itself.
    """

    until_uptime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """It is served, and committed.

    Attributes:
        bundle: What it is.
    """

    bundle: Installed


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """It was served, and is no longer.

    Attributes:
        reason: For people.
    """

    reason: str


Fate = NotBegun | OnTrial | Kept | TakenBack


def newest_serial(state: State) -> int:
    """Of the last line that the audit log has, or owes; 0 before the first."""
    return state.entries[-1].serial if state.entries else 0


def fate_of(board: Board, action: Action) -> Fate:
    """Find out, on a board that was brought to rest before."""
    state = board.state()
    active = state.at(board.serving())
    if active is None or active.sha256 != action.sha256:
        reason = _reason(state, action)
        if action.stage != ON_TRIAL and reason in ("", CUT_OFF):
            return NotBegun()
        return TakenBack(reason=reason or "it was replaced by another host")
    if state.trial is not None:
        return OnTrial(until_uptime_s=state.trial.until_uptime_s)
    return Kept(bundle=active)


def _reason(state: State, action: Action) -> str:
    """Why this very activation was taken back; empty where the last line of the audit log does not speak of it."""
    last = state.entries[-1] if state.entries else None
    if last is None or last.serial <= action.since or last.event != "rollback":
        return ""
    return last.facts.get("reason", "") if last.facts.get("sha256") == action.sha256 else ""
