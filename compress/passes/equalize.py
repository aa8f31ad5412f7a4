"""Equalize: channels of one tensor reach alike, so that one scale serves all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tinsmith.compress.passes.base import Effects, Needs, Pass, PassResult, Step
from tinsmith.convert.model import Model
from tinsmith.convert.parity import FLOAT32

if TYPE_CHECKING:
    from tinsmith.compress.bench import Bench
    from tinsmith.convert.equalization import Equalized, Rule
    from tinsmith.convert.model import Format
    from tinsmith.convert.parity import Tolerance

__all__ = ["EqualizePass", "EqualizeStep"]

_LISTED = 5


class EqualizeStep(Step):
    """Scale the channels between layers against each other; the answers stay, and int8 loses less afterwards."""

    kind: Literal["equalize"] = "equalize"
    by: Literal["activations", "weights"] = Field(
        default="activations",
        description="What is made even: the channels' values on samples, or their weights, which needs no samples.",
    )

    @property
    def needs(self) -> Needs:
        """Samples to see activations."""
        return Needs(data=self.by == "activations")

    @property
    def effects(self) -> Effects:
        """Nothing by itself."""
        return Effects(moves=frozenset(), remark="it prepares for quantize")


class EqualizePass(Pass):
    """See ``convert.equalization.equalize``."""

    kind: ClassVar[str] = "equalize"
    reads = EqualizeStep
    undoes = frozenset(["clustered"])

    def __init__(self, step: EqualizeStep, *, target: Literal["tflite", "onnx"]) -> None:
        self._step, self._target = step, target

    @property
    def takes(self) -> frozenset[Format]:
        """A float artifact."""
        return frozenset([self._target])

    @property
    def gives(self) -> Format | None:
        """The same."""
        return self._target

    @property
    def tolerance(self) -> Tolerance:
        """Other numbers, added up to the same."""
        return FLOAT32

    def run(self, model: Model, bench: Bench) -> PassResult:
        """Scale; a model that is even already comes out as it went in."""
        from tinsmith.convert.equalization import equalize

        output = bench.place(f"equalized.{self._target}")
        found = equalize(model.path, output, self._rule(model, bench))
        if not found.rounds:
            return PassResult(model=model, modified=False, measured=_measured(found))
        return PassResult(model=Model(path=output, format=model.format), modified=True, measured=_measured(found))

    def _rule(self, model: Model, bench: Bench) -> Rule:
        from tinsmith.convert.equalization import ByWeights, channel_reaches

        if self._step.by == "weights":
            return ByWeights()
        return channel_reaches(model.path, bench.calibrating())


def _measured(found: Equalized) -> dict[str, float | str]:
    widest = found.widest()[:_LISTED]
    return {
        "pairs evened": len(found.pairs),
        "most uneven": "; ".join(f"{pair.seen} {pair.before:,.0f} times" for pair in widest) or "none",
        "left alone": len(found.blocked),
    }
