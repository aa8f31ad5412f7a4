"""Judge what a recipe made against the model that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.holding import classes_named
from tinsmith.convert.comparison import outputs_in_order
from tinsmith.convert.evaluation import evaluate
from tinsmith.convert.predictors import SandboxedArtifact, run_samples
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.compress.budget import Budget, Verdict
    from tinsmith.convert.data import Dataset
    from tinsmith.convert.evaluation import Evaluation
    from tinsmith.convert.metrics import Metric
    from tinsmith.convert.predictors import Predictor

__all__ = ["Distance", "Found", "Judge"]

_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found about one artifact.

    Attributes:
        after: Its evaluation; None without answers to hold it against.
        agreement: Share of samples on which it names the class that the source names, 0 to 1; None for other models.
        misses: Limits of the budget that it misses.
        distance: Mean squared distance of its answers from the source's, on a few samples.
    """

    after: Evaluation | None
    agreement: float | None
    misses: tuple[Verdict, ...]
    distance: float


class Distance:
    """Mean squared distance of others' answers from those of one model, which is run once.

    Args:
        reference: That model.
        feeds: A few samples: one array an input name.
        time_limit_s: For an artifact's load, and for each run.
    """

    def __init__(self, reference: Predictor, feeds: Mapping[str, NDArray[np.generic]], *, time_limit_s: float) -> None:
        self._named, self._feeds = [spec.name for spec in reference.outputs], feeds
        self._answers = run_samples(reference, feeds)
        self._time_limit_s = time_limit_s

    @property
    def is_finite(self) -> bool:
        """Whether that model answers with nothing but numbers, so that others have no reason not to."""
        return all(np.isfinite(answers).all() for answers in self._answers)

    def __call__(self, artifact: Path) -> float:
        """Of one artifact; raises as what opens and runs it."""
        with SandboxedArtifact(artifact, Sandbox(time_limit_s=self._time_limit_s)) as opened:
            return self.of(opened)

    def of(self, opened: Predictor) -> float:
        """Of what is open, summed over the outputs; raises as what runs it."""
        found = outputs_in_order(self._named, opened, run_samples(opened, self._feeds))
        pairs = zip(self._answers, found, strict=True)
        return float(sum(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2) for a, b in pairs))


class Judge:
    """Holds artifacts against the source, which is run once.

    Args:
        source: What went in.
        samples: To judge on; no pass has learned from them.
        budget: What is asked for.
        metric: What judges; None where nothing says what is right.
        time_limit_s: For an artifact's load, and for each run.

    Attributes:
        before: The source's evaluation; None where nothing says what is right.
        names_classes: Whether the source does.
        error: How far an artifact's answers are from the source's, on a few samples.

    Raises:
        DataError: The budget asks for what these samples, or this model, can't say.
    """

    def __init__(
        self, source: Predictor, samples: Dataset, budget: Budget, metric: Metric | None, *, time_limit_s: float
    ) -> None:
        self._samples, self._budget, self._metric = samples, budget, metric
        self._time_limit_s = time_limit_s
        self.before, self._named = self._look(source)
        self.error = Distance(source, next(samples.batches(_BATCH)).feeds, time_limit_s=time_limit_s)
        if self._named is None and budget.min_agreement is not None:
            raise DataError(
                "--min-agreement is for models that name classes, and this one does not",
                hint="give samples with answers, and --max-drop",
            )

    @property
    def names_classes(self) -> bool:
        """See above."""
        return self._named is not None

    def __call__(self, artifact: Path, sandbox: Sandbox | None = None) -> Found:
        """Judge one.

        Args:
            artifact: The file.
            sandbox: A child to use, which is closed then; None for a new one.

        Raises:
            TinsmithError: As what opens and runs it.
        """
        with SandboxedArtifact(artifact, sandbox or Sandbox(time_limit_s=self._time_limit_s)) as opened:
            after, named = self._look(opened)
            distance = self.error.of(opened)
        agreement = None
        if self._named is not None and named is not None:
            agreement = float(np.mean(self._named == named))
        misses = self._budget.misses(self.before, after, agreement)
        return Found(after=after, agreement=agreement, misses=misses, distance=distance)

    def _look(self, predictor: Predictor) -> tuple[Evaluation | None, NDArray[np.int64] | None]:
        """Its evaluation, and the class that it names for each sample."""
        if self._metric is None:
            return None, classes_named(predictor, self._samples)
        found = evaluate(predictor, self._samples, self._metric)
        return found, np.asarray(found.answers, dtype=np.int64) if found.names_classes else None
