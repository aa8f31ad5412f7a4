"""Rounds of the loop: which steps are done, which comes next, and when it ends. No I/O."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, get_args

from tinsmith.compress.maintain.results import (
    Bundled,
    Collected,
    Decision,
    Ended,
    Observed,
    Proven,
    Recompressed,
    Rolled,
)
from tinsmith.runtime.errors import BudgetMissedError, RolledBackError

__all__ = ["CHANGING", "STEPS", "Result", "Round", "StepName"]

StepName = Literal["observe", "decide", "collect", "recompress", "prove", "bundle", "canary", "waves", "rollback"]
Result = Observed | Decision | Collected | Recompressed | Proven | Bundled | Rolled
STEPS: tuple[StepName, ...] = get_args(StepName)
# What fetches samples, takes long, signs or touches devices is asked about first.
CHANGING: frozenset[StepName] = frozenset({"collect", "recompress", "bundle", "canary", "waves", "rollback"})
_FORWARD = STEPS[:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One turn of the loop.

    Attributes:
        number: From 1.
        digest: Names plan, recipe and model that it is about.
        observe: What monitors said; None while that is not done, as all that follow.
        decide: What is to be done.
        collect: What was fetched from devices.
        recompress: The new artifact.
        prove: What it costs.
        bundle: The new bundle.
        canary: What came of the first devices.
        waves: What came of the others.
        rollback: What came of taking it back.
        ended: How it ended; None while it goes on.
    """

    number: int
    digest: str
    observe: Observed | None = None
    decide: Decision | None = None
    collect: Collected | None = None
    recompress: Recompressed | None = None
    prove: Proven | None = None
    bundle: Bundled | None = None
    canary: Rolled | None = None
    waves: Rolled | None = None
    rollback: Rolled | None = None
    ended: Ended | None = None

    @property
    def next_step(self) -> StepName | None:
        """What is to be done next; None where nothing is left."""
        if self.ended is not None or self.end is not None:
            return None
        if self.stopped:
            return "rollback"
        return next((step for step in _FORWARD if getattr(self, step) is None), None)

    @property
    def stopped(self) -> str:
        """Why the bundle must be taken back; empty where it may stay."""
        return next((rolled.stopped for rolled in (self.canary, self.waves) if rolled and rolled.stopped), "")

    @property
    def serving(self) -> tuple[str, ...]:
        """Devices that were given the new bundle and serve it."""
        return tuple(device for rolled in (self.canary, self.waves) if rolled for device in rolled.serving)

    @property
    def end(self) -> Ended | None:
        """What it comes to by what is done; None while something is left."""
        if self.decide is not None and self.decide.verdict != "recompress":
            return _undone(self.decide, self.exit_code)
        if self.prove is not None and self.prove.missed:
            said = f"nothing was deployed: {'; '.join(self.prove.missed)}"
            return Ended(outcome="refused", said=said, exit_code=max(BudgetMissedError.exit_code, self.exit_code))
        if self.rollback is not None:
            return Ended(
                outcome="rolled back", said=self.stopped, exit_code=max(RolledBackError.exit_code, self.exit_code)
            )
        if self.waves is not None and not self.stopped and self.bundle is not None:
            turns = sum(len(rolled.devices) for rolled in (self.canary, self.waves) if rolled)
            said = f"version {self.bundle.version} is served by {len(self.serving)} of {turns}"
            return Ended(outcome="done", said=said, exit_code=self.exit_code)
        return None

    @property
    def exit_code(self) -> int:
        """The highest of all devices so far."""
        looks = () if self.observe is None else self.observe.devices
        pulled = () if self.collect is None else self.collect.devices
        turns = (turn for rolled in (self.canary, self.waves, self.rollback) if rolled for turn in rolled.devices)
        codes = (
            [look.exit_code for look in looks],
            [one.exit_code for one in pulled],
            [turn.exit_code for turn in turns],
        )
        return max(itertools.chain(*codes), default=0)


def _undone(decision: Decision, exit_code: int) -> Ended:
    said = "; ".join(decision.reasons)
    if decision.verdict == "again":
        return Ended(outcome="again", said=said, exit_code=max(BudgetMissedError.exit_code, exit_code))
    return Ended(outcome="nothing to do", said=said, exit_code=exit_code)
