"""``tinsmith evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from tinsmith.convert.evaluation import Evaluation

__all__ = ["evaluate"]

_MOST_CLASSES = 10


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", required=True, help=options.DATA_HELP)
@options.metric_option
@options.force_option("unsafe-layers")
@options.time_limit_option
@options.format_option
def evaluate(
    models: tuple[Path, ...],
    data: str,
    metric: str | None,
    forced: tuple[str, ...],
    time_limit_s: float,
    output_format: str,
) -> None:
    """Measure a model's accuracy on labelled samples.

    Any other metric does as well. With several models, the first is the one that the others are compared with.
    """
    from tinsmith.convert.evaluation import evaluate_models

    evaluations = evaluate_models(
        models, data, metric=metric or "accuracy", allow_unsafe="unsafe-layers" in forced, time_limit_s=time_limit_s
    )
    first = evaluations[0]
    document = {
        "evaluations": [
            {"model": str(path), **found.to_json(), "agreement": _agreement(found, first)}
            for path, found in zip(models, evaluations, strict=True)
        ]
    }
    print_result(output_format, document, _view(models, evaluations))


def _view(models: Sequence[Path], evaluations: Sequence[Evaluation]) -> list[RenderableType]:
    first = evaluations[0]
    rows = [
        [path.name, found.samples, found.metric.text(found.score), _error(found), _share(_agreement(found, first))]
        for path, found in zip(models, evaluations, strict=True)
    ]
    columns = ["model", "samples", first.metric.name, "std. error", "same answer as the first"]
    view: list[RenderableType] = [table(columns, rows)]
    for path, found in zip(models, evaluations, strict=True):
        if found.classes:
            view += [_heading(path, found), _classes(found, first)]
    return view


def _heading(path: Path, found: Evaluation) -> str:
    left = len(found.classes) - _MOST_CLASSES
    return f"Classes of {path.name}, worst first" + (f" (--format json has {left:,} more)" if left > 0 else "") + ":"


def _classes(found: Evaluation, first: Evaluation) -> RenderableType:
    """The classes that were right least often; for all but the first model, how far that is from the first."""
    columns = ["class", "samples", "right", "accuracy"]
    rows: list[list[object]] = [
        [one.name, one.samples, one.correct, f"{one.accuracy:.2%}"] for one in found.worst_classes[:_MOST_CLASSES]
    ]
    was = {one.number: one.accuracy for one in first.classes}
    if found is first or not was:
        return table(columns, rows)
    for row, one in zip(rows, found.worst_classes, strict=False):
        row.append(_points(one.accuracy - was[one.number]))
    return table([*columns, "points against the first"], rows)


def _agreement(found: Evaluation, first: Evaluation) -> float | None:
    return found.agreement(first) if found.names_classes and first.names_classes else None


def _error(found: Evaluation) -> str:
    return "-" if found.standard_error is None else f"± {found.metric.text(found.standard_error)}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"
