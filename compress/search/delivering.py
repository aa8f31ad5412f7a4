"""What a search delivers: artifacts made whole and proven, each once, and the best one under names of its own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tinsmith.compress.compression import Training, compress
from tinsmith.compress.recipe import Recipe
from tinsmith.compress.search.trying import Job
from tinsmith.compress.search.workroom import PASSES_NAME
from tinsmith.convert.placing import copied
from tinsmith.runtime.artifact import read_artifact
from tinsmith.runtime.errors import DataError, VerificationError
from tinsmith.runtime.files import write_text

if TYPE_CHECKING:
    from tinsmith.compress.search.folder import Folder
    from tinsmith.compress.search.store import Store
    from tinsmith.compress.search.subject import Subject
    from tinsmith.compress.search.trial import Trial

__all__ = ["Delivering"]

logger = logging.getLogger(__name__)


class Delivering:
    """Makes artifacts of trials whole.

    Args:
        subject: Model, samples, and what judges.
        folder: Where artifacts go.
        store: Remembers what was made whole and proven, so that a later go makes it no second time.
    """

    def __init__(self, subject: Subject, folder: Folder, store: Store) -> None:
        self._subject, self._folder, self._store = subject, folder, store

    def deliver(self, trial: Trial) -> dict[str, Any]:
        """Make an artifact whole and prove it; what ``Record.artifacts`` says of it. Raises as ``compress``."""
        recipe = Recipe.model_validate(trial.recipe)
        write_text(self._folder.recipe(trial.number), recipe.text(f"Trial {trial.number}: {trial.name}."))
        name = f"whole {trial.number} {Job(recipe=recipe, target=trial.target).key}"
        report = self._known(trial, name)
        if report is None:
            report = self._made(trial, recipe, name)
        below = self._folder.path
        return {
            "path": str(self._folder.artifact(trial.number, trial.target).relative_to(below)),
            "recipe": str(self._folder.recipe(trial.number).relative_to(below)),
            "report": report,
        }

    def name(self, trial: Trial) -> None:
        """Put an artifact under names that are the same in every search."""
        folder = self._folder
        copied(read_artifact(folder.artifact(trial.number, trial.target)), folder.chosen(trial.target))
        write_text(folder.chosen_recipe, folder.recipe(trial.number).read_text(encoding="utf-8"))

    def _known(self, trial: Trial, name: str) -> dict[str, Any] | None:
        """What was said when the same recipe was made whole, where the artifact still is what it was then."""
        known, path = self._store.noted(name), self._folder.artifact(trial.number, trial.target)
        if known is None:
            return None
        try:
            if read_artifact(path).sha256 != known["sha256"]:
                return None
        except (DataError, VerificationError):
            return None
        logger.info("trial %d is whole and proven already", trial.number)
        return {**known["report"], "artifact": str(path)}

    def _made(self, trial: Trial, recipe: Recipe, name: str) -> dict[str, Any]:
        logger.info("trial %d is made whole and proven", trial.number)
        subject = self._subject
        made = compress(
            subject.model,
            recipe,
            self._folder.artifact(trial.number, trial.target),
            metric=subject.metric,
            training=Training(kept=self._folder.work / PASSES_NAME, announce=None),
            data=subject.data,
            seed=subject.seed,
            allow=subject.allow,
            time_limit_s=subject.time_limit_s,
            device=subject.device,
        )
        sha256, report = made.delivery.artifact.sha256, made.to_json()
        if sha256 != trial.sha256:
            logger.warning("trial %d: made again, its artifact has other bytes than what was measured", trial.number)
        self._store.note(name, {"sha256": sha256, "report": report})
        return report
