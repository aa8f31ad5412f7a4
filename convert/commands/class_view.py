"""How the accuracy of each class is shown; ``evaluate`` and ``compress`` print the same table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.commands.output import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tinsmith.convert.evaluation import Evaluation

__all__ = ["class_losses", "worst_classes"]

_MOST_CLASSES = 10
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


def _shown(title: str, columns: list[str], rows: list[list[object]]) -> list[RenderableType]:
    if not rows:
        return []
    left = len(rows) - _MOST_CLASSES
    more = f" (--format json has {left:,} more)" if left > 0 else ""
    return [f"{title}{more}:", table(columns, rows[:_MOST_CLASSES])]
