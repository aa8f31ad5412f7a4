"""What the process that trains is told, and what it gives back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Outcome", "Task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One pass to carry out; plain values only, because it crosses to another process.

    Attributes:
        step: The recipe's step in full.
        target: The artifact's format.
        source: Path and format of the model to work on.
        output: Path of the model to write, without an ending.
        data: Names the samples; None where there are none.
        teacher: Path and format of the model to learn from; None where there is none.
        seed: Of all chance.
        allow_unsafe: Load models whose ``Lambda`` layers run code of their author.
        checkpoint: The file that keeps where the training stands; None to keep nothing.
        metric: What judges the model, by its name; None for the usual one.
        native: Train the model in the framework that made it, not as one of tf_keras.
        artifact: Name of what is made in the end.
        made: Forms that earlier passes have brought the weights into, such as ``sparse``; sorted.
    """

    step: dict[str, Any]
    target: str
    source: tuple[str, str]
    output: str
    data: str | None
    teacher: tuple[str, str] | None
    seed: int
    allow_unsafe: bool
    checkpoint: str | None
    metric: str | None = None
    native: bool = False
    artifact: str = ""
    made: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Task:
        """The same again."""
        pairs = {name: tuple(document[name]) if document[name] else None for name in ("source", "teacher")}
        return cls(**{**document, **pairs, "made": tuple(document["made"])})

    def run(self, source_sha256: str, data_sha256: str) -> str:
        """Names the training: the same name means that a checkpoint can be gone on from."""
        named = {
            "step": self.step,
            "seed": self.seed,
            "metric": self.metric,
            "made": self.made,
            "source": source_sha256,
            "data": data_sha256,
        }
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came out.

    Attributes:
        model: Path and format.
        stands_for: Path and format of the trained model that it holds the answers of.
        modified: Whether it is another model than went in.
        measured: What the pass found out, by name.
    """

    model: tuple[str, str]
    stands_for: tuple[str, str]
    modified: bool
    measured: dict[str, float | str]

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Outcome:
        """The same again."""
        return cls(**{**document, "model": tuple(document["model"]), "stands_for": tuple(document["stands_for"])})
