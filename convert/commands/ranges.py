"""``tinsmith ranges``: show, merge."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result

__all__ = ["ranges"]


@click.group()
def ranges() -> None:
    """Show and merge calibrations that `calibrate` has saved."""


@ranges.command()
@click.argument("calibration", type=click.Path(path_type=Path))
@click.option("--method", help="Show the range of each tensor by this method too, such as min-max.")
@options.format_option
def show(calibration: Path, method: str | None, output_format: str) -> None:
    """Show what each method makes of a calibration, and how stable its ranges are."""
    from tinsmith.convert.calibration import load_calibration, method_named
    from tinsmith.convert.commands.calibration_view import document_of, overview_of, tensors_of

    wanted = None if method is None else method_named(method)
    found = load_calibration(calibration)
    view = overview_of(found)
    if wanted is not None:
        view.append(tensors_of(found, wanted))
    print_result(output_format, {"calibration": document_of(found)}, view)


@ranges.command()
@click.argument("calibrations", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.output_option("The calibration to write, an .npz file.")
@options.format_option
def merge(calibrations: tuple[Path, ...], output: Path, output_format: str) -> None:
    """Join calibrations that were made on parts of the samples.

    The order of the files matters to moving averages only: later files count as later samples.
    """
    from tinsmith.convert.commands.calibration_view import document_of, overview_of
    from tinsmith.convert.observation import merge_calibrations

    found = merge_calibrations(calibrations, output)
    print_result(output_format, {"calibration": document_of(found)}, overview_of(found))
