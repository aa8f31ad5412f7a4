"""The ladder on one model: runs its recipes, judges them on samples that none of them learns from, keeps the trials."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tinsmith.compress.balance import at_most
from tinsmith.compress.budget import Budget
from tinsmith.compress.planner import plan
from tinsmith.compress.recovery.costs import worst_operators
from tinsmith.compress.recovery.judging import Judge
from tinsmith.compress.recovery.ladder import Climb, Ladder, Limits, Rungs
from tinsmith.compress.recovery.trials import Trial, TrialLog
from tinsmith.compress.running import documents_of
from tinsmith.convert.calibration import no_samples
from tinsmith.convert.metrics import metric_for
from tinsmith.convert.predictors import opened_predictor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.compress.planner import Target
    from tinsmith.compress.recipe import Recipe
    from tinsmith.compress.running import Runner
    from tinsmith.convert.data import Dataset, Roles
    from tinsmith.convert.delivery import Job
    from tinsmith.convert.model import Model

__all__ = ["LEAST_VALIDATION", "Ground", "Recovery", "can_train", "chosen_by", "recover"]


# Fewer say too little to choose a training by, and what is left to learn from is not much either.
LEAST_VALIDATION = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What is asked of a recipe, and how long to look for it.

    Attributes:
        budget: What the artifact may cost; an empty one asks for nothing.
        limits: When to give up.
    """

    budget: Budget = field(default_factory=Budget)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a ladder stands on.

    Attributes:
        trained: The source is a trained model, which may have batch norm.
        answers_stay: The budget wants the source's own answers, which batch-norm recalibration improves on.
        trainable: There are samples to learn from, apart from those that judge.
        target: The artifact's format.
        samples: Those that judge: no pass learns from them, and none is kept for the last word (a test split).
    """

    trained: bool
    answers_stay: bool
    trainable: bool
    target: Target
    samples: Dataset

    @classmethod
    def of(cls, job: Job, roles: Roles | None, recipe: Recipe, target: Target, budget: Budget) -> Ground:
        """Look what there is; raises ``DataError`` where there are no samples."""
        if roles is None:
            raise no_samples()
        trainable = can_train(job.source, roles)
        return cls(
            trained=not job.source.is_artifact,
            answers_stay=budget.min_agreement is not None,
            trainable=trainable,
            target=target,
            samples=chosen_by(roles, apart=trainable or recipe.needs.training),
        )


def can_train(source: Model, roles: Roles) -> bool:
    """Whether a model's weights can be trained on some samples, and judged on enough others."""
    validation = roles.validation
    return not source.is_artifact and validation is not None and len(validation) >= LEAST_VALIDATION


def chosen_by(roles: Roles, *, apart: bool) -> Dataset:
    """The samples that recipes are chosen by, at most 2,000; never those of a test split.

    Args:
        roles: Of the user's samples.
        apart: Whether a recipe may learn from the others. If not, and where the user has not split them, all serve.
    """
    apart = apart or roles.split_by_user
    validation = roles.validation
    return at_most(validation if apart and validation is not None else roles.calibration, roles.seed)


def recover(
    runner: Runner, recipe: Recipe, ground: Ground, asked: Recovery, *, metric: str | None, log: Path | None
) -> Climb:
    """Climb from a recipe that quantizes to one that meets the budget.

    Args:
        runner: Of the source.
        recipe: To start with.
        ground: What there is to stand on.
        asked: The budget, and the limits.
        metric: The user's choice; None for the usual one.
        log: Where trials are kept for a resumed run; None to keep nothing.

    Raises:
        DataError: The samples are not those that the budget needs.
        TinsmithError: The recipe itself can't be carried out.
    """
    judging = metric_for(metric, ground.samples) if ground.samples.has_answers else None
    job = runner.job
    with opened_predictor(job.source, allow_unsafe=job.allow.unsafe_layers, time_limit_s=job.time_limit_s) as source:
        judge = Judge(source, ground.samples, asked.budget, judging, time_limit_s=job.time_limit_s)
    trials = TrialLog(log, json.dumps([asdict(asked.budget), ground.samples.sha256, metric]))
    attempts = _Attempts(runner, ground, judge, trials)
    rungs = Rungs(trained=ground.trained, answers_stay=ground.answers_stay, trainable=ground.trainable)
    return Ladder(rungs, asked.limits, attempts, attempts.worst).climb(recipe)


class _Attempts:
    """Carries out recipes, each of them once."""

    def __init__(self, runner: Runner, ground: Ground, judge: Judge, log: TrialLog) -> None:
        self._runner, self._ground, self._judge, self._log = runner, ground, judge, log

    def __call__(self, recipe: Recipe, name: str) -> Trial:
        planned = plan(self._runner.job.source, recipe, self._ground.target)
        steps = documents_of(planned)
        known = self._log.find(steps, name)
        if known is not None:
            return known
        began = time.monotonic()
        artifact = self._runner.run(planned).model.path
        verdict = self._judge(artifact)
        trial = Trial(
            name=name,
            lacking=sum(miss.beyond for miss in verdict.misses),
            score=None if verdict.after is None else verdict.after.score,
            agreement=verdict.agreement,
            distance=verdict.distance,
            size_bytes=artifact.stat().st_size,
            seconds=time.monotonic() - began,
            remark="; ".join(f"{miss.bound} missed by {miss.beyond:.2%}" for miss in verdict.misses),
        )
        self._log.keep(steps, trial)
        return trial

    def worst(self, recipe: Recipe) -> Sequence[str]:
        """The operators that cost most under a recipe, the worst first."""
        return worst_operators(self._runner, recipe, self._ground.target, self._judge.error)
