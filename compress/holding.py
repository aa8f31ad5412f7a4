"""Holding an artifact against its budget, on the samples that it is judged on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.predictors import class_scores, run_samples
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.compress.balance import Judged
    from tinsmith.compress.budget import Budget, Verdict
    from tinsmith.convert.data import Dataset
    from tinsmith.convert.delivery import Proven
    from tinsmith.convert.predictors import Predictor

__all__ = ["agreement_on", "classes_named", "hold", "refuse_blind"]

_BATCH = 64
_HINT = "give labelled samples with --data; --min-agreement works without labels"


def refuse_blind(budget: Budget, samples: Dataset | None) -> None:
    """Find out before any work whether there is something to hold a budget against.

    Args:
        budget: The user's.
        samples: What the artifact will be judged on; None where there are none.

    Raises:
        DataError: There are no samples, or nothing says which answers are right.
    """
    if not budget.bounds or (samples is not None and (samples.has_answers or not budget.needs_answers)):
        return
    what = "samples with labels" if budget.needs_answers else "samples"
    named = ", ".join(f"--{bound}" for bound in budget.bounds)
    raise DataError(f"{named}: there are no {what} to judge by that nothing learns from", hint=_HINT)


def hold(
    budget: Budget, proven: Proven, samples: Dataset | None, judged: Judged | None, unjudged: str
) -> tuple[Verdict, ...]:
    """What became of each bound.

    Args:
        budget: The user's.
        proven: Source and artifact, open.
        samples: What they were judged on, or may be compared on; None where there are none.
        judged: How good both are; None where that is not known.
        unjudged: Why not.

    Raises:
        DataError: A bound can't be held: the samples could not be judged, or the models name no classes.
    """
    if budget.needs_answers and judged is None:
        raise DataError(f"the budget can't be held: {unjudged}", hint=_HINT)
    agreement = None if judged is None else judged.agreement
    if budget.min_agreement is not None and agreement is None and samples is not None:
        agreement = agreement_on(proven, samples)
    before, after = (None, None) if judged is None else (judged.before, judged.after)
    return budget.verdicts(before, after, agreement)


def agreement_on(proven: Proven, samples: Dataset) -> float:
    """Share of samples on which source and artifact name the same class, 0 to 1; labels are not needed.

    Raises:
        DataError: One of them names no classes.
    """
    before, after = (classes_named(model, samples) for model in (proven.source, proven.artifact))
    if before is None or after is None:
        raise DataError(
            "there is no agreement to bound: this model names no classes",
            hint="bound a model of numbers by --max-drop, on samples with targets",
        )
    return float(np.mean(before == after))


def classes_named(predictor: Predictor, samples: Dataset) -> NDArray[np.int64] | None:
    """The class that is named for each sample; None for what names no classes."""
    parts = []
    for batch in samples.batches(_BATCH):
        scores = class_scores(run_samples(predictor, batch.feeds))
        if scores is None:
            return None
        parts.append(scores.argmax(axis=1))
    return np.concatenate(parts)
