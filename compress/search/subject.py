"""What all trials of a search are made of, and where they are carried out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tinsmith.compress.budget import Budget
from tinsmith.convert.delivery import Allowances

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.compress.search.trying import Job, Outcome

__all__ = ["Baseline", "Produced", "Subject", "Workroom"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a process needs to carry out trials; can be pickled.

    Attributes:
        model: The source.
        data: Samples, as ``open_dataset`` takes them; None where there are none.
        metric: What judges; None for the usual one.
        seed: Of all chance.
        allow: Checks to leave out.
        time_limit_s: For a model's load, and for each run.
        device: Name of the profile that artifacts are made for; None where there is none.
        budget: Whose bounds are asked for: a search that wants agreement needs classes.
    """

    model: Path
    data: str | None
    metric: str | None = None
    seed: int = 0
    allow: Allowances = field(default_factory=Allowances)
    time_limit_s: float = 60.0
    device: str | None = None
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the source is, before anything is done to it.

    Attributes:
        data: What the samples are called; empty where there are none.
        data_sha256: Of the samples; empty as above.
        judged: How many samples judge.
        trainable: Whether there are samples to learn from, apart from those that judge, and layers to train.
        metric: What judges; empty where nothing says what is right.
        score: The source's; None as above.
    """

    data: str
    data_sha256: str
    judged: int
    trainable: bool
    metric: str
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """What came of a job, with the artifact itself.

    Attributes:
        outcome: What came of it.
        path: The artifact; None where there is none.
    """

    outcome: Outcome
    path: Path | None


class Workroom(Protocol):
    """Carries out jobs in one process, one after the other; holds the samples and the source's answers."""

    @property
    def baseline(self) -> Baseline:
        """Of the source."""
        ...

    def carry_out(self, job: Job) -> Produced:
        """Do it; a recipe that can't be carried out has an outcome that says why.

        Raises:
            TinsmithError: No recipe can be carried out here.
        """
        ...
