"""``tinsmith evaluate``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result, table

__all__ = ["evaluate"]


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", required=True, help=options.DATA_HELP)
@options.force_option("unsafe-layers")
@options.time_limit_option
@options.format_option
def evaluate(
    models: tuple[Path, ...], data: str, forced: tuple[str, ...], time_limit_s: float, output_format: str
) -> None:
    """Measure a model's accuracy on labelled samples.

    With several models, the first is the one that the others are compared with.
    """
    from tinsmith.convert.evaluation import evaluate_models

    evaluations = evaluate_models(models, data, allow_unsafe="unsafe-layers" in forced, time_limit_s=time_limit_s)
    first = evaluations[0]
    rows = [
        [
            path.name,
            e.samples,
            f"{e.accuracy:.2%}",
            f"± {e.standard_error:.2%}",
            f"{e.agreement(first):.2%}",
        ]
        for path, e in zip(models, evaluations, strict=True)
    ]
    document = {
        "evaluations": [
            {"model": str(path), **e.to_json(), "agreement": e.agreement(first)}
            for path, e in zip(models, evaluations, strict=True)
        ]
    }
    columns = ["model", "samples", "accuracy", "std. error", f"same answer as {models[0].name}"]
    print_result(output_format, document, [table(columns, rows)])
