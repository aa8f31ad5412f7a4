"""What can be changed about a recipe that loses too much: a union of small dataclasses, one a kind of rung.

Each makes another recipe, or none where it does not apply; whoever runs the recipe gets the same bytes again, without
any ladder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.compress.passes.bn_recalibrate import BnRecalibrateStep
from tinsmith.compress.passes.equalize import EqualizeStep
from tinsmith.compress.passes.quantization import QuantizeStep
from tinsmith.compress.passes.quantize_aware import QuantizeAwareStep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tinsmith.compress.passes.base import Step
    from tinsmith.compress.recipe import Recipe
    from tinsmith.convert.quantization import Kept

__all__ = [
    "CorrectBiases",
    "Equalize",
    "KeepWorst",
    "OtherRanges",
    "RecalibrateBatchNorm",
    "RoundTogether",
    "Rung",
    "TrainAware",
    "alone_in",
    "ever_more",
    "quantizes",
    "with_kept",
]

_AWARE_EPOCHS = 3
# Operators that are added to those that are kept; more would keep some for nothing.
_MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalibrateBatchNorm:
    """Measure batch-norm statistics again, before anything else, where the model still has them."""

    name = "batch-norm recalibration"

    def change(self, recipe: Recipe) -> Recipe | None:
        """None where the recipe does it already, or trains and so does it by itself."""
        kinds = {step.kind for step in recipe.steps}
        if "bn-recalibrate" in kinds or recipe.needs.training:
            return None
        return _with_steps(recipe, [BnRecalibrateStep(), *recipe.steps])


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRanges:
    """Take ranges from the same samples by another method.

    Attributes:
        method: Its name.
    """

    method: str

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.method} ranges"

    def change(self, recipe: Recipe) -> Recipe | None:
        """None where the recipe has this method."""
        return _with_quantize(recipe, calibration=self.method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalize:
    """Give the channels of each tensor alike ranges, by scaling what makes and what reads them."""

    name = "cross-layer equalization"

    def change(self, recipe: Recipe) -> Recipe | None:
        """None where the recipe does it, or quantizes nothing."""
        at = _quantize_at(recipe)
        if at is None or any(step.kind == "equalize" for step in recipe.steps):
            return None
        return _with_steps(recipe, [*recipe.steps[:at], EqualizeStep(), *recipe.steps[at:]])


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTogether:
    """Round weights so that each layer's outputs move least, and not each weight by itself."""

    name = "better rounding"

    def change(self, recipe: Recipe) -> Recipe | None:
        """None where the recipe does it."""
        return _with_quantize(recipe, rounding="second-order")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectBiases:
    """Take the mean error that quantization adds to each channel out of its bias."""

    name = "bias correction"

    def change(self, recipe: Recipe) -> Recipe | None:
        """None where the recipe does it."""
        return _with_quantize(recipe, correct_biases=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepWorst:
    """Leave the operators that lose most out of the scheme.

    Attributes:
        operators: By the first tensor that each computes, the worst first.
        precision: What they are kept in.
    """

    operators: Sequence[str]
    precision: Kept

    @property
    def name(self) -> str:
        """For reports."""
        return f"the {len(self.operators)} worst in {self.precision}" if len(self.operators) > 1 else (
            f"the worst, {self.operators[0]}, in {self.precision}"
        )  # fmt: skip

    def change(self, recipe: Recipe) -> Recipe | None:
        """None where they are kept so already."""
        changed = with_kept(recipe, self.operators, self.precision)
        return None if changed == recipe else changed


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainAware:
    """Train on, with the rounding in place, for a few epochs."""

    name = "quantization-aware training"

    def change(self, recipe: Recipe) -> Recipe | None:
        """None where the recipe trains so already."""
        at = _quantize_at(recipe)
        if at is None:
            return None
        step = recipe.steps[at]
        assert isinstance(step, QuantizeStep)
        aware = QuantizeAwareStep(epochs=_AWARE_EPOCHS, io=step.io)
        before = [one for one in recipe.steps[:at] if one.kind != "equalize"]
        return _with_steps(recipe, [*before, aware, *recipe.steps[at + 1 :]])


Rung = RecalibrateBatchNorm | OtherRanges | Equalize | RoundTogether | CorrectBiases | KeepWorst | TrainAware


def quantizes(recipe: Recipe) -> bool:
    """Whether a recipe has a step that the ladder can work on: static quantization."""
    return _quantize_at(recipe) is not None


def with_kept(recipe: Recipe, operators: Sequence[str], precision: Kept) -> Recipe:
    """The recipe with some operators in a precision of their own, beside those that have one.

    Args:
        recipe: One that quantizes.
        operators: By the first tensor that each computes.
        precision: Theirs.
    """
    return _with_quantize(recipe, keep={**_kept(recipe), **dict.fromkeys(operators, precision)}) or recipe


def alone_in(recipe: Recipe, operator: str, others: Sequence[str]) -> Recipe:
    """The recipe with one operator quantized and all the others in float32, biases as they are: what it costs alone.

    Args:
        recipe: One that quantizes.
        operator: By the first tensor that it computes.
        others: All of them; the operator may be among them.
    """
    own = {name: precision for name, precision in _kept(recipe).items() if name == operator}
    kept: Mapping[str, Kept] = {**dict.fromkeys([name for name in others if name != operator], "float32"), **own}
    return _with_quantize(recipe, keep=kept, correct_biases=False) or recipe


def ever_more(operators: Sequence[str]) -> Iterator[Sequence[str]]:
    """The worst one, two, four and eight, and four more each time from there, up to all."""
    count = 1
    while count < len(operators):
        yield operators[:count]
        count += min(count, _MOST_AT_ONCE)
    if operators:
        yield operators


def _quantize_at(recipe: Recipe) -> int | None:
    for at, step in enumerate(recipe.steps):
        if isinstance(step, QuantizeStep) and step.typed_scheme().static:
            return at
    return None


def _kept(recipe: Recipe) -> Mapping[str, Kept]:
    at = _quantize_at(recipe)
    step = None if at is None else recipe.steps[at]
    return step.keep if isinstance(step, QuantizeStep) else {}


def _with_quantize(recipe: Recipe, **changes: Any) -> Recipe | None:
    at = _quantize_at(recipe)
    if at is None:
        return None
    step = recipe.steps[at]
    changed = type(step).model_validate({**step.document(), **changes})
    if changed == step:
        return None
    return _with_steps(recipe, [*recipe.steps[:at], changed, *recipe.steps[at + 1 :]])


def _with_steps(recipe: Recipe, steps: Sequence[Step]) -> Recipe:
    return recipe.model_copy(update={"steps": tuple(steps)})
