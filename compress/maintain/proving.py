"""What a new artifact costs and is good for: against the model, and against the artifact that is served.

Labels decide whether it may be deployed. Captured samples have none: on them is told how often an artifact answers as
the model does, which says what calibration lost there, and nothing of whether the model itself is still right.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.balance import judge, judged_on
from tinsmith.compress.holding import agreement_on, hold, refuse_blind
from tinsmith.compress.maintain.results import Proven
from tinsmith.convert.data import Roles, open_dataset
from tinsmith.convert.delivery import Proven as Pair
from tinsmith.convert.evaluation import evaluate
from tinsmith.convert.model import identify
from tinsmith.convert.predictors import SandboxedArtifact, opened_predictor, run_samples
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.pairs import time_pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tinsmith.compress.balance import Judged
    from tinsmith.compress.budget import Verdict
    from tinsmith.compress.maintain.plan import MaintenancePlan
    from tinsmith.compress.recipe import Recipe
    from tinsmith.convert.data import Dataset

__all__ = ["Proof"]

_BATCH = 64
# Of the same artifact twice, now and then each round of one is a little faster.
_FASTER = 0.95
_DRIFT = (
    "captured samples have no labels: whether the model is right on what devices see now is not known, and where it is "
    "not, no calibration mends that; label some of them, and train"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """The three models, open."""

    new: Pair
    served: Pair
    samples: Dataset | None
    held: tuple[Dataset, ...]


class Proof:
    """Holds artifacts against a plan.

    Args:
        plan: Its budget is held.
        recipe: Says whether samples were learned from.
        data: The plan's samples and captured ones.
        held: Files of captured samples that nothing was calibrated on.
    """

    def __init__(self, plan: MaintenancePlan, recipe: Recipe, *, data: Path, held: Sequence[Path]) -> None:
        self._plan, self._recipe, self._data, self._held = plan, recipe, data, held

    def of(self, new: Path, served: Path, *, slow_alone: bool) -> Proven:
        """Prove the new artifact.

        Args:
            new: Its file.
            served: That of the artifact which is served.
            slow_alone: Whether it is made because devices are slow, and for nothing else.

        Raises:
            DataError: The budget can't be held on these samples.
            ModelError: One of the models can't be run.
        """
        with self._opened(new, served) as models:
            judged, unjudged = judge(models.new, models.samples, self._plan.metric)
            verdicts = hold(self._plan.bounds, models.new, models.samples, judged, unjudged)
            agreed = [_agreement(pair, models.held) for pair in (models.served, models.new)]
            errors = [_error(pair, models.held) for pair in (models.served, models.new)]
            ratio, surely_faster = _speed(models)
            score_served = _score(models, judged)
        return Proven(
            kept=tuple(_told(verdict) for verdict in verdicts if not verdict.missed),
            missed=(
                *(_told(verdict) for verdict in verdicts if verdict.missed),
                *self._disagrees(agreed[1]),
                *([_not_faster(ratio)] if slow_alone and not surely_faster else []),
                *([] if slow_alone else _mends_nothing(*errors)),
            ),
            metric="" if judged is None else judged.after.metric.name,
            samples=0 if judged is None else judged.after.samples,
            score_model=None if judged is None else judged.before.score,
            score_served=score_served,
            score_new=None if judged is None else judged.after.score,
            captured=sum(len(dataset) for dataset in models.held),
            agreement_served=agreed[0],
            agreement_new=agreed[1],
            error_served=errors[0],
            error_new=errors[1],
            speed_ratio=ratio,
            remarks=() if slow_alone else (_DRIFT,),
        )

    @contextlib.contextmanager
    def _opened(self, new: Path, served: Path) -> Iterator[_Open]:
        with contextlib.ExitStack() as stack:
            model = stack.enter_context(opened_predictor(identify(self._plan.model)))
            roles = Roles(open_dataset(self._data, model.inputs), seed=self._plan.seed)
            samples = judged_on(roles, self._recipe.needs)
            refuse_blind(self._plan.bounds, samples)
            pairs = [
                Pair(path=path, artifact=stack.enter_context(SandboxedArtifact(path)), source=model)
                for path in (new, served)
            ]
            held = tuple(open_dataset(path, model.inputs) for path in self._held)
            yield _Open(new=pairs[0], served=pairs[1], samples=samples, held=held)

    def _disagrees(self, agreement: float | None) -> list[str]:
        least = self._plan.bounds.min_agreement
        if least is None or agreement is None or agreement >= least:
            return []
        return [f"on captured samples {agreement:.2%} of the answers are the model's, {least:.2%} are asked for"]


def _told(verdict: Verdict) -> str:
    return f"{verdict.bound}: {verdict.text}"


def _agreement(pair: Pair, held: Sequence[Dataset]) -> float | None:
    """Over all captured samples; None where there are none, or no classes are named."""
    try:
        agreeing = sum(agreement_on(pair, dataset) * len(dataset) for dataset in held)
    except DataError:
        return None
    count = sum(len(dataset) for dataset in held)
    return agreeing / count if count else None


def _score(models: _Open, judged: Judged | None) -> float | None:
    if judged is None or models.samples is None:
        return None
    try:
        return evaluate(models.served.artifact, models.samples, judged.after.metric).score
    except DataError:  # such as a served artifact that knows other classes
        return None


def _speed(models: _Open) -> tuple[float, bool]:
    """How the new artifact compares with the served one, and whether it was clearly faster in every round."""
    timing = time_pair(models.served.artifact.sandbox, models.new.artifact.sandbox)
    return timing.ratio, timing.high < _FASTER


def _not_faster(ratio: float) -> str:
    return (
        f"devices are slow, and the new artifact takes {ratio:.2f} times as long as the served one here: "
        "the same recipe makes the same operators; choose a recipe that makes it faster"
    )


def _error(pair: Pair, held: Sequence[Dataset]) -> float | None:
    """How far an artifact's answers lie from the model's on captured samples; None where there are none."""
    differing = whole = 0.0
    for dataset in held:
        for batch in dataset.batches(_BATCH):
            answers = (run_samples(model, batch.feeds) for model in (pair.source, pair.artifact))
            for model, artifact in zip(*answers, strict=True):
                right = np.asarray(model, np.float64)
                differing += float(np.sum((np.asarray(artifact, np.float64).reshape(right.shape) - right) ** 2))
                whole += float(np.sum(right**2))
    return math.sqrt(differing / whole) if whole else None


def _mends_nothing(served: float | None, new: float | None) -> list[str]:
    if served is None or new is None or new < served:
        return []
    return [
        f"on captured samples its answers lie {new:.2%} from the model's, and those of the served artifact "
        f"{served:.2%}: calibration mends nothing of what drifts; label captured samples, and train"
    ]
