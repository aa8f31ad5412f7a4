"""``tinsmith compress``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.compress.commands.balance_view import balance_view
from tinsmith.compress.commands.budget import budget_facts, budget_options, refuse_misses
from tinsmith.compress.commands.moves import moved
from tinsmith.compress.commands.recovery_view import recovery_view
from tinsmith.compress.commands.training import training_options
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import facts, print_result, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import RenderableType

    from tinsmith.compress.compression import Compression
    from tinsmith.compress.planner import PlannedPass

__all__ = ["compress"]


@click.command()
@options.model_argument
@click.option("-r", "--recipe", "recipe_name", required=True, help="A built-in recipe, or the path of a .yaml file.")
@options.output_option("The artifact to write; ends in .tflite or .onnx.")
@options.data_option
@options.device_option
@options.metric_option
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a recipe: steps.0.io=int8.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@budget_options
@training_options
@options.force_option("unsafe-layers", "parity")
@options.time_limit_option
@options.seed_option
@options.format_option
def compress(
    model: Path,
    recipe_name: str,
    output: Path,
    data: str | None,
    metric: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    forced: tuple[str, ...],
    output_format: str,
    **settings: Any,
) -> None:
    """Make a model smaller by a recipe, and prove the cost."""
    from tinsmith.compress.compression import compress as carry_out
    from tinsmith.compress.recipe import load_recipe
    from tinsmith.convert.delivery import Allowances

    recipe = load_recipe(recipe_name, overrides=overrides)
    if dry_run:
        _print_plan(model, recipe, output, output_format)
        return
    allow = Allowances(unsafe_layers="unsafe-layers" in forced, parity="parity" in forced)
    made = carry_out(model, recipe, output, data=data, metric=metric, allow=allow, **settings)
    print_result(output_format, {"compression": made.to_json()}, _view(made))
    refuse_misses(made.misses, output, as_json=output_format == "json")


def _print_plan(model: Path, recipe: Any, output: Path, output_format: str) -> None:
    from tinsmith.compress.planner import plan, target_of
    from tinsmith.convert.model import identify

    planned = plan(identify(model), recipe, target_of(recipe, output))
    columns = ["step", "kind", "takes", "gives", "put in by", "needs", "moves"]
    rows = [[number, *_planned(p)] for number, p in enumerate(planned, start=1)]
    remarks = [f"{p.work.kind}: {p.step.effects.remark}" for p in planned if p.step.effects.remark]
    print_result(output_format, {"plan": [p.document() for p in planned]}, [table(columns, rows), *remarks])


def _planned(p: PlannedPass) -> list[object]:
    put_in_by = "planner" if p.inserted else "recipe"
    return [p.work.kind, p.takes, p.gives, put_in_by, p.step.needs, moved(p.step.effects.moves)]


def _view(made: Compression) -> list[RenderableType]:
    from tinsmith.convert.commands.hygiene_view import hygiene_facts
    from tinsmith.convert.commands.proof_view import proof_facts

    artifact = made.delivery.artifact
    climbed = [] if made.climb is None else recovery_view(made.climb)
    ratio = artifact.total_bytes / made.source_bytes
    shown = [
        ("source", f"{made.source.path} ({made.source.format}, {made.source_bytes:,} bytes)"),
        ("artifact", f"{artifact.path} ({artifact.total_bytes:,} bytes, {ratio:.2f} of the source)"),
        ("beside it", ", ".join(f"{file.name} ({file.size_bytes:,} bytes of these)" for file in artifact.data)),
        ("passes", " → ".join(p.work.kind for p in made.passes) or "none"),
        *((passed.work.kind, _found(measured)) for passed, measured in zip(made.passes, made.measured, strict=True)),
        *proof_facts(made.delivery.proof),
        *made.delivery.suitability.facts(),
        *(() if made.hygiene is None else hygiene_facts(made.hygiene)),
        *budget_facts(made.verdicts),
    ]
    return [facts([(name, said) for name, said in shown if said]), *balance_view(made.balance), *climbed]


def _found(measured: Mapping[str, float | str]) -> str:
    """What a pass found out, in one line; what was counted before and after as one, and not at all where it stayed."""
    said = []
    for name, value in measured.items():
        stem = name.removesuffix(" before").removesuffix(" after")
        pair = f"{stem} before", f"{stem} after"
        if not all(key in measured for key in pair):
            said.append(f"{name}: {_figure(value)}")
        elif name == pair[1] and value != measured[pair[0]]:
            said.append(f"{stem}: {_figure(measured[pair[0]])} → {_figure(value)}")
    return "; ".join(said)


def _figure(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
