"""Operations that make scores: which output, and how its numbers become probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinsmith.runtime.postprocessing.answers import Numbers, Probabilities, Scores
from tinsmith.runtime.postprocessing.operation import Operation, output_named, scores_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.runtime.postprocessing.answers import Answer

__all__ = ["Binary", "Output", "Sigmoid", "Softmax"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Operation):
    """Take one output of several as the scores.

    Attributes:
        name: The output's.
    """

    kind: ClassVar[str] = "output"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = {Numbers: Scores}

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise self.refuse(f"name must be the name of an output, not {self.name!r}")

    def apply(self, answer: Answer) -> Scores:
        """Take it; what it holds is looked at by the next operation."""
        return Scores(values=output_named(self, answer, self.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Operation):
    """Turn logits into probabilities that sum to 1."""

    kind: ClassVar[str] = "softmax"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = {Numbers: Probabilities, Scores: Probabilities}

    def apply(self, answer: Answer) -> Probabilities:
        """``exp(x) / sum(exp(x))``, shifted by the largest so that nothing overflows."""
        logits = scores_of(self, answer)
        largest = logits.max()
        # all of them minus infinity: none is likelier than another
        powers = np.exp(logits - largest) if np.isfinite(largest) else np.ones_like(logits)
        return Probabilities(values=powers / powers.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sigmoid(Operation):
    """Turn logits into probabilities that do not depend on each other."""

    kind: ClassVar[str] = "sigmoid"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = {Numbers: Probabilities, Scores: Probabilities}

    def apply(self, answer: Answer) -> Probabilities:
        """``1 / (1 + exp(-x))``, through tanh so that nothing overflows."""
        return Probabilities(values=0.5 + 0.5 * np.tanh(scores_of(self, answer) / 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(Operation):
    """Make two classes of a single probability: that of the second class."""

    kind: ClassVar[str] = "binary"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = {
        Numbers: Probabilities,
        Scores: Probabilities,
        Probabilities: Probabilities,
    }

    def apply(self, answer: Answer) -> Probabilities:
        """``[1 - p, p]``.

        Raises:
            DataError: There is more than one number, or it lies outside 0 to 1.
        """
        values = scores_of(self, answer)
        if len(values) != 1:
            raise self.refuse(f"it takes a single probability, not {len(values)}", "leave binary out")
        if not 0 <= values[0] <= 1:
            raise self.refuse(f"{values[0]:g} is no probability", "put a sigmoid operation before it")
        return Probabilities(values=np.asarray([1 - values[0], values[0]]))
