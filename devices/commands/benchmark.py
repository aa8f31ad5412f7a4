"""``tinsmith benchmark``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.timing import runs_needed

if TYPE_CHECKING:
    from tinsmith.devices.benchmarking.effort import Effort
    from tinsmith.devices.benchmarking.report import Report

    _TextType = click.ParamType[float]
else:
    _TextType = click.ParamType

__all__ = ["benchmark"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class _Duration(_TextType):
    """Such as 10m, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        found = _DURATION.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no duration such as 10m, 600s or 1h", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-d", "--device", "names", multiple=True, default=("local",), show_default=True,
              help="A device, a group, a tag, or local; several are measured in turns.")  # fmt: skip
@click.option("--effort", "level", type=click.Choice(["rapid", "quick", "normal", "full"]), default="quick",
              show_default=True, help="How much is measured: 5, 15, 60 or 700 seconds a model.")  # fmt: skip
@click.option("--runs", type=click.IntRange(1), help="Timed runs in each process, instead of the effort's.")
@click.option("--processes", type=click.IntRange(1), help="Separate processes, instead of the effort's.")
@click.option("--sustained", "sustained_s", type=_Duration(), metavar="10m",
              help="Run for so long, to see what heat does to it.")  # fmt: skip
@click.option("--scenario", type=click.Choice(["single-stream", "offline"]), default="single-stream", show_default=True,
              help="As MLPerf has them: the latency of each run, or the throughput of all of them.")  # fmt: skip
@click.option("--instructions", is_flag=True,
              help="Count the instructions of an inference instead: `devices up --kind icount`.")  # fmt: skip
@click.option("--operators", is_flag=True, help="Tell how long each operator takes, where the engine does.")
@click.option(
    "--percentile",
    "percentiles",
    type=click.FloatRange(0, 100, min_open=True, max_open=True),
    multiple=True,
    help="Another percentile to show; refused where there are too few runs for it.",
)
@options.engine_option
@options.accelerator_option
@click.option("--threads", type=click.IntRange(1), help="CPU threads; the profile's unless given.")
@options.time_limit_option
@options.seed_option
@options.format_option
@click.pass_context
def benchmark(
    context: click.RichContext,
    /,
    artifacts: tuple[Path, ...],
    names: tuple[str, ...],
    percentiles: tuple[float, ...],
    output_format: str,
    level: str,
    runs: int | None,
    processes: int | None,
    sustained_s: float | None,
    instructions: bool,
    **plan: Any,
) -> None:
    """Measure how fast artifacts are on devices, honestly.

    Each artifact is loaded in several processes, in turns with the others; the interval of the median is over
    processes, every percentile needs enough runs to stand on (p90 64, p95 130, p99 662), and a verdict says whether
    something disturbed it. Exit code 5 where a device was lost: what was measured before is kept.
    """
    if instructions:
        from tinsmith.devices.commands.instructions import count_and_print

        count_and_print(context, artifacts, names, {**plan, "runs": runs, "processes": processes}, output_format)
        return
    from tinsmith.devices.benchmarking.benchmark import benchmark as measure
    from tinsmith.devices.benchmarking.effort import Plan
    from tinsmith.devices.commands.benchmark_view import Following, benchmark_view
    from tinsmith.devices.inventory import resolve_devices

    effort = _effort(level, runs=runs, processes=processes, sustained_s=sustained_s)
    _refuse_unsupported(percentiles, effort)
    devices = resolve_devices(names)
    with Following() as watch:
        report = measure(artifacts, devices, Plan(effort=effort, **plan), watch=watch)
    _refuse_empty(report)
    print_result(output_format, _document(report, percentiles), benchmark_view(report, percentiles))
    if report.exit_code:
        context.exit(report.exit_code)


def _effort(level: str, *, runs: int | None, processes: int | None, sustained_s: float | None) -> Effort:
    from tinsmith.devices.benchmarking.effort import EFFORTS, sustained

    if sustained_s is not None:
        if runs or processes:
            raise UsageError("--sustained takes no --runs and no --processes: it measures a process a minute")
        return sustained(sustained_s)
    effort = EFFORTS[level]
    effort = effort if processes is None else replace(effort, processes=processes)
    return effort if runs is None else effort.with_runs(runs)


def _refuse_unsupported(percentiles: tuple[float, ...], effort: Effort) -> None:
    for percent in percentiles:
        if effort.least_runs < runs_needed(percent) and not effort.name.startswith("sustained"):
            raise UsageError(
                f"p{percent:g} needs {runs_needed(percent)} runs, and {effort.least_runs} were asked for",
                hint=f"raise --effort, --runs or --processes, or drop p{percent:g}",
            )


def _refuse_empty(report: Report) -> None:
    """Where nothing was measured, the worst reason is all there is to say; others are named with it."""
    if report.measurements or report.worst is None:
        return
    others = [failure for failure in report.failures if failure.error is not report.worst]
    if not others:
        raise report.worst
    said = "; ".join(dict.fromkeys([report.worst.message, *(failure.error.message for failure in others)]))
    raise type(report.worst).revive(said, report.worst.hint)


def _document(report: Report, percentiles: tuple[float, ...]) -> dict[str, Any]:
    document = report.to_json()
    for measurement, said in zip(report.measurements, document["measurements"], strict=True):
        said |= {f"p{percent:g}_ms": measurement.percentile_ms(percent) for percent in percentiles}
    return document
