"""Whether what a device serves is still whole, loads, answers as it should, and is what its server answers with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.agent.answers import NOT_RUNNING, Bundled, InstalledBundle
from tinsmith.runtime.agent.board import BUNDLE, SERVER_SETTINGS
from tinsmith.runtime.agent.installing import tried_again
from tinsmith.runtime.agent.switching import not_served
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.installing import Trying
    from tinsmith.runtime.agent.requests import Health
    from tinsmith.runtime.agent.state import Installed
    from tinsmith.runtime.stages import Stages

__all__ = ["check_health"]


def check_health(board: Board, request: Health, trying: Trying) -> InstalledBundle:
    """Hash what is served, and try it in a child process as before its update.

    Its signature was checked when it was installed, and its hash says that nothing has changed since.

    Raises:
        UsageError: Nothing is served, or something else than the request names.
        RolledBackError: What it names was taken back.
        VerificationError: It has changed, its golden inputs give other outputs, or the server of the device, where one
            runs, does not answer with it.
        ModelError: The engine does not run it.
    """
    stages = trying.stages
    state = board.state()
    active = state.at(board.serving())
    if request.sha256 and (active is None or active.sha256 != request.sha256):
        raise not_served(state, request.sha256)
    if active is None:
        raise UsageError("the device serves nothing", hint="flash a bundle first")
    with stages.at("hash"):
        if not board.is_whole(active):
            raise VerificationError(
                f"version {active.version} in slot {active.slot} has changed since it was installed",
                hint="tinsmith rollback, or flash it again",
            )
    with open_bundle(board.slot(active.slot) / BUNDLE, trust=AllowUnsigned()) as bundle:
        tried = tried_again(board, bundle, active, trying, time_limit_s=request.time_limit_s)
    served, start = _served(board, active, request, stages)
    return InstalledBundle(
        bundle=Bundled.of(active),
        durations_ms=dict(stages.durations_ms),
        engine=tried.engine,
        engine_version=tried.version,
        golden=tried.golden,
        served=served,
        start=start,
    )


def _served(board: Board, active: Installed, request: Health, stages: Stages) -> tuple[str, str]:
    """What the server says, where the device was set up to have one, and what starts it, where it does not run."""
    if not (board.base / SERVER_SETTINGS).is_file():
        return "", ""
    from tinsmith.runtime.agent.served import check_served, start_command  # HTTP and TLS, which nothing else here needs

    with stages.at("server"):
        served = check_served(board, active, time_limit_s=request.time_limit_s)
    return served, start_command(board.base) if served == NOT_RUNNING else ""
