"""Operations that choose among scores and detections, and that name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinsmith.runtime.errors import ModelError
from tinsmith.runtime.operation import check_count, check_numbers
from tinsmith.runtime.postprocessing.answers import Class, Classes, Detections, Numbers, Probabilities, Scores
from tinsmith.runtime.postprocessing.operation import Operation, scores_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.runtime.postprocessing.answers import Answer

__all__ = ["Argmax", "Labels", "Threshold", "TopK"]

_CHOOSING: Mapping[type[Answer], type[Answer]] = {
    Numbers: Classes,
    Scores: Classes,
    Probabilities: Classes,
    Classes: Classes,
    Detections: Detections,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Argmax(Operation):
    """Take the class with the highest score; of equal ones the first."""

    kind: ClassVar[str] = "argmax"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = {
        Numbers: Classes,
        Scores: Classes,
        Probabilities: Classes,
    }

    def apply(self, answer: Answer) -> Classes:
        """One class."""
        return _best_first(self, answer, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK(Operation):
    """Take the best few; of equal ones the first.

    Attributes:
        k: How many at most.
    """

    kind: ClassVar[str] = "top-k"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = _CHOOSING

    k: int

    def __post_init__(self) -> None:
        check_count(self, k=self.k)

    def apply(self, answer: Answer) -> Answer:
        """Classes of scores; of classes and detections the same, but fewer."""
        if isinstance(answer, Detections):
            return Detections(found=answer.found[: self.k])
        if isinstance(answer, Classes):
            return Classes(found=answer.found[: self.k])
        return _best_first(self, answer, self.k)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(Operation):
    """Leave out what scores less; of scores it makes every class that reaches it.

    Attributes:
        least: The lowest score that stays.
    """

    kind: ClassVar[str] = "threshold"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = _CHOOSING

    least: float

    def __post_init__(self) -> None:
        check_numbers(self, least=self.least)

    def apply(self, answer: Answer) -> Answer:
        """The order stays, the best first; nothing may be left."""
        known = answer if isinstance(answer, Classes | Detections) else _best_first(self, answer, None)
        if isinstance(known, Classes):
            return Classes(found=tuple(item for item in known.found if item.score >= self.least))
        return Detections(found=tuple(item for item in known.found if item.score >= self.least))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels(Operation):
    """Give classes their names.

    Attributes:
        names: One a class, in the order of their numbers.
    """

    kind: ClassVar[str] = "labels"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = {Classes: Classes, Detections: Detections}

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        named = isinstance(self.names, tuple) and all(isinstance(name, str) for name in self.names)
        if not named or not self.names:
            raise self.refuse("names must be a list of names", "quote names that YAML takes for something else")

    def apply(self, answer: Answer) -> Answer:
        """Name each of them.

        Raises:
            DataError: A class has a number beyond the names.
        """
        if isinstance(answer, Classes):
            return Classes(found=tuple(item.named(self._name(item.index)) for item in answer.found))
        found = answer.found if isinstance(answer, Detections) else ()
        return Detections(found=tuple(item.named(self._name(item.index)) for item in found))

    def _name(self, index: int) -> str:
        if index >= len(self.names):
            raise self.refuse(f"the model gave class {index}, and there are {len(self.names)} names, from 0 on")
        return self.names[index]


def _best_first(operation: Operation, answer: Answer, most: int | None) -> Classes:
    values = scores_of(operation, answer)
    order = np.argsort(-values, kind="stable")[:most]
    if not np.isfinite(values[order]).all():
        raise ModelError("the model's best scores hold infinity", hint="put a softmax operation before")
    return Classes(found=tuple(Class(index=int(at), score=float(values[at])) for at in order))
