"""From a request to its answer: under the lock, and after what a crash has left was brought to an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.agent.health import check_health
from tinsmith.runtime.agent.inquiry import facts_of, status_of
from tinsmith.runtime.agent.installing import Trying, install
from tinsmith.runtime.agent.receiving import missing, receive
from tinsmith.runtime.agent.recovery import settle, sweep
from tinsmith.runtime.agent.requests import (
    Activate,
    Boot,
    Commit,
    Facts,
    Health,
    Install,
    Missing,
    Receive,
    Rollback,
    Status,
)
from tinsmith.runtime.agent.switching import activate, commit, rollback
from tinsmith.runtime.agent.trying import try_in_child
from tinsmith.runtime.errors import DeviceError, OutputError

if TYPE_CHECKING:
    from tinsmith.runtime.agent.answers import Answer
    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.requests import Request
    from tinsmith.runtime.agent.trying import Try
    from tinsmith.runtime.stages import Stages

__all__ = ["answer"]


def answer(board: Board, request: Request, stages: Stages, *, attempt: Try = try_in_child) -> Answer:
    """Do what is asked.

    Args:
        board: Where.
        request: What.
        stages: Says afterwards how long each stage took, or in which it failed.
        attempt: What tries a bundle before it may be served.

    Raises:
        TinsmithError: As the request's own function says; ``DeviceError`` where somebody else is updating the device.
    """
    if isinstance(request, Facts):
        return facts_of(board)
    if isinstance(request, Health):
        return check_health(board, request, Trying(attempt, stages))
    if isinstance(request, Missing):
        return missing(board, request)
    if isinstance(request, Status):
        return _status(board)
    with board.locked(patience_s=board.patience_s):
        return _changed(board, request, stages, attempt)


def _status(board: Board) -> Answer:
    try:
        with board.locked():
            state, resolved = settle(board)
            sweep(board)
            return status_of(board, state, resolved=resolved)
    except DeviceError:
        return status_of(board, board.state(), busy=True)
    except OutputError as error:  # a full or read-only disk: what is served can be said all the same
        return status_of(board, board.state(), unwritable=error.message)


def _changed(
    board: Board, request: Receive | Install | Activate | Commit | Rollback | Boot, stages: Stages, attempt: Try
) -> Answer:
    with stages.at("recovery"):
        state, resolved = settle(board)
    with stages.at(request.name):
        if isinstance(request, Receive):
            return receive(board, request)
        if isinstance(request, Install):
            return install(board, state, request, attempt, stages)
        if isinstance(request, Activate):
            return activate(board, state, request)
        if isinstance(request, Commit):
            return commit(board, state, request)
        if isinstance(request, Rollback):
            return rollback(board, state, request)
    sweep(board)
    return status_of(board, state, resolved=resolved)
