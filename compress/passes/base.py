"""What every pass has in common.

A pass takes a model on disk and gives another one; the one it was given is never changed. ``apply`` runs the three
parts in order and holds the pass to what it declares:

========  ==============================================================================================
requires  whether the pass can work here; raises before anything was done
run       the work; writes below the workbench's folder
ensures   whether the result is what the pass promised; raises when it is not
========  ==============================================================================================
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final, get_args

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.compress.bench import Bench
    from tinsmith.convert.layers import LayerReport
    from tinsmith.convert.model import Format, Model
    from tinsmith.convert.parity import Tolerance

__all__ = ["QUANTITIES", "Effects", "Form", "Needs", "Pass", "PassDefectError", "PassResult", "Quantity", "Step"]

logger = logging.getLogger(__name__)


# What a pass can move: the file; the same deflated, as a download costs it; weights and graph on the device; peak
# memory while it runs; time a run; how often it is right.
Quantity = Literal["file", "zip", "flash", "ram", "latency", "accuracy"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)


# What weights can be brought into, and what a later pass can spoil.
Form = Literal["sparse", "clustered", "integers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a user must bring, besides the model.

    Attributes:
        data: Samples.
        labels: What each sample should be answered with.
        training: Minutes to hours: weights are trained.
    """

    data: bool = False
    labels: bool = False
    training: bool = False

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            data=self.data or other.data,
            labels=self.labels or other.labels,
            training=self.training or other.training,
        )

    def __str__(self) -> str:
        named = [name for name in ("data", "labels", "training") if getattr(self, name)]
        return ", ".join(named) or "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What a step is going to move; said before it runs, and held against what it did afterwards.

    Attributes:
        moves: Quantities that change; all others stay as they are.
        remark: Under which condition, or why something stays that people expect to move.
    """

    moves: frozenset[Quantity]
    remark: str = ""


class Step(BaseModel):
    """One step of a recipe: what to do, without knowing to which model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str

    @property
    def needs(self) -> Needs:
        """What it can't do without."""
        return Needs()

    @property
    def effects(self) -> Effects:
        """What it moves."""
        return Effects(moves=frozenset())

    def document(self) -> dict[str, Any]:
        """The step in full, defaults included."""
        return self.model_dump(mode="json")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """What a pass gives.

    Attributes:
        model: The new model; the one that went in, if nothing was to be done.
        modified: Whether it is another model than went in.
        measured: What the pass found out, by name, for the report.
        stands_for: The trained model that ``model`` holds the answers of, where training has moved them: what an
            artifact is proven against from here on. None where the answers are still those of what went in.
        layers: What the pass did to each layer's numbers; None where it has not looked.
    """

    model: Model
    modified: bool
    measured: Mapping[str, float | str] = field(default_factory=dict)
    stands_for: Model | None = None
    layers: LayerReport | None = None


class PassDefectError(RuntimeError):
    """A pass does not do what it declares; a defect of the pass, not of the user's model."""


class Pass(ABC):
    """One kind of change to a model.

    Attributes:
        kind: The step's name in a recipe.
        reads: The class of step that it carries out.
        degrades: Whether the model is worse afterwards, so that the one before is the better teacher.
        makes: Forms that it brings the weights into.
        undoes: Forms that are lost when it runs on a model that has them.
    """

    kind: ClassVar[str]
    reads: ClassVar[type[Step]]
    degrades: ClassVar[bool] = False
    makes: ClassVar[frozenset[Form]] = frozenset()
    undoes: ClassVar[frozenset[Form]] = frozenset()

    @abstractmethod
    def __init__(self, step: Any, *, target: Literal["tflite", "onnx"]) -> None:
        """Take a step of the class ``reads``; raises ``RecipeError`` where it can't work towards the target."""

    @property
    @abstractmethod
    def takes(self) -> frozenset[Format]:
        """The formats that can go in."""

    @property
    @abstractmethod
    def gives(self) -> Format | None:
        """The format that comes out; None for the one that went in."""

    @property
    @abstractmethod
    def tolerance(self) -> Tolerance:
        """How far the pass may move the model's answers."""

    def preload(self) -> None:  # noqa: B027 - most passes import little
        """Import what ``run`` will need, while nobody waits for it; raises ``MissingDependencyError``."""

    def requires(self, model: Model, bench: Bench) -> None:  # noqa: B027 - most passes have nothing to ask
        """Raise a ``TinsmithError`` when the pass can't work on this model or without this data."""

    @abstractmethod
    def run(self, model: Model, bench: Bench) -> PassResult:
        """Do the work, and give a new model below ``bench.folder``."""

    def ensures(self, model: Model, result: PassResult) -> None:  # noqa: B027 - as requires
        """Raise a ``VerificationError`` when the result is not what was promised."""

    @final
    def apply(self, model: Model, bench: Bench) -> PassResult:
        """Run all three parts.

        Raises:
            TinsmithError: The pass can't work here, or its promise did not hold.
            PassDefectError: Pass developer: the result breaks what the pass declares.
        """
        self.requires(model, bench)
        logger.debug("%s.started on %s", self.kind, model.path.name)
        started = time.perf_counter()
        result = self.run(model, bench)
        logger.debug("%s.done in %.2f s", self.kind, time.perf_counter() - started)
        self._hold(model, result)
        self.ensures(model, result)
        return result

    def _hold(self, model: Model, result: PassResult) -> None:
        if result.model.format != (self.gives or model.format):
            raise PassDefectError(
                f"Pass developer: {self.kind} declares that it gives {self.gives or model.format}, "
                f"and gave {result.model.format}"
            )
        if result.modified == (result.model.path == model.path):
            raise PassDefectError(
                f"Pass developer: {self.kind} says modified={result.modified}, "
                f"but its model lies at {result.model.path}"
            )
