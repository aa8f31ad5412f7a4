"""``tinsmith train``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.compress.commands.training import training_options
from tinsmith.compress.passes.finetune import FinetuneStep
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import facts, print_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from tinsmith.compress.train import Plan, Trained

__all__ = ["train"]

# Option: the type that click reads; all else of it stands in the step.
_SETTINGS: dict[str, Any] = {
    "epochs": int,
    "batch_size": int,
    "learning_rate": float,
    "warmup": float,
    "optimizer": str,
    "weight_decay": float,
    "patience": int,
    "augment": str,
    "freeze": str,
    "classes": int,
    "dropout": float,
}
_SEVERAL = ("augment", "freeze")


def _settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option a setting, with the description and the default of the recipe's step."""
    for name, kind in reversed(_SETTINGS.items()):
        field = FinetuneStep.model_fields[name]
        default = f"[default: {field.default}]" if field.default not in (None, ()) else ""
        function = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=kind,
            multiple=name in _SEVERAL,
            default=None,
            help=" ".join(filter(None, [field.description, default])) or None,
        )(function)
    return function


@click.command()
@click.argument("source", metavar="MODEL")
@click.option("--data", required=True, help=options.DATA_HELP)
@options.output_option("The model to write; ends in .keras.")
@_settings_options
@options.metric_option
@click.option("-n", "--dry-run", is_flag=True, help="Build the model, open the samples, and train nothing.")
@training_options
@options.force_option("unsafe-layers")
@options.seed_option
@options.format_option
def train(source: str, dry_run: bool, forced: tuple[str, ...], output_format: str, **given: Any) -> None:
    """Train a model of yours by its samples.

    MODEL is package.module:function, which takes no arguments and gives a Keras model, or a .keras or .h5 file to go on
    from.
    """
    from tinsmith.compress.train import TrainJob, plan_training, step_of
    from tinsmith.compress.train import train as carry_out

    job = TrainJob(
        source=source,
        data=given["data"],
        output=given["output"],
        step=step_of(_given_settings(given)),
        seed=given["seed"],
        metric=given["metric"],
        allow_unsafe="unsafe-layers" in forced,
        training=given["training"],
    )
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="tinsmith-") as folder:
            plan = plan_training(job, Path(folder))
        print_result(output_format, {"plan": plan.to_json()}, [facts(_planned(plan))])
        return
    trained = carry_out(job)
    print_result(output_format, {"training": trained.to_json()}, _view(trained))


def _given_settings(given: dict[str, Any]) -> dict[str, Any]:
    """What the user has set: everything else has its default in the step."""
    settings = {name: given[name] for name in _SETTINGS if given[name] not in (None, ())}
    if "freeze" in settings:
        settings["freeze"] = _layers(settings["freeze"])
    return settings


def _layers(said: tuple[str, ...]) -> int | str | tuple[str, ...]:
    """A number of layers, or their names."""
    if len(said) > 1:
        return said
    return int(said[0]) if said[0].removeprefix("-").isdecimal() else said[0]


def _view(trained: Trained) -> list[RenderableType]:
    written = f"{trained.output} ({trained.size_bytes:,} bytes, sha256 {trained.sha256[:16]}...)"
    return [facts([("model", written), *_planned(trained.plan), *trained.measured.items()])]


def _planned(plan: Plan) -> list[tuple[str, object]]:
    built = plan.built
    return [
        ("framework", built.framework),
        ("parameters", built.parameters),
        ("takes", ", ".join(f"{spec.name} {list(spec.shape)}" for spec in built.inputs)),
        ("gives", ", ".join(f"{spec.name} {list(spec.shape)}" for spec in built.outputs)),
        ("samples", f"{len(plan.dataset):,} of {plan.dataset.name}"),
    ]
