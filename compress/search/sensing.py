"""What single operators cost in fewer bits: jobs like others, carried out where others are, and kept with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.compress.search.trying import Job
from tinsmith.runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.compress.planner import Target
    from tinsmith.compress.recipe import Recipe
    from tinsmith.compress.search.store import Store
    from tinsmith.compress.search.trying import Outcome, Spread

__all__ = ["MeasuredSensitivities"]


class MeasuredSensitivities:
    """The ``Sensitivities`` of the model that a spread works on.

    Args:
        spread: Carries out jobs.
        store: Knows what came of those that were carried out before.
    """

    def __init__(self, spread: Spread, store: Store) -> None:
        self._spread, self._store = spread, store

    def narrowing(self, recipe: Recipe, target: Target) -> Sequence[tuple[str, int]]:
        """See ``Sensitivities``; raises ``ModelError`` where the recipe can't be carried out."""
        return self._outcome(Job(recipe=recipe, target=target, effort="narrowing")).operators

    def worst(self, recipe: Recipe, target: Target) -> Sequence[str]:
        """See ``Sensitivities``; raises as above."""
        return [name for name, _ in self._outcome(Job(recipe=recipe, target=target, effort="worst")).operators]

    def _outcome(self, job: Job) -> Outcome:
        outcome = self._store.outcome(job)
        if outcome is None:
            ((_, outcome),) = self._spread.outcomes([job])
            self._store.keep_outcome(job, outcome)
        if outcome.failure:
            raise ModelError(f"what single operators cost could not be measured: {outcome.failure}")
        return outcome
