"""How a climb of the recovery ladder is shown: what was tried, what it brought, and what was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.commands.output import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tinsmith.compress.recovery import Climb, Trial

__all__ = ["recovery_view"]

_COLUMNS = ["tried", "score", "agreement", "bytes", "seconds", ""]


def recovery_view(climb: Climb) -> list[RenderableType]:
    """Every trial in order; the one that was taken is marked."""
    taken = climb.trials.index(climb.best)
    rows: list[list[object]] = [_row(trial, chosen=at == taken) for at, trial in enumerate(climb.trials)]
    view: list[RenderableType] = ["", "The recovery ladder, each rung on top of those that brought something:"]
    view.append(table(_COLUMNS, rows))
    if climb.ended:
        view.append(f"The budget was not met: {climb.ended}. {_would_take(climb)}")
    return view


def _row(trial: Trial, *, chosen: bool) -> list[object]:
    score = "-" if trial.score is None else f"{trial.score:.4g}"
    agreement = "-" if trial.agreement is None else f"{trial.agreement:.2%}"
    size = f"{trial.size_bytes:,}" if trial.size_bytes else "-"
    said = "taken" if chosen and trial.met else "the best" if chosen else ""
    remark = "; ".join(part for part in (said, trial.remark) if part)
    return [trial.name, score, agreement, size, f"{trial.seconds:.1f}", remark]


def _would_take(climb: Climb) -> str:
    """What would have to change for it to be met."""
    from tinsmith.compress.recovery import LEAST_VALIDATION

    kinds = {step.kind for step in climb.recipe.steps}
    trained = "quantize-aware" in kinds or any("training" in trial.name for trial in climb.trials)
    ways = []
    if climb.limit:
        left = "other ways" if trained or not climb.trainable else "training with the rounding in place"
        ways.append(f"a larger --{climb.limit}, which leaves room for {left}")
    ways.append("a looser budget, which the table's last column measures")
    if not trained and not climb.trainable:
        samples = f"labelled samples, {LEAST_VALIDATION} of them to judge by"
        ways.append(f"the trained model with {samples}, so that it can learn with the rounding in place")
    ways.append("16-bit activations everywhere (scheme int16x8), or float16")
    return f"It would take {', or '.join(ways)}."
