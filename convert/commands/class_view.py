"""How the accuracy of each class and slice is shown; ``evaluate`` and ``compress`` print the same tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.convert.slice_scores import FEW
from tinsmith.runtime.commands.output import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from tinsmith.convert.evaluation import Evaluation
    from tinsmith.convert.metrics import Metric
    from tinsmith.convert.slice_scores import SliceScore

__all__ = ["class_losses", "slice_losses", "worst_classes", "worst_slices"]

_MOST_ROWS = 10
_COLUMNS = ["class", "samples", "right", "accuracy"]


def worst_classes(found: Evaluation, name: str) -> list[RenderableType]:
    """The classes that were right least often; nothing for what is no classifier."""
    rows = [[one.name, one.samples, one.correct, f"{one.accuracy:.2%}"] for one in found.worst_classes]
    return _shown(f"Classes of {name}, worst first", _COLUMNS, rows)


def class_losses(found: Evaluation, before: Evaluation, name: str, *, against: str) -> list[RenderableType]:
    """The classes that lost most against another evaluation; nothing where one of them names no classes."""
    rows = [
        [one.name, one.samples, one.correct, f"{one.accuracy:.2%}", f"{100 * change:+.1f}"]
        for one, change in found.lost_by_class(before)
    ]
    return _shown(f"Classes of {name}, largest loss first", [*_COLUMNS, f"points against {against}"], rows)


def worst_slices(found: Evaluation, name: str) -> list[RenderableType]:
    """The slices with the worst score; nothing where the samples say of none."""
    shown = found.worst_slices
    rows = [_slice_row(one, found.metric) for one in shown]
    view = _shown(f"Slices of {name}, worst first", _slice_columns(found.metric), rows)
    return [*view, *_few(shown[:_MOST_ROWS])]


def slice_losses(found: Evaluation, before: Evaluation, name: str, *, against: str) -> list[RenderableType]:
    """The slices that lost most against another evaluation; nothing where there are none to compare."""
    losses = found.lost_by_slice(before)
    metric = found.metric
    unit = "points" if metric.in_points else metric.name
    rows = [[*_slice_row(one, metric), _change(change, metric)] for one, change in losses]
    columns = [*_slice_columns(metric), f"{unit} against {against}"]
    view = _shown(f"Slices of {name}, largest loss first", columns, rows)
    return [*view, *_few([one for one, _ in losses[:_MOST_ROWS]])]


def _slice_columns(metric: Metric) -> list[str]:
    return ["slice", "samples", metric.name, "std. error", ""]


def _slice_row(one: SliceScore, metric: Metric) -> list[object]:
    score = "-" if one.score is None else metric.text(one.score)
    error = "-" if one.standard_error is None else f"± {metric.text(one.standard_error)}"
    return [f"{one.column}={one.name}", one.samples, score, error, "few" if one.has_few else ""]


def _change(change: float, metric: Metric) -> str:
    return f"{100 * change:+.1f}" if metric.in_points else f"{metric.merit(change):+.4g}"


def _few(shown: Sequence[SliceScore]) -> list[RenderableType]:
    return [f"few: below {FEW} samples, a score says little by itself"] if any(one.has_few for one in shown) else []


def _shown(title: str, columns: list[str], rows: list[list[object]]) -> list[RenderableType]:
    if not rows:
        return []
    left = len(rows) - _MOST_ROWS
    more = f" (--format json has {left:,} more)" if left > 0 else ""
    return [f"{title}{more}:", table(columns, rows[:_MOST_ROWS])]
