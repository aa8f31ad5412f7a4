"""The loop: observe, decide, collect, recompress, prove, bundle, canary, waves, or roll back; by hand or unattended.

Each step is done from what the journal says of those before it, and is told there before the next begins. Whoever goes
on after a kill does the step again that was under way, which comes to the same.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tinsmith.compress.maintain.collecting import collect, forget
from tinsmith.compress.maintain.deciding import decide
from tinsmith.compress.maintain.observing import observe
from tinsmith.compress.maintain.results import Decision, Ended
from tinsmith.compress.maintain.rolling import Rollouts
from tinsmith.compress.maintain.rounds import CHANGING, Round
from tinsmith.compress.maintain.telling import Foretelling, told
from tinsmith.compress.maintain.workshop import Workshop, read_current
from tinsmith.compress.recipe import load_recipe
from tinsmith.runtime.errors import OutputError, TinsmithError, UsageError
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tinsmith.compress.maintain.journal import Journal
    from tinsmith.compress.maintain.plan import MaintenancePlan
    from tinsmith.compress.maintain.ports import Collecting, Deploying
    from tinsmith.compress.maintain.rounds import Result, StepName
    from tinsmith.compress.maintain.workshop import Making

    Consent = Callable[[StepName, str], bool]

__all__ = ["Maintenance"]

logger = logging.getLogger(__name__)


class Maintenance:
    """Keeps one bundle good.

    Args:
        plan: How.
        collecting: Reads devices.
        deploying: Flashes devices.
        making: Makes artifact and bundle; the real workshop unless given.
        pause: Waits for so many seconds.

    Raises:
        UsageError: Recipe, devices, waves or monitors of the plan can't be, or a key is missing.
        DataError: The current bundle is not there, or damaged.
    """

    def __init__(
        self,
        plan: MaintenancePlan,
        *,
        collecting: Collecting,
        deploying: Deploying,
        making: Making | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._plan, self._collecting, self._deploying = plan, collecting, deploying
        self._recipe, current = load_recipe(plan.recipe), read_current(plan)
        self._version = current.manifest.version
        self._making = making or Workshop(plan, self._recipe, current)
        self._devices = collecting.devices(plan.devices)
        if strange := [device for device in plan.monitors if device not in self._devices]:
            raise UsageError(
                f"the plan has a monitor of {strange[0]}, which is none of its devices", hint="name it there"
            )
        self._rollouts = Rollouts(plan, self._devices, collecting=collecting, deploying=deploying, pause=pause)
        self._foretelling = Foretelling(plan, self._recipe, current.manifest.name, self._rollouts.waves)
        self._digest = plan.digest(self._recipe)

    def run(self, journal: Journal, consent: Consent, *, again: bool = False) -> Round:
        """Go on until the round ends, or a step is not consented to.

        Args:
            journal: Of the plan.
            consent: Asked before each step that changes something, with what it is going to do.
            again: Whether the same alarm as in the last round counts.

        Returns:
            The round; it has not ended where consent was refused.

        Raises:
            UsageError: The plan was changed in the middle of a round.
            TinsmithError: A step failed; the next run tries it again.
        """
        now = self._begun(journal)
        while (step := now.next_step) is not None:
            if step in CHANGING and not consent(step, self.foretell(step, now)):
                return now
            now = self._done(journal, now, step, again=again)
        return self._ended(journal, now)

    def run_step(self, journal: Journal, step: StepName, *, again: bool = False) -> Round:
        """Do one step, which must be the next; a round begins with ``observe``. Raises as ``run``."""
        now = self._begun(journal)
        if now.next_step is None:
            return self._ended(journal, now)
        if step != now.next_step:
            raise UsageError(f"round {now.number} stands before {now.next_step}, not {step}", hint="do that step first")
        now = self._done(journal, now, step, again=again)
        return now if now.next_step is not None else self._ended(journal, now)

    def preview(self, rounds: Sequence[Round], *, again: bool = False) -> Round:
        """Where the round stands that has not ended; else what a new one would find, of which nothing is kept."""
        if rounds and rounds[-1].ended is None:
            return rounds[-1]
        now = Round(number=len(rounds) + 1, digest=self._digest)
        now = replace(now, observe=observe(self._plan, self._collecting, self._devices))
        return replace(now, decide=self._decided(now, rounds, again=again))

    def foretell(self, step: StepName, now: Round) -> str:
        """What a step is going to do, in one line."""
        return self._foretelling.of(step, now)

    def give_up(self, journal: Journal) -> Round:
        """End the round that has not ended; devices that serve its bundle go back.

        Raises:
            UsageError: There is none.
        """
        now = journal.current
        if now is None:
            raise UsageError("there is no round to give up", hint="tinsmith maintain PLAN -n says what would be done")
        said = "given up by hand"
        bundle = None if now.bundle is None else self._folder(now) / now.bundle.file
        if bundle is not None and bundle.is_file():
            turns = self._deploying.roll_back(self._devices, bundle, said)
            said += "".join(f"; {turn.device}: {turn.result}" for turn in turns)
        self._tidy(now)
        return journal.end(Ended(outcome="given up", said=said))

    def _begun(self, journal: Journal) -> Round:
        now = journal.current
        if now is None:
            return journal.begin(self._digest)
        if now.digest != self._digest:
            raise UsageError(
                f"round {now.number} has not ended, and plan, recipe or model are others by now",
                hint="restore them, or give the round up: tinsmith maintain PLAN --give-up",
            )
        return now

    def _done(self, journal: Journal, now: Round, step: StepName, *, again: bool) -> Round:
        logger.info("round %d, %s: %s", now.number, step, self.foretell(step, now))
        try:
            result = self._do(now, step, journal.rounds[:-1], again=again)
        except TinsmithError as error:
            journal.failed(step, error)
            raise
        said = told(result)
        logger.info("round %d, %s: %s", now.number, step, said)
        return journal.done(step, result, said)

    def _do(self, now: Round, step: StepName, earlier: Sequence[Round], *, again: bool) -> Result:
        """One step; what comes before it is done."""
        if step == "observe":
            return observe(self._plan, self._collecting, self._devices)
        if step == "decide":
            return self._decided(now, earlier, again=again)
        if step in ("collect", "recompress", "prove", "bundle"):
            return self._make(now, step)
        assert now.bundle is not None
        bundle = self._folder(now) / now.bundle.file
        if step == "canary":
            return self._rollouts.canary(bundle)
        if step == "waves":
            return self._rollouts.others(bundle)
        return self._rollouts.back(bundle, now.serving, now.stopped)

    def _decided(self, now: Round, earlier: Sequence[Round], *, again: bool) -> Decision:
        assert now.observe is not None
        # a version that was taken back is never given to another bundle
        newest = max([self._version, *(before.bundle.version for before in earlier if before.bundle)])
        known = () if again else earlier
        return decide(self._plan, now.observe, newest=newest, digest=self._digest, earlier=known)

    def _make(self, now: Round, step: StepName) -> Result:
        assert now.observe is not None
        assert now.decide is not None
        folder = self._folder(now)
        if step == "collect":
            needed = bool(now.decide.drifting)
            return collect(self._plan, self._collecting, now.observe, folder, needed=needed)
        assert now.collect is not None
        if step == "recompress":
            return self._making.recompress(now.collect, folder)
        assert now.recompress is not None
        if step == "prove":
            return self._making.prove(now.recompress, now.collect, now.decide, folder)
        return self._making.bundle(now.recompress, now.decide, folder)

    def _folder(self, now: Round) -> Path:
        folder = self._plan.work / f"round-{now.number}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise OutputError.from_os_error(folder, error) from error
        return folder

    def _ended(self, journal: Journal, now: Round) -> Round:
        """What a round comes to; the new bundle becomes the one that is kept good."""
        ended = now.end
        assert ended is not None
        if ended.outcome == "done" and now.bundle is not None:
            with staged_file(self._plan.bundle.current) as staged:
                shutil.copyfile(self._folder(now) / now.bundle.file, staged)
        self._tidy(now)
        logger.info("round %d, %s: %s", now.number, ended.outcome, ended.said)
        return journal.end(ended)

    def _tidy(self, now: Round) -> None:
        if not self._plan.keep_captured:
            forget(self._plan.work / f"round-{now.number}")
