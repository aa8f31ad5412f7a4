"""What a search asks of others: carry out a recipe, and measure what came of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tinsmith.compress.recipe import Recipe
from tinsmith.compress.search.figures import Figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

    from tinsmith.compress.planner import Target
    from tinsmith.compress.search.figures import Timed
    from tinsmith.compress.search.subject import Baseline

__all__ = ["Crew", "Effort", "Job", "Measure", "Outcome", "Spread", "sketched"]

# Every training in full; or one epoch of each, which says what an epoch takes, and roughly what it will bring.
# Or no artifact, but what single operators cost under the recipe: in 4 bits, or in its own scheme.
Effort = Literal["whole", "sketch", "narrowing", "worst"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One recipe to carry out.

    Attributes:
        recipe: The recipe.
        target: The format of the artifact.
        effort: How much of its trainings, or what else is asked about it.
    """

    recipe: Recipe
    target: Target
    effort: Effort = "whole"

    @property
    def carried_out(self) -> Recipe:
        """The recipe as it is carried out."""
        return sketched(self.recipe) if self.effort == "sketch" else self.recipe

    @property
    def key(self) -> str:
        """Names what is carried out: jobs with the same key give the same."""
        asked = [self.effort] if self.effort in ("narrowing", "worst") else []
        steps = [*asked, self.target, *(step.document() for step in self.carried_out.steps)]
        return hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        steps = [step.document() for step in self.recipe.steps]
        recipe = {"version": self.recipe.version, "target": self.recipe.target, "steps": steps}
        return {"recipe": recipe, "target": self.target, "effort": self.effort}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote; raises ``ValidationError`` for what is no recipe."""
        return cls(**{**said, "recipe": Recipe.model_validate(said["recipe"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a job.

    Attributes:
        figures: Of the artifact, without times; None where there is none.
        sha256: Of the artifact, by which ``Spread.artifact`` finds it; empty as above.
        seconds: That it took.
        training_s: Of these, that went into epochs; 0 where nothing trained.
        failure: Why there is no artifact; empty where there is one.
        operators: Where that was asked, by the first tensor that each computes, with the bytes that it saves: in 4
            bits those that cost least a byte first, in the recipe's own scheme the worst first.
    """

    figures: Figures | None
    sha256: str = ""
    seconds: float = 0.0
    training_s: float = 0.0
    failure: str = ""
    operators: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the store."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        figures = None if said["figures"] is None else Figures.from_json(said["figures"])
        operators = tuple((name, saves) for name, saves in said.get("operators", ()))
        return cls(**{**said, "figures": figures, "operators": operators})


class Spread(Protocol):
    """Carries out jobs: here, in several processes, or on other machines."""

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Each job with what came of it, as soon as it is known, in any order.

        A job that fails, runs out of time or memory, or loses its worker for good, has an outcome that says so.

        Raises:
            TinsmithError: Nothing can be carried out any more, whatever the recipe.
        """
        ...

    def artifact(self, sha256: str) -> Path:
        """Where the artifact of an outcome lies on this machine; it stays there until the search is over."""
        ...


class Crew(Spread, Protocol):
    """What carries a search's recipes out, and knows what there was before."""

    @property
    def baseline(self) -> Baseline:
        """Of the source."""
        ...


class Measure(Protocol):
    """Measures an artifact on a device."""

    def __call__(self, artifact: Path, device: str, threads: int) -> Timed:
        """Measure it.

        Raises:
            DeviceError: The device can't be reached, or is lost.
            TinsmithError: The artifact can't be run there.
        """
        ...


def sketched(recipe: Recipe) -> Recipe:
    """The same with one epoch of each training."""
    steps = [step.model_copy(update={"epochs": 1}) if step.needs.training else step for step in recipe.steps]
    return recipe.model_copy(update={"steps": tuple(steps)})
