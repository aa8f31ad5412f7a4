"""Which slot is served: on trial, committed, or taken back. Each request may be asked again; the answer is the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.answers import Activated, Bundled, RolledBack
from tinsmith.runtime.agent.recovery import take_back
from tinsmith.runtime.agent.state import Highest, Trial
from tinsmith.runtime.errors import DataError, DeviceError, RolledBackError, UsageError, VerificationError

if TYPE_CHECKING:
    from tinsmith.runtime.agent.requests import Activate, Commit, Rollback
    from tinsmith.runtime.agent.slots import Slots
    from tinsmith.runtime.agent.state import Installed, State

__all__ = ["activate", "commit", "not_served", "rollback"]


def activate(board: Slots, state: State, request: Activate) -> Activated:
    """Serve an installed bundle on trial.

    The state says so first, with the line for the audit log; then the link is switched, which is the moment that
    counts.

    Raises:
        DataError: It is not installed.
        DeviceError: Another update is on trial.
        VerificationError: It has changed since it was installed.
    """
    serving = state.at(board.serving())
    if serving is not None and serving.sha256 == request.sha256 and board.is_whole(serving):
        return _activated(board, state, serving)
    if state.trial is not None:
        raise DeviceError("another update is on trial on this device", hint="wait until it is committed")
    installed = _find(board, state, request.sha256)
    now = board.now()
    trial = Trial(
        slot=installed.slot,
        until_wall_s=now.wall_s + request.window_s,
        until_uptime_s=now.uptime_s + request.window_s,
        boot_id=now.boot_id,
    )
    state = board.record(replace(state, trial=trial, rolled_back=None), "trial", installed)
    board.serve(installed.slot)
    return _activated(board, state, installed)


def commit(board: Slots, state: State, request: Commit) -> Activated:
    """Keep what is on trial; from now on no older version is taken.

    Raises:
        RolledBackError: It was taken back.
        UsageError: It is not on trial.
    """
    serving = state.at(board.serving())
    if serving is None or serving.sha256 != request.sha256:
        raise not_served(state, request.sha256)
    if state.trial is None:
        return _activated(board, state, serving)
    highest = state.highest.get(serving.name)
    if highest is None or serving.version >= highest.version:
        highest = Highest(version=serving.version, sha256=serving.sha256)
    after = replace(
        state,
        committed=serving.slot,
        back=state.committed,
        trial=None,
        rolled_back=None,
        highest={**state.highest, serving.name: highest},
    )
    return _activated(board, board.record(after, "commit", serving), serving)


def rollback(board: Slots, state: State, request: Rollback) -> RolledBack:
    """Serve what was served before: before the trial, or before the last update that was committed.

    Raises:
        UsageError: There is nothing to go back to.
        VerificationError: What was there before is damaged; then nothing changes.
    """
    if state.trial is None and state.rolled_back is not None:  # asked twice
        return _rolled_back(board, state, state.rolled_back)
    target = state.committed if state.trial is not None else state.back
    taken = state.at(board.serving())
    if taken is None or (state.trial is None and target is None):
        raise UsageError("there is nothing to go back to on this device", hint="flash the bundle that it shall run")
    found = state.at(target)
    if found is not None and not board.is_whole(found):
        raise VerificationError(
            f"version {found.version} in slot {found.slot} is damaged, and was not gone back to",
            hint="flash the bundle that the device shall run",
        )
    return _rolled_back(board, take_back(board, state, target, request.reason), taken)


def _find(board: Slots, state: State, sha256: str) -> Installed:
    """The bundle in a slot; where both have it, one of them is damaged."""
    found = [installed for installed in state.slots.values() if installed.sha256 == sha256]
    if not found:
        raise DataError(f"the bundle {sha256} is not installed on the device", hint="install it first")
    for installed in found:
        if board.is_whole(installed):
            return installed
    raise VerificationError(
        f"version {found[0].version} in slot {found[0].slot} has changed since it was installed", hint="flash again"
    )


def not_served(state: State, sha256: str) -> RolledBackError | UsageError:
    """The error that says what became of a bundle that should be served."""
    taken = state.rolled_back
    if taken is not None and taken.sha256 == sha256:
        reason = state.entries[-1].facts.get("reason", "") if state.entries else ""
        return RolledBackError(
            f"version {taken.version} of {taken.name} was taken back: {reason}", hint="mend it, and flash again"
        )
    return UsageError(f"the bundle {sha256} is not on trial", hint="activate it first")


def _activated(board: Slots, state: State, installed: Installed) -> Activated:
    return Activated(
        active=Bundled.of(installed),
        on_trial=state.trial is not None,
        trial_until_s=None if state.trial is None else state.trial.until_wall_s,
        audit_head=board.newest_line().head,
    )


def _rolled_back(board: Slots, state: State, taken: Installed) -> RolledBack:
    active = state.at(state.committed)
    return RolledBack(
        active=None if active is None else Bundled.of(active),
        taken_back=Bundled.of(taken),
        audit_head=board.newest_line().head,
    )
