"""What single operators cost in another precision: each is measured by itself.

What a debugger finds at a layer is no measure, since a small error of an early layer can cost more than a large one of
a late layer. So the answers are what is compared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.compress.planner import plan
from tinsmith.compress.recovery.judging import Distance
from tinsmith.compress.recovery.rungs import alone_in, with_kept
from tinsmith.convert.equalization.opening import opened
from tinsmith.convert.predictors import SandboxedArtifact
from tinsmith.runtime.errors import ModelError, RecipeError
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tinsmith.compress.planner import Target
    from tinsmith.compress.recipe import Recipe
    from tinsmith.compress.running import Runner
    from tinsmith.convert.data import Dataset
    from tinsmith.convert.quantization import Kept

__all__ = ["OperatorCost", "operators_by_cost", "worst_operators"]

logger = logging.getLogger(__name__)

# Share of the operators that may be kept in another precision; of more the artifact would hardly be quantized at all.
_MOST_KEPT = 0.75
# Each costs a quantization; those that are louder to the debugger, or hold more weights, come first.
_MOST_MEASURED = 40
_SAMPLES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCost:
    """What it means to have one operator in a precision of fewer bits.

    Attributes:
        name: The first tensor that it computes.
        saved_bytes: Of the artifact; above 0.
        error: Mean squared distance of the answers from those that the recipe gives without this; at least 0.
    """

    name: str
    saved_bytes: int
    error: float


def operators_by_cost(
    runner: Runner, recipe: Recipe, target: Target, samples: Dataset, *, precision: Kept = "int8x4"
) -> tuple[OperatorCost, ...]:
    """Measure what each operator with weights costs, and saves, in a precision, all others as the recipe has them.

    Args:
        runner: Of the source; what it has run before is not run again.
        recipe: One that quantizes.
        target: The artifact's format.
        samples: To compare answers on; the first 256.
        precision: One that the operators do not have yet.

    Returns:
        Those that save something, the least error for each byte first: the first few are a good choice for ``keep``.
        Operators that can't have the precision are left out, and all but the 40 with the most weights.

    Raises:
        TinsmithError: The recipe itself can't be carried out.
    """
    before = runner.run(plan(runner.job.source, recipe, target), looks=False).model.path
    limit_s = runner.job.time_limit_s
    with SandboxedArtifact(before, Sandbox(time_limit_s=limit_s)) as reference:
        distance = Distance(reference, next(samples.batches(_SAMPLES)).feeds, time_limit_s=limit_s)
    found = []
    for name in _largest(runner, recipe, target):
        artifact = _made(runner, with_kept(recipe, [name], precision), target)
        saved_bytes = 0 if artifact is None else before.stat().st_size - artifact.stat().st_size
        if artifact is not None and saved_bytes > 0:
            found.append(OperatorCost(name=name, saved_bytes=saved_bytes, error=distance(artifact)))
    return tuple(sorted(found, key=lambda cost: cost.error / cost.saved_bytes))


def worst_operators(runner: Runner, recipe: Recipe, target: Target, error: Callable[[Path], float]) -> Sequence[str]:
    """The operators that cost most under a recipe, by the tensor that each computes, the worst first.

    Each is measured with all others in float32.

    Args:
        runner: Of the source.
        recipe: One that quantizes.
        target: The artifact's format.
        error: Of an artifact's answers; raises as what opens and runs it.
    """
    layers = runner.run(plan(runner.job.source, recipe, target)).layers
    if layers is None:
        return ()
    computed = [layer for layer in layers.worst_first if layer.operator != "input"]
    loudest = [layer.name for layer in computed if layer.harm_db is not None]
    logger.info("measuring what each of %d operators costs by itself", min(len(loudest), _MOST_MEASURED))
    costs = {}
    for name in loudest[:_MOST_MEASURED]:
        artifact = _made(runner, alone_in(recipe, name, loudest), target)
        if artifact is not None:
            costs[name] = error(artifact)
    worst = sorted(costs, key=lambda name: -costs[name])
    return worst[: round(_MOST_KEPT * len(worst))]


def _made(runner: Runner, recipe: Recipe, target: Target) -> Path | None:
    """The artifact of a recipe; None for what is no operator, or can't have the precision."""
    try:
        return runner.run(plan(runner.job.source, recipe, target), looks=False).model.path
    except (RecipeError, ModelError):
        return None


def _largest(runner: Runner, recipe: Recipe, target: Target) -> Sequence[str]:
    """The operators of what is to be quantized that hold most weights, the largest first."""
    sizes = sorted(_sizes(runner, recipe, target), key=lambda size: -size[1])
    logger.info("measuring what each of %d operators costs by itself", min(len(sizes), _MOST_MEASURED))
    return [name for name, _ in sizes[:_MOST_MEASURED]]


def _sizes(runner: Runner, recipe: Recipe, target: Target) -> Iterator[tuple[str, int]]:
    planned = plan(runner.job.source, recipe, target)
    at = [one.work.kind for one in planned].index("quantize")
    floats = runner.run(planned[:at], looks=False).model if at else runner.job.source
    with opened((floats if floats.is_artifact else runner.plain(planned, target)).path) as file:
        yield from ((layer.name, layer.weights.size) for layer in file.graph().layers)
