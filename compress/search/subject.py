"""What all trials of a search are made of, and where they are carried out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tinsmith.compress.budget import Budget
from tinsmith.convert.delivery import Allowances
from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from tinsmith.compress.search.trying import Job, Outcome

__all__ = ["ARTIFACTS_NAME", "Baseline", "Produced", "Subject", "Workroom", "artifact_in"]

# Below the folder that workers share: artifacts by their sha256.
ARTIFACTS_NAME = "artifacts"


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

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return {**asdict(self), "model": str(self.model)}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        read = {"model": Path(said["model"]), "allow": Allowances(**said["allow"]), "budget": Budget(**said["budget"])}
        return cls(**{**said, **read})


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is known before anything is tried.

    Attributes:
        metric: What judges; empty where nothing says what is right.
        score: The source's, of the metric; None as above.
        samples: How many judge; 0 where the user gave none.
        judged_on: What these are called.
        data_sha256: Of all samples; empty where there are none.
        trainable: Weights can be trained: there are samples to learn from, and enough others to judge by.
    """

    metric: str = ""
    score: float | None = None
    samples: int = 0
    judged_on: str = ""
    data_sha256: str = ""
    trainable: bool = False

    def to_json(self) -> dict[str, Any]:
        """For the wire, and for reports."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        return cls(**said)


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
    """Carries out jobs in one process, one after the other; holds the samples and the source's answers.

    Attributes:
        baseline: What is known before anything is tried.
    """

    @property
    def baseline(self) -> Baseline:
        """See above."""
        ...

    def carry_out(self, job: Job) -> Produced:
        """Do it; a recipe that can't be carried out has an outcome that says why.

        Raises:
            TinsmithError: No recipe can be carried out here.
        """
        ...


def artifact_in(folder: Path, sha256: str) -> Path:
    """Where an artifact lies below the folder that workers share.

    Raises:
        HostError: Somebody has removed it.
    """
    found = next((folder / ARTIFACTS_NAME).glob(f"{sha256}.*"), None)
    if found is None:
        raise HostError(f"{folder / ARTIFACTS_NAME} has lost {sha256[:12]}…", hint="begin anew, with another --output")
    return found
