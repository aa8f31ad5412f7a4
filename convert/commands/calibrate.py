"""``tinsmith calibrate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.convert.calibration import Calibration
    from tinsmith.convert.observation import Part

__all__ = ["calibrate"]


@click.command()
@options.model_argument
@click.option("--data", required=True, help=options.DATA_HELP)
@options.output_option("The calibration to write, an .npz file.")
@click.option("--part", metavar="K/N", help="Run only the K-th of N shares of the samples, for N workers at once.")
@options.scheduler_option
@options.time_limit_option
@options.seed_option
@options.format_option
def calibrate(
    model: Path,
    data: str,
    output: Path,
    part: str | None,
    scheduler: str | None,
    output_format: str,
    **settings: Any,
) -> None:
    """Observe a float .tflite or .onnx on samples, and save its ranges.

    The file serves every method: `steps.N.ranges=FILE` gives it to a quantize step, `tinsmith ranges` shows and merges.
    """
    from tinsmith.convert.commands.calibration_view import document_of, overview_of

    if scheduler is None:
        from tinsmith.convert.observation import calibrate as observe

        found = observe(model, data, output, part=_part(part), **settings)
    else:
        found = _divided(scheduler, part, model, data, output, **settings)
    print_result(output_format, {"calibration": document_of(found)}, overview_of(found))


def _divided(scheduler: str, part: str | None, *job: Any, **settings: Any) -> Calibration:
    from tinsmith.convert.cluster import Cluster
    from tinsmith.convert.divided import calibrate_divided

    if part is not None:
        raise UsageError("--part is for workers that you start by yourself; leave it out with --scheduler")
    with Cluster(scheduler) as cluster:
        return calibrate_divided(cluster, *job, **settings)


def _part(said: str | None) -> Part | None:
    from tinsmith.convert.observation import Part

    if said is None:
        return None
    number, _, of = said.partition("/")
    if not (number.isdecimal() and of.isdecimal()):
        raise UsageError(f"--part takes K/N, such as 2/4, not {said!r}")
    return Part(number=int(number), of=int(of))
