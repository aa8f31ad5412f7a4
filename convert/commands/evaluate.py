"""``tinsmith evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.convert.commands.class_view import class_losses, slice_losses, worst_classes, worst_slices
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result, table
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from tinsmith.convert.evaluation import Evaluation

__all__ = ["evaluate"]


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", required=True, help=options.DATA_HELP)
@click.option("-d", "--device", "names", multiple=True,
              help="Run artifacts there as well: a device, a group or a tag.")  # fmt: skip
@options.scheduler_option
@options.metric_option
@options.force_option("unsafe-layers")
@options.time_limit_option
@options.seed_option
@options.format_option
@click.pass_context
def evaluate(
    context: click.RichContext,
    /,
    models: tuple[Path, ...],
    data: str,
    names: tuple[str, ...],
    scheduler: str | None,
    metric: str | None,
    forced: tuple[str, ...],
    time_limit_s: float,
    seed: int,
    output_format: str,
) -> None:
    """Measure a model's accuracy on labelled samples.

    Any other metric does as well. With several models, the first is the one that the others are compared with. Where
    the samples are split, those for testing are taken, or else those for validation; --seed is that of the split.

    With --device the samples go there as this machine's preprocessing gives them, and the answers come back: exit code
    5 where a device was lost, and what it had answered is shown.
    """
    if names and scheduler:
        raise UsageError("--device and --scheduler say two places to run models at", hint="leave one of them out")
    if names:
        from tinsmith.convert.commands.evaluate_view import elsewhere_document, elsewhere_view
        from tinsmith.convert.elsewhere import evaluate_elsewhere

        there = context.obj.answers_of(names, time_limit_s=time_limit_s)
        found = evaluate_elsewhere(models, data, there, metric=metric, time_limit_s=time_limit_s, seed=seed)
        print_result(output_format, elsewhere_document(models, found), elsewhere_view(models, found))
        context.exit(max(one.exit_code for one in found))
    limits: Any = {"allow_unsafe": "unsafe-layers" in forced, "time_limit_s": time_limit_s, "seed": seed}
    evaluations = _evaluations(scheduler, models, data, metric=metric, **limits)
    first = evaluations[0]
    document = {
        "evaluations": [
            {"model": str(path), **found.to_json(), "agreement": _agreement(found, first), "lost": _lost(found, first)}
            for path, found in zip(models, evaluations, strict=True)
        ]
    }
    print_result(output_format, document, _view(models, evaluations))


def _evaluations(scheduler: str | None, *asked: Any, **limits: Any) -> list[Evaluation]:
    if scheduler is None:
        from tinsmith.convert.evaluation import evaluate_models

        return evaluate_models(*asked, **limits)
    from tinsmith.convert.cluster import Cluster
    from tinsmith.convert.divided import evaluate_divided

    with Cluster(scheduler) as cluster:
        return evaluate_divided(cluster, *asked, **limits)


def _view(models: Sequence[Path], evaluations: Sequence[Evaluation]) -> list[RenderableType]:
    first = evaluations[0]
    rows = [
        [path.name, found.samples, found.metric.text(found.score), _error(found), _share(_agreement(found, first))]
        for path, found in zip(models, evaluations, strict=True)
    ]
    columns = ["model", "samples", first.metric.name, "std. error", "same answer as the first"]
    name = models[0].name
    view: list[RenderableType] = [table(columns, rows), f"on {first.data}"]
    view += [*worst_classes(first, name), *worst_slices(first, name)]
    for path, found in zip(models[1:], evaluations[1:], strict=True):
        losses = class_losses(found, first, path.name, against="the first")
        view += losses or worst_classes(found, path.name)
        view += slice_losses(found, first, path.name, against="the first") or worst_slices(found, path.name)
    return view


def _lost(found: Evaluation, first: Evaluation) -> dict[str, Any]:
    """What each class and slice gained against the first model, the largest loss first."""
    return {
        "classes": [{"class": one.name, "change": change} for one, change in found.lost_by_class(first)],
        "slices": [
            {"column": one.column, "slice": one.name, "change": change} for one, change in found.lost_by_slice(first)
        ],
    }


def _agreement(found: Evaluation, first: Evaluation) -> float | None:
    return found.agreement(first) if found.names_classes and first.names_classes else None


def _error(found: Evaluation) -> str:
    return "-" if found.standard_error is None else f"± {found.metric.text(found.standard_error)}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
