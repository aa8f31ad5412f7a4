"""What steps did, and what they are going to do, each in one line with its figures."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.compress.maintain.results import Bundled, Collected, Decision, Observed, Proven, Recompressed, Rolled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinsmith.compress.maintain.plan import MaintenancePlan
    from tinsmith.compress.maintain.ports import Waved
    from tinsmith.compress.maintain.rounds import Result, Round, StepName
    from tinsmith.compress.recipe import Recipe

__all__ = ["Foretelling", "told"]

_NAMED = 6


@functools.singledispatch
def told(result: Result) -> str:
    """What a step found or made."""
    raise TypeError(type(result).__name__)


@told.register
def _(found: Observed) -> str:
    silent = [f"{look.device} did not answer: {look.error}" for look in found.devices if look.error]
    return "; ".join([f"{len(found.answered)} of {len(found.devices)} monitors answered", *silent])


@told.register
def _(decision: Decision) -> str:
    return f"{decision.verdict}: {'; '.join(decision.reasons)}"


@told.register
def _(found: Collected) -> str:
    failed = [f"{pulled.device} gave none: {pulled.error}" for pulled in found.devices if pulled.error]
    fetched = f"{found.samples:,} samples join calibration, {found.held:,} are kept apart for the proof"
    return "; ".join([fetched, *failed])


@told.register
def _(made: Recompressed) -> str:
    same = ", the very artifact that is served" if made.sha256 == made.was_sha256 else ""
    return f"{made.file}: {made.size_bytes:,} bytes, after {made.was_bytes:,}{same}"


@told.register
def _(proven: Proven) -> str:
    parts = [f"MISSED {said}" for said in proven.missed] + [f"kept {said}" for said in proven.kept]
    return "; ".join([*parts, *_figures(proven), *proven.remarks])


@told.register
def _(bundled: Bundled) -> str:
    signed = f"signed by {bundled.signed_by}" if bundled.signed_by else "not signed"
    return f"{bundled.file}: version {bundled.version}, {bundled.size_bytes:,} bytes, {signed}"


@told.register
def _(rolled: Rolled) -> str:
    counts = Counter(turn.result for turn in rolled.devices)
    parts = [", ".join(f"{count} {result}" for result, count in counts.items()) or "no devices"]
    parts += [f"{turn.device}: {turn.error}" for turn in rolled.devices if turn.error]
    return "; ".join([*parts, *([f"to be taken back: {rolled.stopped}"] if rolled.stopped else [])])


def _figures(proven: Proven) -> list[str]:
    scores = (("model", proven.score_model), ("served", proven.score_served), ("new", proven.score_new))
    known = [f"{name} {score:.4g}" for name, score in scores if score is not None]
    said = [f"{proven.metric} on {proven.samples:,} labelled samples: {', '.join(known)}"] if known else []
    if proven.agreement_new is not None and proven.agreement_served is not None:
        said.append(
            f"on {proven.captured:,} captured samples {proven.agreement_new:.2%} of the answers are the model's, "
            f"after {proven.agreement_served:.2%}"
        )
    if proven.error_new is not None and proven.error_served is not None:
        said.append(f"there they lie {proven.error_new:.2%} from the model's, after {proven.error_served:.2%}")
    if proven.speed_ratio is not None:
        said.append(f"{proven.speed_ratio:.2f} times the run time of the served one here")
    return said


class Foretelling:
    """Says what a step is going to do, as far as a round has come.

    Args:
        plan: Of the loop.
        recipe: Of the plan, read.
        name: Of the bundle.
        waves: Which devices come when.
    """

    def __init__(self, plan: MaintenancePlan, recipe: Recipe, name: str, waves: Sequence[Waved]) -> None:
        self._plan, self._recipe, self._name, self._turns = plan, recipe, name, waves

    def of(self, step: StepName, now: Round) -> str:
        """One line."""
        say: Callable[[Round], str] = getattr(self, f"_{step}")
        return say(now)

    def _observe(self, now: Round) -> str:
        del now
        return f"ask {len(self._plan.monitors)} monitors"

    def _decide(self, now: Round) -> str:
        del now
        return "decide by drift and latency"

    def _recompress(self, now: Round) -> str:
        plan = self._plan
        kinds = " → ".join(one.kind for one in self._recipe.steps)
        joined = f"{now.collect.samples:,}" if now.collect else "the"
        return (
            f"compress {plan.model.name} by {Path(plan.recipe).name} ({kinds}) with seed {plan.seed}; {joined} "
            f"captured samples join those of {Path(plan.data).name} that ranges are found on"
        )

    def _prove(self, now: Round) -> str:
        del now
        bounds = self._plan.budget.model_dump(exclude_none=True)
        said = ", ".join(f"{name.replace('_', '-')} {value:.2%}" for name, value in bounds.items())
        return f"hold {said} on labelled samples of {Path(self._plan.data).name}; a miss deploys nothing"

    def _bundle(self, now: Round) -> str:
        key = "nobody signs it" if self._plan.bundle.key is None else f"signed with {self._plan.bundle.key.name}"
        return f"bundle version {_version(now)} of {self._name}, {key}"

    def _rollback(self, now: Round) -> str:
        return f"take version {_version(now)} back on {_named(now.serving)}: {now.stopped}"

    def _collect(self, now: Round) -> str:
        looks = () if now.observe is None else now.observe.answered
        having = [f"{look.device} ({look.captured:,})" for look in looks if look.captured]
        return f"fetch captured samples of {_named(having)}"

    def _canary(self, now: Round) -> str:
        del now
        settings = self._plan.rollout
        for wave in self._turns:
            if wave.title == "canary":
                look = f"look at its monitors {settings.watch_s:g} s later"
                return f"flash {_named(wave.devices)}, watched for {settings.window_s:g} s; {look}"
        return "no canary"

    def _waves(self, now: Round) -> str:
        del now
        rest = [f"{wave.title}: {_named(wave.devices)}" for wave in self._turns if wave.title != "canary"]
        allowed = f"taken back where more than {self._plan.rollout.max_failures} of one fail"
        return f"flash {'; '.join(rest)}; {allowed}" if rest else "no devices but the canary"


def _version(now: Round) -> int | str:
    return "?" if now.decide is None else now.decide.version


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (", ".join(names[:_NAMED]) + more) or "no device"
