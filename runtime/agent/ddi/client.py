"""The client: polls the server, follows what it wants, and tells it what has become of that."""

from __future__ import annotations

import http.client
import logging
import random
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.ddi.asking import Agent
from tinsmith.runtime.agent.ddi.documents import action_of, read_cancel, read_deployment, read_poll, without_query
from tinsmith.runtime.agent.ddi.downloading import held_bytes
from tinsmith.runtime.agent.ddi.feedback import attributes
from tinsmith.runtime.agent.ddi.journal import ACCEPTED, Action, Journal, JournalFile
from tinsmith.runtime.agent.ddi.server import RefusedError
from tinsmith.runtime.agent.ddi.telling import offer, tell_what_is_owed
from tinsmith.runtime.agent.ddi.updating import Updater
from tinsmith.runtime.agent.inquiry import facts_of
from tinsmith.runtime.agent.trying import try_in_child
from tinsmith.runtime.errors import DataError, DeviceError, TinsmithError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.ddi.documents import Poll
    from tinsmith.runtime.agent.ddi.server import HawkbitServer
    from tinsmith.runtime.agent.ddi.settings import HawkbitSettings
    from tinsmith.runtime.agent.trying import Try

__all__ = ["Client"]

logger = logging.getLogger(__name__)

_NO_BUNDLE = "0" * 64
_FIRST_WAIT_S, _MOST_WAIT_S = 1.0, 300.0
# What a person has to mend: a token, a name.
_MENDED_BY_HAND = (http.client.UNAUTHORIZED, http.client.FORBIDDEN, http.client.NOT_FOUND)


class Client:
    """Goes on where the last one on this board was cut off.

    Args:
        board: What is updated.
        server: That says what to do.
        settings: Of both.
        attempt: What tries a bundle before it may be served.
        chance: Draws from 0 to 1, for devices that lost their server at the same moment.

    Raises:
        VerificationError: The journal is damaged, which no cut of power does.
    """

    def __init__(
        self,
        board: Board,
        server: HawkbitServer,
        settings: HawkbitSettings,
        *,
        attempt: Try = try_in_child,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._board = board
        self._server = server
        self._settings = settings
        self._chance = chance
        self._file = JournalFile(board)
        self._end = threading.Event()
        self._failures = 0
        self._held_bytes = 0
        agent = Agent(board, attempt=attempt, ended=self._end.is_set)
        self._updater = Updater(board, agent, server, settings, self._file)

    @property
    def journal(self) -> Journal:
        """What is under way, owed and over."""
        return self._file.journal

    def end(self) -> None:
        """Let ``run`` return after the step that is under way; called by another thread."""
        self._end.set()
        self._server.hang_up()

    def run(self) -> None:
        """Poll until ``end`` is called."""
        while not self._end.is_set():
            try:
                wait_s = self.cycle()
                self._failures = 0
            except TinsmithError as error:
                wait_s = self._put_off(error)
            self._end.wait(min(wait_s, self._updater.look_again_s()))

    def cycle(self) -> float:
        """Look after what is on trial, tell what is owed, poll, and follow.

        Returns:
            Seconds until the next poll.

        Raises:
            TinsmithError: Something is in the way; the next cycle goes on from there.
        """
        self._updater.watch()
        tell_what_is_owed(self._server, self._file)
        poll = self._poll()
        self._follow(poll)
        tell_what_is_owed(self._server, self._file)
        return self._settings.poll_s if poll.sleep_s is None else poll.sleep_s

    def _put_off(self, error: TinsmithError) -> float:
        """How long to wait after a failure: from one second to five minutes, a part of it drawn by lot."""
        action = self.journal.action
        held = 0 if action is None else held_bytes(self._board, action.sha256)
        self._failures = 1 if held > self._held_bytes else self._failures + 1  # a download that goes on is no failure
        self._held_bytes = held
        wait_s = min(_FIRST_WAIT_S * 2.0 ** min(self._failures - 1, 20), _MOST_WAIT_S) * (0.5 + self._chance() / 2)
        if isinstance(error, RefusedError):
            wait_s = max(wait_s, error.retry_after_s or 0.0)
            if error.status in _MENDED_BY_HAND:
                wait_s = max(wait_s, min(self._settings.poll_s, _MOST_WAIT_S))
        if not self._end.is_set():
            logger.warning("%s (%s); tried again in %.0f s", error.message, error.hint, wait_s)
        return wait_s

    def _poll(self) -> Poll:
        return read_poll(self._server.get(self._settings.root, of="what hawkBit answers to a poll"))

    def _follow(self, poll: Poll) -> None:
        if poll.config_data:
            self._describe(poll.config_data)
        if poll.cancel:
            self._cancel(poll.cancel)
        elif poll.confirmation:
            self._forget(action_of(poll.confirmation))
            self._confirm(poll.confirmation)
        elif poll.deployment:
            self._deploy(poll.deployment)
        else:
            self._forget("")
            self._report()

    def _deploy(self, link: str) -> None:
        action = action_of(link)
        self._forget(action)
        if self._updater.active:
            return
        under_way = self.journal.action or Action(id=action, link=without_query(link), sha256=_NO_BUNDLE)
        fields = self._server.get(link, of="the deployment of hawkBit")
        try:
            deployment = read_deployment(fields)
        except DataError as error:
            self._updater.refuse(under_way, error, stage="deployment")
            return
        end = self.journal.end_of(action)
        if end is not None and end.bundle == deployment.artifact.sha256:
            self._file.write(self.journal.owing(end))  # it did not want to hear it before
            return
        if under_way.sha256 != deployment.artifact.sha256:
            under_way = replace(under_way, sha256=deployment.artifact.sha256, stage=ACCEPTED)
            self._updater.accept(under_way, deployment.artifact)
            tell_what_is_owed(self._server, self._file)
        self._updater.advance(deployment, lambda: self._still_wanted(action))

    def _still_wanted(self, action: str) -> bool:
        """Whether the server has not changed its mind while the bundle was downloaded and tried."""
        try:
            tell_what_is_owed(self._server, self._file)
            poll = self._poll()
            if poll.cancel:
                self._cancel(poll.cancel)
            elif not poll.deployment or action_of(poll.deployment) != action:
                self._forget("")
        except (DeviceError, DataError) as error:
            logger.info("whether action %s is still wanted can't be asked: %s", action, error.message)
        return self.journal.action is not None

    def _forget(self, wanted: str) -> None:
        """Drop the action that the server no longer speaks of, unless it is too late for that."""
        action = self.journal.action
        if action is None or action.id == wanted or self._updater.active:
            return
        logger.info("action %s is dropped: the server no longer wants it", action.id)
        self._file.write(replace(self.journal, action=None))
        if action.stage == ACCEPTED:  # what should only be downloaded is kept for an action to come
            self._updater.discard(action.sha256)

    def _cancel(self, link: str) -> None:
        """Stop what has not begun to be served; say of the rest that it is too late.

        hawkBit takes ``closed`` and ``success`` for a cancellation that is done, and not ``canceled`` (its issue 952);
        after ``rejected`` the action goes on.
        """
        stopped = read_cancel(self._server.get(link, of="the cancellation of hawkBit"))
        request = Action(id=stopped, link=without_query(link), sha256=_NO_BUNDLE)
        action, end = self.journal.action, self.journal.end_of(stopped)
        if end is not None and end.finished == "success":
            self._file.write(self.journal.owing(request.says("rejected", "it is active already"), end))
        elif action is None or action.id != stopped:
            self._file.write(self.journal.owing(request.says("closed", "nothing of it is active", finished="success")))
        elif self._updater.active:
            self._file.write(self.journal.owing(request.says("rejected", "it is being tried already")))
        else:
            done = request.says("closed", "stopped before it was active", finished="success")
            self._file.write(replace(self.journal, action=None).owing(done))
            self._updater.discard(action.sha256)

    def _confirm(self, link: str) -> None:
        """Confirm what could be installed, and deny the rest once; the server goes on offering what was denied."""
        if not self._settings.confirm:
            return
        fields = self._server.get(link, of="the confirmation of hawkBit")
        try:
            said = {"confirmation": "confirmed", "details": [read_deployment(fields).artifact.said]}
            denied = ""
        except DataError as error:
            said = {"confirmation": "denied", "details": [error.message[:500]]}
            denied = f"{action_of(link)}: {error.message[:500]}"
        if not denied or denied != self.journal.denied:
            offer(
                lambda: self._server.post(f"{without_query(link)}/feedback", said), f"that it is {said['confirmation']}"
            )
            self._file.write(replace(self.journal, denied=denied))

    def _describe(self, link: str) -> None:
        facts = facts_of(self._board)
        offer(lambda: self._server.put(link, {"mode": "merge", "data": attributes(facts)}), "what this device is")

    def _report(self) -> None:
        """Tell of a bundle that was installed without the server, so that it does not believe an older one to be there.

        The server knows it where a distribution set has the bundle's name and version (``DdiAssignedVersion``, put to
        ``installedBase``); otherwise it answers 404, and older ones 405, which is as good.
        """
        status = facts_of(self._board).status
        active, journal = status.active, self.journal
        if active is None or active.sha256 == journal.reported:
            return
        if status.on_trial or not self._settings.report_installed:
            return
        link = f"{self._settings.root}/installedBase"
        document = {"name": active.name, "version": str(active.version)}
        offer(lambda: self._server.put(link, document), f"version {active.version} of {active.name}")
        self._file.write(replace(journal, reported=active.sha256))
