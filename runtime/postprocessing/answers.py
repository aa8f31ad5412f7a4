"""What a model says about one sample, from its bare numbers to classes and boxes."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinsmith.runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tinsmith.runtime.box import Box

__all__ = ["Answer", "Class", "Classes", "Detection", "Detections", "Numbers", "Probabilities", "Scores"]

_EDGES = ("top", "left", "bottom", "right")


class Answer(abc.ABC):
    """What an operation takes and gives, and what a client gets at the end.

    Attributes:
        noun: What it is called in messages.
    """

    __slots__ = ()
    noun: ClassVar[str]

    @abc.abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The form that a client gets; real numbers with the seven digits that float32 holds.

        Raises:
            ModelError: It holds NaN or infinity, for which JSON has no words.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Numbers(Answer):
    """The outputs as they are.

    Attributes:
        outputs: One array an output name, without the batch axis.
    """

    noun: ClassVar[str] = "outputs"

    outputs: Mapping[str, NDArray[np.generic]]

    def to_json(self) -> dict[str, Any]:
        """Nested lists by output name, under ``outputs``."""
        return {"outputs": {name: _listed(array) for name, array in self.outputs.items()}}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores(Answer):
    """One number a class, the higher the likelier.

    Attributes:
        values: float64 [classes].
    """

    noun: ClassVar[str] = "scores"

    values: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """A list under ``scores``."""
        return {"scores": _listed(self.values)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probabilities(Scores):
    """Scores from 0 to 1."""

    noun: ClassVar[str] = "probabilities"


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """One class that the model sees.

    Attributes:
        index: Its number, from 0.
        score: As the model gave it, or as probability after softmax or sigmoid.
        label: Its name; None where nobody said.
    """

    index: int
    score: float
    label: str | None = None

    def named(self, label: str) -> Class:
        """The same with a name."""
        return replace(self, label=label)

    def to_json(self) -> dict[str, Any]:
        """``label`` only where there is one."""
        label = {} if self.label is None else {"label": self.label}
        return {**label, "index": self.index, "score": _plain(self.score)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes(Answer):
    """Classes, the best first.

    Attributes:
        found: May be empty where a threshold stands before.
    """

    noun: ClassVar[str] = "classes"

    found: tuple[Class, ...]

    def to_json(self) -> dict[str, Any]:
        """A list under ``classes``."""
        return {"classes": [item.to_json() for item in self.found]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """Something that the model sees at some place.

    Attributes:
        box: Where, in fractions of the picture that the model was fed; see ``Detections.inside``.
        index: The number of its class, from 0.
        score: How sure the model is.
        label: The name of its class; None where nobody said.
    """

    box: Box
    index: int
    score: float
    label: str | None = None

    def named(self, label: str) -> Detection:
        """The same with a name."""
        return replace(self, label=label)

    def to_json(self) -> dict[str, Any]:
        """``label`` only where there is one."""
        label = {} if self.label is None else {"label": self.label}
        return {
            **label,
            "index": self.index,
            "score": _plain(self.score),
            "box": {edge: _plain(getattr(self.box, edge)) for edge in _EDGES},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections(Answer):
    """Detections, the best first.

    Attributes:
        found: May be empty.
    """

    noun: ClassVar[str] = "detections"

    found: tuple[Detection, ...]

    def inside(self, part: Box) -> Detections:
        """The same in fractions of the picture of which the model was fed that part."""
        return Detections(found=tuple(replace(item, box=item.box.inside(part)) for item in self.found))

    def to_json(self) -> dict[str, Any]:
        """A list under ``detections``."""
        return {"detections": [item.to_json() for item in self.found]}


def _plain(number: float) -> float:
    if not math.isfinite(number):
        raise ModelError("the model gave NaN or infinity", hint="ask for its bare outputs as binary tensors")
    return float(f"{number:.7g}")


def _listed(array: NDArray[np.generic]) -> Any:
    if array.dtype.kind != "f":
        return array.tolist()
    digits = [_plain(number) for number in array.ravel().tolist()]
    return np.asarray(digits, dtype=object).reshape(array.shape).tolist()
