"""Climb from recipe to recipe until one meets the budget, and stop there."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tinsmith.compress.recovery.rungs import (
    CorrectBiases,
    Equalize,
    KeepWorst,
    OtherRanges,
    RecalibrateBatchNorm,
    RoundTogether,
    TrainAware,
    ever_more,
)
from tinsmith.compress.recovery.trials import Trial
from tinsmith.runtime.errors import DataError, ModelError, RecipeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tinsmith.compress.recipe import Recipe
    from tinsmith.compress.recovery.rungs import Rung

__all__ = ["Climb", "Ladder", "Limits", "Rungs"]

logger = logging.getLogger(__name__)

# The plainest, min-max, is what recipes have unless they say otherwise.
_METHODS = ("percentile", "mse", "entropy", "moving-average")
# What a recipe that does not fit the model, the target or the samples raises; anything else is a defect.
_REFUSALS = (RecipeError, ModelError, DataError, UsageError)


Limit = Literal["max-trials", "max-minutes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the ladder ends without an answer.

    Attributes:
        trials: Recipes that are tried, the given one among them; at least 1.
        minutes: After which no other one is begun; above 0.
    """

    trials: int = 24
    minutes: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rungs:
    """Which of the rungs there are.

    Attributes:
        trained: The source is a trained model, which may have batch norm.
        answers_stay: The budget wants the source's own answers, which batch-norm recalibration improves on.
        trainable: There are samples to learn from, apart from those that judge.
    """

    trained: bool
    answers_stay: bool
    trainable: bool

    @property
    def training(self) -> bool:
        """Whether a training is among them."""
        return self.trained and self.trainable

    def climb(self, worst: Callable[[], Sequence[str]]) -> Generator[Rung, bool, None]:
        """From the cheapest to the dearest; wants to be sent whether each brought something.

        Ranges are tried again when the weights are other ones, and biases when other operators are kept: what brought
        nothing before may do so then. Where 16 bits bring nothing, they are not tried again.

        Args:
            worst: Names the operators that lose most, when it comes to them.
        """
        if self.trained and not self.answers_stay:
            yield RecalibrateBatchNorm()
        yield from (OtherRanges(method=method) for method in _METHODS)
        evened, rounded = (yield Equalize()), (yield RoundTogether())
        if evened or rounded:
            yield from (OtherRanges(method=method) for method in _METHODS[:2])
        yield CorrectBiases()
        wide = True
        for operators in ever_more(worst()):
            wide = wide and (yield KeepWorst(operators=operators, precision="int16x8"))
            yield KeepWorst(operators=operators, precision="float32")
        yield CorrectBiases()
        if self.training:
            yield TrainAware()


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """How far the ladder went.

    Attributes:
        recipe: The best one.
        best: Its trial.
        trials: All of them, in order.
        ended: Why it went no further; empty where the budget was met.
        limit: The option that ended it; empty where nothing was left to try, or the budget was met.
        trainable: Whether a training is among the rungs.
    """

    recipe: Recipe
    best: Trial
    trials: tuple[Trial, ...]
    ended: str = ""
    limit: Limit | Literal[""] = ""
    trainable: bool = False

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "met": self.best.met,
            "chosen": self.best.name,
            "ended": self.ended,
            "limit": self.limit,
            "trials": [trial.to_json() for trial in self.trials],
            "recipe": self.recipe.document(),
        }


class Attempt(Protocol):
    """Carries out a recipe and judges what comes of it."""

    def __call__(self, recipe: Recipe, name: str) -> Trial:
        """Raises as ``compress``."""
        ...


class Ladder:
    """From the cheapest rung to the dearest; a rung that brings something stays when the next one is tried.

    It brings something where the budget is missed by less, or where the answers come clearly nearer to the source's
    while that can't be told yet from the shares.

    Args:
        rungs: Which there are.
        limits: When to give up.
        attempt: Carries out a recipe and judges it.
        worst: Names the operators that lose most under a recipe, the worst first.
        clock: Seconds that only rise.
    """

    def __init__(
        self,
        rungs: Rungs,
        limits: Limits,
        attempt: Attempt,
        worst: Callable[[Recipe], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rungs, self._limits, self._attempt, self._worst = rungs, limits, attempt, worst
        self._clock = clock
        self._began = clock()

    def climb(self, recipe: Recipe) -> Climb:
        """Start with a recipe as it is.

        Raises:
            TinsmithError: The recipe itself can't be carried out.
        """
        best = standing = self._attempt(recipe, "the recipe as it is")
        chosen, at, trials, brought = recipe, recipe, [best], None
        rungs = self._rungs.climb(lambda: self._worst(at))
        while not best.met:
            limit = self._spent(len(trials))
            rung = None if limit else _next(rungs, brought)
            if rung is None:
                return Climb(
                    recipe=chosen,
                    best=best,
                    trials=tuple(trials),
                    ended=self._why(limit),
                    limit=limit,
                    trainable=self._rungs.training,
                )
            changed, brought = rung.change(at), False
            if changed is None:
                continue
            trial = self._tried(changed, rung.name)
            trials.append(trial)
            if trial.better_than(best):
                best, chosen = trial, changed
            brought = trial is best or trial.better_than(standing) or trial.nearer_than(standing)
            if brought:
                standing, at = trial, changed
        return Climb(recipe=chosen, best=best, trials=tuple(trials))

    def _tried(self, recipe: Recipe, name: str) -> Trial:
        logger.info("trying %s", name)
        began = self._clock()
        try:
            return self._attempt(recipe, name)
        except _REFUSALS as error:
            return Trial(name=name, lacking=None, seconds=self._clock() - began, remark=error.message)

    def _spent(self, trials: int) -> Limit | Literal[""]:
        if trials >= self._limits.trials:
            return "max-trials"
        return "max-minutes" if (self._clock() - self._began) / 60 >= self._limits.minutes else ""

    def _why(self, limit: Limit | Literal[""]) -> str:
        if limit == "max-trials":
            return f"{self._limits.trials} recipes were tried, which is --max-trials"
        if limit == "max-minutes":
            return f"the {self._limits.minutes:g} minutes of --max-minutes are over"
        return "there is nothing else to try"


def _next(rungs: Generator[Rung, bool, None], brought: bool | None) -> Rung | None:
    """The first rung, or the next one in view of what the last one brought; None when there are no more."""
    try:
        return next(rungs) if brought is None else rungs.send(brought)
    except StopIteration:
        return None
