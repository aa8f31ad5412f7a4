"""From a recipe and a model to the passes that will run, in order, with the one conversion put in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.compress.passes.base import QUANTITIES
from tinsmith.compress.passes.conversion import Convert, ConvertStep
from tinsmith.compress.passes.table import pass_of
from tinsmith.runtime.errors import RecipeError

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.compress.passes.base import Pass, Step
    from tinsmith.compress.recipe import Recipe
    from tinsmith.convert.model import Format, Model

__all__ = ["PlannedPass", "Target", "plan", "target_of"]

Target = Literal["tflite", "onnx"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPass:
    """A pass in its place.

    Attributes:
        step: What the recipe says, or the conversion that the planner put in.
        work: The code.
        inserted: Whether the planner put it in.
        takes: The format that goes in here.
        gives: The format that comes out here.
    """

    step: Step
    work: Pass
    inserted: bool
    takes: Format
    gives: Format

    def document(self) -> dict[str, Any]:
        """For reports and dry runs."""
        effects = self.step.effects
        return {
            **self.step.document(),
            "takes": self.takes,
            "gives": self.gives,
            "inserted": self.inserted,
            "needs": asdict(self.step.needs),
            "moves": [quantity for quantity in QUANTITIES if quantity in effects.moves],
            "remark": effects.remark,
        }


def target_of(recipe: Recipe, output: Path) -> Target:
    """The artifact's format: what the recipe says, or what the output's name says.

    Raises:
        RecipeError: They disagree, or neither says it.
    """
    suffixes: dict[str, Target] = {".tflite": "tflite", ".onnx": "onnx"}
    named = suffixes.get(output.suffix)
    if named is None:
        raise RecipeError(f"{output} names no artifact", hint="end it in .tflite or .onnx")
    if recipe.target not in (None, named):
        raise RecipeError(
            f"the recipe makes {recipe.target}, but the output is named {output.name}",
            hint=f"end --output in .{recipe.target}, or change `target` in the recipe",
        )
    return named


def plan(model: Model, recipe: Recipe, target: Target) -> tuple[PlannedPass, ...]:
    """Put the passes in order and the conversion before the first one that needs the target's format.

    Raises:
        RecipeError: A step can't take what the ones before it give, and no conversion mends that.
    """
    planned: list[PlannedPass] = []
    at: Format = model.format
    for number, step in enumerate(recipe.steps, start=1):
        work = pass_of(step, target)
        if at not in work.takes and target in work.takes and at != target:
            planned.append(_conversion(at, target))
            at = target
        if at not in work.takes:
            raise _out_of_order(number, work, at, planned)
        _refuse_undoing(number, work, planned)
        planned.append(PlannedPass(step=step, work=work, inserted=False, takes=at, gives=work.gives or at))
        at = work.gives or at
    if at != target:
        planned.append(_conversion(at, target))
    return tuple(planned)


def _refuse_undoing(number: int, work: Pass, planned: list[PlannedPass]) -> None:
    """A step that spoils what an earlier one made is out of order."""
    for earlier, before in enumerate(planned, start=1):
        for form in sorted(before.work.makes & work.undoes):
            said = {"sparse": "the zeros", "clustered": "the shared values", "integers": "the integers"}[form]
            raise RecipeError(
                f"step {number} ({work.kind}) would undo {said} that step {earlier} ({before.work.kind}) made",
                hint=f"put {work.kind} before {before.work.kind}"
                if work.kind != before.work.kind
                else f"leave one of the two {work.kind} steps out",
            )


def _conversion(at: Format, target: Target) -> PlannedPass:
    step = ConvertStep()
    work = Convert(step, target=target)
    if at not in work.takes:
        raise RecipeError(f"there is no way from {at} to {target}", hint="`tinsmith formats` lists the ways")
    return PlannedPass(step=step, work=work, inserted=True, takes=at, gives=target)


def _out_of_order(number: int, work: Pass, at: Format, planned: list[PlannedPass]) -> RecipeError:
    before = f"step {number - 1} ({planned[-1].work.kind})" if planned else "the model"
    return RecipeError(
        f"step {number} ({work.kind}) takes {' or '.join(sorted(work.takes))}, but {before} gives {at}",
        hint=f"move {work.kind} before the step that leaves {' or '.join(sorted(work.takes))}"
        if planned
        else f"start from another format; `tinsmith formats` lists the ways from {at}",
    )
