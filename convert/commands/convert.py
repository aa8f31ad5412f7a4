"""``tinsmith convert``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.convert.commands.proof_view import proof_facts
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import facts, print_result

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["convert"]


@click.command()
@options.model_argument
@options.output_option("The artifact to write; ends in .tflite or .onnx.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Of the weights; integers come with `tinsmith compress`.",
)
@click.option("--batch", type=click.IntRange(1), help="Fix the batch axis at this length; free unless given.")
@options.data_option
@options.device_option
@options.force_option("unsafe-layers", "parity")
@options.time_limit_option
@options.seed_option
@options.format_option
def convert(model: Path, output: Path, forced: tuple[str, ...], output_format: str, **settings: Any) -> None:
    """Turn a model into TFLite or ONNX, and prove it equal."""
    from tinsmith.convert.conversion import convert as change_format
    from tinsmith.convert.delivery import Allowances

    allow = Allowances(unsafe_layers="unsafe-layers" in forced, parity="parity" in forced)
    delivered = change_format(model, output, allow=allow, **settings)
    artifact = delivered.artifact
    shown = [("artifact", f"{artifact.path} ({artifact.total_bytes:,} bytes)"), *proof_facts(delivered.proof)]
    shown += delivered.suitability.facts()
    print_result(output_format, {"conversion": delivered.to_json()}, [facts(shown)])
