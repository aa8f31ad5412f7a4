"""``tinsmith compare``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result, table
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.files import check_writable

__all__ = ["compare"]


@click.command()
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--layers", is_flag=True, help="Layer by layer: a float model against what was made from it.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="With --layers: write an .html page with the plots here."
)
@options.data_option
@options.force_option("unsafe-layers")
@options.time_limit_option
@options.seed_option
@options.format_option
def compare(
    reference: Path,
    other: Path,
    layers: bool,
    output: Path | None,
    forced: tuple[str, ...],
    output_format: str,
    **settings: Any,
) -> None:
    """Show how far two models' answers lie apart."""
    settings["allow_unsafe"] = "unsafe-layers" in forced
    if layers:
        _compare_layers(reference, other, output, output_format, **settings)
        return
    if output is not None:
        raise UsageError("only a comparison of layers makes a page", hint="add --layers, or leave out --output")
    _compare_answers(reference, other, output_format, **settings)


def _compare_answers(reference: Path, other: Path, output_format: str, **settings: Any) -> None:
    from tinsmith.convert.comparison import compare_models

    compared = compare_models(reference, other, **settings)
    rows = [
        [d.output, f"{d.largest:.3g}", f"{d.mean:.3g}", "equal" if d.snr_db is None else f"{d.snr_db:.1f}"]
        for d in compared.differences
    ]
    same = "-" if compared.agreement is None else f"{compared.agreement:.2%}"
    view = [
        table(["output", "largest difference", "mean", "SNR dB"], rows),
        f"{other.name} against {reference.name} on {compared.origin}; same class named: {same}",
    ]
    print_result(output_format, {"comparison": compared.to_json()}, view)


def _compare_layers(reference: Path, other: Path, output: Path | None, output_format: str, **settings: Any) -> None:
    from tinsmith.convert.commands.layers_view import layers_view
    from tinsmith.convert.layers import compare_layers, write_page

    if output is not None:
        check_writable(output)
    compared = compare_layers(reference, other, **settings)
    view = layers_view(compared)
    if output is not None:
        write_page(output, compared, command=_command(reference, other, output, **settings))
        view.append(f"page: {output}")
    print_result(output_format, {"layers": compared.to_json()}, view)


def _command(reference: Path, other: Path, output: Path, **settings: Any) -> str:
    """What makes the page again."""
    words = ["tinsmith", "compare", str(reference), str(other), "--layers", "-o", str(output)]
    if settings["data"] is not None:
        words += ["--data", settings["data"]]
    if settings["seed"]:
        words += ["--seed", str(settings["seed"])]
    if settings["allow_unsafe"]:
        words += ["--force", "unsafe-layers"]
    return shlex.join(words)
