"""One action of the server, from its acceptance to its end, by the agent's own requests.

Accepted, downloaded, received (its hash is right), installed (signature, version, first load, golden inputs), activated
on trial, healthy until the window is over, committed. Each step may be cut off and is gone through again; before the
first and after each that counts the journal is written. An action is closed once: as success when its bundle is
committed, as failure in every other case, with the reason, and then what was served before is served.
"""

from __future__ import annotations

import contextlib
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.answers import Activated, InstalledBundle, MissingBytes
from tinsmith.runtime.agent.ddi.downloading import download
from tinsmith.runtime.agent.ddi.fates import Kept, NotBegun, OnTrial, TakenBack, fate_of, newest_serial
from tinsmith.runtime.agent.ddi.journal import ACCEPTED, ACTIVATING, ON_TRIAL, RECEIVED, Action
from tinsmith.runtime.agent.receiving import part_path, whole_path
from tinsmith.runtime.agent.requests import Activate, Boot, Commit, Health, Install, Missing, Receive, Rollback
from tinsmith.runtime.errors import DeviceError, RolledBackError, TinsmithError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.ddi.asking import Agent
    from tinsmith.runtime.agent.ddi.documents import Artifact, Deployment
    from tinsmith.runtime.agent.ddi.feedback import Feedback
    from tinsmith.runtime.agent.ddi.journal import JournalFile
    from tinsmith.runtime.agent.ddi.server import HawkbitServer
    from tinsmith.runtime.agent.ddi.settings import HawkbitSettings

__all__ = ["Updater"]

logger = logging.getLogger(__name__)

# How long a trial goes on behind the window: time for a slow server, and for a client that was started again.
_GRACE_S = 300.0
_MOST_BETWEEN_LOOKS_S = 15.0


class Updater:
    """Carries out what the server asks for.

    Args:
        board: Where.
        agent: Of the board.
        server: From which bundles are downloaded.
        settings: Of the client.
        file: The journal.
    """

    def __init__(
        self, board: Board, agent: Agent, server: HawkbitServer, settings: HawkbitSettings, file: JournalFile
    ) -> None:
        self._board = board
        self._agent = agent
        self._server = server
        self._settings = settings
        self._file = file

    @property
    def active(self) -> bool:
        """Whether a bundle may be on trial, so that it is too late to cancel the action."""
        action = self._file.journal.action
        return action is not None and action.stage in (ACTIVATING, ON_TRIAL)

    def look_again_s(self) -> float:
        """When to call ``watch`` again; infinity where nothing is on trial."""
        return min(max(self._settings.window_s / 4, 1.0), _MOST_BETWEEN_LOOKS_S) if self.active else math.inf

    def accept(self, action: Action, artifact: Artifact) -> None:
        """Write down that an action is under way."""
        said = action.says("proceeding", f"accepted: {artifact.said}, {artifact.size_bytes:,} bytes")
        self._file.write(replace(self._file.journal, action=action).owing(said))

    def refuse(self, action: Action, error: TinsmithError, *, stage: str) -> None:
        """Close an action as failed; what lies there for it is taken away."""
        reasons = (f"{stage}: {error.message}", error.hint)
        self._close(action, "failure", *filter(None, reasons), code=error.exit_code)
        self.discard(action.sha256)

    def discard(self, sha256: str) -> None:
        """Take away what was downloaded of a bundle, unless somebody else is at it."""
        with contextlib.suppress(TinsmithError), self._board.locked():
            for path in (part_path(self._board, sha256), whole_path(self._board, sha256)):
                self._board.files.unlink(path)

    def advance(self, deployment: Deployment, still_wanted: Callable[[], bool]) -> None:
        """Go on as far as the server allows now; the action is on trial then, waits, or is closed as failed.

        Args:
            deployment: What the server says of the action.
            still_wanted: Asked before a bundle is activated; where it is False, the action is no longer ours.

        Raises:
            DeviceError: The server or another host is in the way: it is tried again later.
            OutputError: The journal can't be written.
        """
        self._agent.begin("download")
        action = self._under_way()
        try:
            self._advance(deployment, still_wanted)
        except DeviceError:
            raise
        except TinsmithError as error:
            self._give_up(action, error)
        except Exception as error:  # the server must hear of it, whatever went wrong here
            logger.exception("a defect in tinsmith")
            defect = TinsmithError(f"a defect: {type(error).__name__}: {error}", hint="report it with the client's log")
            self._give_up(action, defect)

    def watch(self) -> None:
        """Look after what is on trial: still whole and healthy, commit it when its window is over, or take it back."""
        if not self.active:
            return
        self._agent.begin("trial")
        self._agent.ask(Boot())
        action = self._under_way()
        fate = fate_of(self._board, action)
        if isinstance(fate, NotBegun):
            self._move(replace(action, stage=RECEIVED))
        elif isinstance(fate, TakenBack):
            self._close(action, "failure", f"taken back: {fate.reason}", code=RolledBackError.exit_code)
        elif isinstance(fate, Kept):
            self._succeed(action, fate)
        else:
            self._examine(action, fate)

    def _advance(self, deployment: Deployment, still_wanted: Callable[[], bool]) -> None:
        action = self._under_way()
        if action.stage == ACCEPTED and not deployment.download:
            return
        self._receive(action, deployment.artifact)
        if action.stage == ACCEPTED:
            action = self._move(replace(action, stage=RECEIVED), action.says("downloaded", "its hash is right"))
        if not deployment.update:
            logger.info("action %s waits for the server's word to install", action.id)
            return
        installed = self._agent.ask(self._install(action))
        if isinstance(installed, InstalledBundle) and still_wanted():
            self._activate(action, installed)

    def _receive(self, action: Action, artifact: Artifact) -> None:
        """Download, unless it is there; a part that another boot has left is got anew where its hash is wrong."""
        sha256, size_bytes = action.sha256, artifact.size_bytes
        found = self._agent.ask(Missing(sha256=sha256, size_bytes=size_bytes, part=sha256, part_bytes=size_bytes))
        there = found.there if isinstance(found, MissingBytes) else ""
        if there in ("active", "slot"):
            return
        receive = Receive(sha256=sha256, size_bytes=size_bytes, part=sha256, form="whole")
        whole_at_once = there == "parts" or download(self._board, self._server, artifact)
        try:
            self._agent.ask(receive)
        except VerificationError:
            if whole_at_once:
                raise
            download(self._board, self._server, artifact)
            self._agent.ask(receive)

    def _install(self, action: Action) -> Install:
        settings = self._settings
        return Install(sha256=action.sha256, allow_unsigned=settings.allow_unsigned, time_limit_s=settings.time_limit_s)

    def _activate(self, action: Action, installed: InstalledBundle) -> None:
        bundle, settings = installed.bundle, self._settings
        checked = f"installed: version {bundle.version} of {bundle.name}, signed by {bundle.signed_by or 'nobody'}"
        said = action.says("proceeding", checked, *filter(None, [installed.golden]))
        since = newest_serial(self._board.state())
        action = self._move(replace(action, stage=ACTIVATING, since=since), said)
        activated = self._agent.ask(Activate(sha256=action.sha256, window_s=settings.window_s + _GRACE_S))
        tried = isinstance(activated, Activated) and activated.on_trial  # and was not served already
        trial = action.says("proceeding", f"active on trial for {settings.window_s:g} s")
        self._move(replace(action, stage=ON_TRIAL), *([trial] if tried else []))

    def _examine(self, action: Action, fate: OnTrial) -> None:
        try:
            self._agent.ask(Health(time_limit_s=self._settings.time_limit_s))
        except DeviceError:
            raise
        except TinsmithError as error:
            reason = f"{self._agent.stage}: {error.message}"
            self._close(action, "failure", *self._take_back(reason), code=RolledBackError.exit_code)
            return
        if self._board.now().uptime_s >= fate.until_uptime_s - _GRACE_S:
            self._agent.ask(Commit(sha256=action.sha256))
            kept = fate_of(self._board, action)
            if isinstance(kept, Kept):
                self._succeed(action, kept)

    def _take_back(self, reason: str) -> tuple[str, ...]:
        """What came of it, for people."""
        try:
            self._agent.ask(Rollback(reason=reason[:500]))
        except DeviceError:
            raise
        except TinsmithError as second:
            return f"it fails: {reason}", f"it could not be taken back: {second.message}"
        return (f"taken back: {reason}",)

    def _give_up(self, action: Action, error: TinsmithError) -> None:
        self._agent.heed_end(error)
        if self._file.journal.action is None:
            raise error
        stage, reason = self._agent.stage, error.message
        if self.active:
            action = self._under_way()
            self._agent.ask(Boot())
            if isinstance(fate_of(self._board, action), OnTrial):
                self._take_back(f"{stage}: {reason}")
        self.refuse(action, error, stage=stage)

    def _succeed(self, action: Action, fate: Kept) -> None:
        bundle = fate.bundle
        self._close(action, "success", f"version {bundle.version} of {bundle.name} is active, in slot {bundle.slot}")

    def _close(self, action: Action, finished: str, *details: str, code: int | None = None) -> None:
        logger.info("action %s is closed: %s: %s", action.id, finished, "; ".join(details))
        journal = self._file.journal.closed(action.says("closed", *details, finished=finished, code=code))
        self._file.write(replace(journal, reported=action.sha256) if finished == "success" else journal)

    def _move(self, action: Action, *said: Feedback) -> Action:
        """Write down a stage together with what the server is owed for it."""
        self._file.write(replace(self._file.journal, action=action).owing(*said))
        return action

    def _under_way(self) -> Action:
        action = self._file.journal.action
        if action is None:
            raise DeviceError("no action is under way on this device", hint="nothing need be done: the server is asked")
        return action
