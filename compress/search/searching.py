"""The loop: propose, try, measure, learn; until trials, time or ideas run out."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from tinsmith.compress.search.found import Found
from tinsmith.compress.search.front import objectives, undecided
from tinsmith.compress.search.trial import Trial
from tinsmith.compress.search.trying import Job
from tinsmith.runtime.errors import DeviceError, ModelError, RecipeError, TinsmithError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinsmith.compress.recipe import Recipe
    from tinsmith.compress.search.bounds import Ask
    from tinsmith.compress.search.figures import Timed
    from tinsmith.compress.search.proposing import Proposal, Proposer
    from tinsmith.compress.search.space import Space
    from tinsmith.compress.search.store import Store
    from tinsmith.compress.search.trial import State
    from tinsmith.compress.search.trying import Measure, Outcome, Spread

__all__ = ["Limits", "Means", "Search", "Watch"]

logger = logging.getLogger(__name__)

# An artifact that lies further beyond the bounds, all together, is not worth measuring, nor a longer training.
_HOPELESS = 0.5
# Of the trainings of a generation, those that are best after one epoch are carried out.
_SURVIVORS = 3
# Where nothing keeps the bounds, so many of these are measured in the end, to say what comes nearest.
_SETTLED = 8
# Generations in a row that proposed nothing new; the space is used up then.
_STALE = 8
# Stands for a bound that nobody knows anything about, where a sampler wants a number.
_UNKNOWN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a search ends.

    Attributes:
        trials: Different recipes that are tried, at least 1.
        minutes: After which nothing new is begun; above 0.
    """

    trials: int = 60
    minutes: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what never ends, or never begins; raises ``UsageError``."""
        if self.trials < 1 or not self.minutes > 0:
            raise UsageError(
                f"a search of {self.trials} trials in {self.minutes:g} minutes can't be",
                hint="give more than 0 of both",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a search works with.

    Attributes:
        spread: Carries recipes out.
        measure: Measures artifacts on devices.
        store: Keeps what was found.
        clock: Seconds that only rise.
    """

    spread: Spread
    measure: Measure
    store: Store
    clock: Callable[[], float] = time.monotonic


class Watch(Protocol):
    """Told how a search goes on."""

    def tried(self, trial: Trial) -> None:
        """One more is done, or one of those that were is measured after all, or turns out to have failed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A proposal with its recipe.

    Attributes:
        proposal: What was proposed.
        recipe: What it comes to; None where the model does not have what it needs.
        failure: Why not.
    """

    proposal: Proposal
    recipe: Recipe | None
    failure: str = ""

    def job(self) -> Job:
        """The whole of it."""
        assert self.recipe is not None
        return Job(recipe=self.recipe, target=self.proposal.choices.target)

    @property
    def identity(self) -> tuple[Any, ...]:
        """The same for proposals that come to the same."""
        choices = self.proposal.choices
        return (choices.target, choices.name) if self.recipe is None else (self.job().key, choices.threads)


class Search:
    """One search.

    Args:
        ask: What is asked for.
        space: Which recipes there are.
        proposer: Says which is next.
        means: What carries recipes out, measures, and keeps what was found.
        limits: When it ends.
        watch: Told how it goes on.
    """

    def __init__(
        self,
        ask: Ask,
        space: Space,
        proposer: Proposer,
        means: Means,
        limits: Limits,
        *,
        watch: Watch | None = None,
    ) -> None:
        self._ask, self._space, self._proposer = ask, space, proposer
        self._spread, self._measure, self._store = means.spread, means.measure, means.store
        self._limits, self._watch, self._clock = limits, watch, means.clock
        self._ends_s = means.clock() + 60 * limits.minutes
        self._trials: list[Trial] = []
        self._known: dict[tuple[Any, ...], Trial] = {}

    def run(self) -> Found:
        """Go on until it ends.

        Raises:
            TinsmithError: Nothing can be carried out, whatever the recipe.
        """
        ended, stale, lost = "", 0, None
        try:
            while not (ended := self._spent(stale)):
                before = len(self._trials)
                self._generation([self._draft(proposal) for proposal in self._proposer.generation()])
                stale = 0 if len(self._trials) > before else stale + 1
            self._settle()
        except DeviceError as error:
            ended, lost = error.message, error
        return Found.of(self._trials, self._ask, ended, lost)

    def _settle(self) -> None:
        """Measure what was given up unmeasured, where it may be what comes nearest."""
        for _ in range(_SETTLED):
            waiting = undecided(self._trials, self._ask)
            if not waiting:
                return
            self._trials[waiting[0].number - 1] = settled = self._measured(replace(waiting[0], remark=""))
            if self._watch:
                self._watch.tried(settled)

    def _spent(self, stale: int) -> str:
        if len(self._trials) >= self._limits.trials:
            return f"{len(self._trials)} recipes were tried, which is --max-trials"
        if self._left_s <= 0:
            return f"the {self._limits.minutes:g} minutes of --max-minutes are over"
        return "there is nothing else to try" if stale >= _STALE else ""

    @property
    def _left_s(self) -> float:
        return self._ends_s - self._clock()

    def _draft(self, proposal: Proposal) -> _Draft:
        """The recipe of a proposal; what operators cost may have to be measured for it."""
        try:
            return _Draft(proposal=proposal, recipe=self._space.recipe(proposal.choices))
        except (RecipeError, ModelError) as error:
            return _Draft(proposal=proposal, recipe=None, failure=error.message)

    def _generation(self, drafts: Sequence[_Draft]) -> None:
        """Try what is new, and tell the proposer of all."""
        new = self._new(drafts)
        outcomes, remarks = self._carried_out(new)
        for draft in drafts:
            if draft.identity not in self._known and draft.identity in new:
                self._try(draft, outcomes.get(draft.identity), remarks.get(draft.identity, ""))
            self._tell(draft)

    def _new(self, drafts: Sequence[_Draft]) -> dict[tuple[Any, ...], _Draft]:
        """Those that were not tried yet, each once, and no more than there may be."""
        new = {draft.identity: draft for draft in drafts if draft.identity not in self._known}
        return dict(list(new.items())[: self._limits.trials - len(self._trials)])

    def _carried_out(
        self, new: dict[tuple[Any, ...], _Draft]
    ) -> tuple[dict[tuple[Any, ...], Outcome], dict[tuple[Any, ...], str]]:
        """What came of each; of those that train, only the best go on after one epoch.

        Returns:
            Outcomes, and why some of them are not of the whole recipe.
        """
        jobs = {identity: draft.job() for identity, draft in new.items() if draft.recipe is not None}
        first = {
            identity: replace(job, effort="sketch") if job.recipe.needs.training else job
            for identity, job in jobs.items()
        }
        found = self._outcomes(list(first.values()))
        outcomes = {identity: found[job.key] for identity, job in first.items() if job.key in found}
        sketches = {identity: outcomes[identity] for identity, job in first.items()
                    if job.effort == "sketch" and identity in outcomes and outcomes[identity].figures}  # fmt: skip
        chosen, remarks = self._survivors(sketches, jobs)
        whole = self._outcomes([jobs[identity] for identity in chosen])
        for identity in chosen:
            if jobs[identity].key in whole:
                outcomes[identity] = whole[jobs[identity].key]
            else:
                remarks[identity] = "the time was over"
        return outcomes, remarks

    def _survivors(
        self, sketches: dict[tuple[Any, ...], Outcome], jobs: dict[tuple[Any, ...], Job]
    ) -> tuple[list[tuple[Any, ...]], dict[tuple[Any, ...], str]]:
        """Whose training is worth its time, and why that of the others is not."""
        chosen: list[tuple[Any, ...]] = []
        remarks: dict[tuple[Any, ...], str] = {}
        left_s = self._left_s
        for identity in sorted(sketches, key=lambda identity: _promise(sketches[identity])):
            needs_s = _whole_s(sketches[identity], jobs[identity].recipe)
            if not self._hopes(sketches[identity], trained=False):
                remarks[identity] = "it is too large, however well it learns"
            elif self._store.outcome(jobs[identity]) is not None:
                chosen.append(identity)  # done before the search was killed
            elif len(chosen) >= _SURVIVORS:
                remarks[identity] = "others were better after one epoch"
            elif needs_s > left_s:
                remarks[identity] = f"its training would take {needs_s / 60:.0f} min, and {left_s / 60:.0f} are left"
            else:
                chosen.append(identity)
                left_s -= needs_s
        return chosen, remarks

    def _outcomes(self, jobs: Sequence[Job]) -> dict[str, Outcome]:
        """What came of jobs, by their keys; what is in the store is not carried out again."""
        known = {job.key: self._store.outcome(job) for job in jobs}
        found = {key: outcome for key, outcome in known.items() if outcome is not None}
        missing = list({job.key: job for job in jobs if job.key not in found}.values())
        if missing and self._left_s > 0:
            for job, outcome in self._spread.outcomes(missing):
                self._store.keep_outcome(job, outcome)
                found[job.key] = outcome
                if self._left_s <= 0:
                    break
        return found

    def _try(self, draft: _Draft, outcome: Outcome | None, remark: str) -> None:
        """Measure what came of a new proposal, and note the trial; what the time was not enough for is no trial."""
        if outcome is None and draft.recipe is not None:
            return
        trial = self._trial(draft, outcome, remark)
        self._known[draft.identity] = trial
        self._trials.append(trial)
        if self._watch:
            self._watch.tried(trial)

    def _trial(self, draft: _Draft, outcome: Outcome | None, remark: str) -> Trial:
        figures = None if outcome is None else outcome.figures
        trial = self._blank(draft, outcome)
        if outcome is None or figures is None:
            return replace(trial, remark=draft.failure if outcome is None else outcome.failure)
        state: State = "outdone" if remark else "done"
        if state == "done" and not (self._hopes(outcome, trained=True) or trial.number == 1):
            state, remark = "hopeless", "it lies too far beyond the bounds to be timed"
        trial = replace(trial, state=state, figures=figures, standings=self._ask.standings(figures), remark=remark)
        return self._measured(trial) if state == "done" else trial

    def _measured(self, trial: Trial) -> Trial:
        """The same with its time on each device; failed where it can't be run there."""
        assert trial.figures is not None
        try:
            figures = trial.figures.with_timed(self._timed(trial.sha256, trial.threads))
        except DeviceError:
            raise
        except TinsmithError as error:
            remark = f"measuring it: {error.message}"
            return replace(trial, state="failed", figures=None, standings=(), remark=remark)
        return replace(trial, state="done", figures=figures, standings=self._ask.standings(figures))

    def _blank(self, draft: _Draft, outcome: Outcome | None) -> Trial:
        choices = draft.proposal.choices
        steps = () if draft.recipe is None else draft.recipe.steps
        return Trial(
            number=len(self._trials) + 1,
            origin=draft.proposal.origin,
            target=choices.target,
            recipe={"version": 1, "target": choices.target, "steps": [step.document() for step in steps]},
            name=choices.name,
            threads=choices.threads,
            state="failed",
            figures=None,
            sha256="" if outcome is None else outcome.sha256,
            seconds=0.0 if outcome is None else outcome.seconds,
        )

    def _timed(self, sha256: str, threads: int) -> tuple[Timed, ...]:
        """What an artifact takes on each device; measured once, whatever comes to it."""
        return tuple(self._timed_on(device, sha256, threads) for device in self._ask.devices)

    def _timed_on(self, device: str, sha256: str, threads: int) -> Timed:
        known = self._store.timed(sha256, device, threads)
        if known is None:
            known = self._measure(self._spread.artifact(sha256), device, threads)
            self._store.keep_timed(sha256, known)
        return known

    def _hopes(self, outcome: Outcome, *, trained: bool) -> bool:
        """Whether the bounds can still be kept, or come near, by what is known; answers are known after training."""
        assert outcome.figures is not None
        known = [one for one in self._ask.standings(outcome.figures) if math.isfinite(one.lacking)]
        files = {bound.name for bound in self._ask.files}
        counted = known if trained else [one for one in known if one.bound in files]
        most = _HOPELESS if trained else 0.0
        return sum(one.lacking for one in counted) <= most

    def _tell(self, draft: _Draft) -> None:
        trial = self._known.get(draft.identity)
        figures = None if trial is None else trial.figures
        if trial is None or figures is None:
            self._proposer.tell(draft.proposal, None, {})
            return
        values = [value if math.isfinite(value) else self._slowest for value in
                  objectives(figures, self._ask.devices)]  # fmt: skip
        lacking = {one.bound: min(one.lacking, _UNKNOWN) for one in trial.standings}
        self._proposer.tell(draft.proposal, values, lacking)

    @property
    def _slowest(self) -> float:
        """Log2 of the longest time that was measured; 0 where none was."""
        times = [timed.median_ms for trial in self._trials if trial.figures for timed in trial.figures.timed]
        return math.log2(max(times, default=1.0))


def _promise(outcome: Outcome) -> tuple[float, float]:
    """Sketches that come first are better: a point of accuracy counts as a tenth of the bytes."""
    assert outcome.figures is not None
    return (10 * outcome.figures.loss + math.log2(outcome.figures.flash_bytes), outcome.seconds)


def _whole_s(sketch: Outcome, recipe: Recipe) -> float:
    """What the whole trainings will take, from what one epoch of each took."""
    epochs = [getattr(step, "epochs", 1) for step in recipe.steps if step.needs.training]
    longest = max(epochs, default=1)
    return sketch.seconds + (longest - 1) * sketch.training_s
