"""``tinsmith benchmark``."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result
from tinsmith.runtime.errors import OutputError, UsageError
from tinsmith.runtime.files import check_outputs
from tinsmith.runtime.intervals import LEAST_PROCESSES
from tinsmith.runtime.timing import runs_needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.devices.benchmarking.earlier import Earlier
    from tinsmith.devices.benchmarking.effort import Effort, Plan
    from tinsmith.devices.benchmarking.findings import Findings
    from tinsmith.devices.benchmarking.report import Report
    from tinsmith.devices.benchmarking.subject import Subject
    from tinsmith.devices.device import Device

    _TextType = click.ParamType[float]
else:
    _TextType = click.ParamType

__all__ = ["benchmark"]

_logger = logging.getLogger("tinsmith.devices.benchmarking")
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
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path), metavar="MODEL...")
@click.option("-d", "--device", "names", multiple=True, show_default="local",
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
@click.option("--against", metavar="MODEL|result.json",
              type=click.Path(path_type=Path),
              help="Compare with another model, measured in turns with it, or with what -o wrote earlier; "
                   "exit code 1 where it is slower beyond doubt.")  # fmt: skip
@click.option("--fail-if", "thresholds", multiple=True, metavar="p90>12ms",
              help="Exit code 1 where a measurement crosses this: percentiles, median, load, first, throughput, "
                   "energy, peak or size, with a unit.")  # fmt: skip
@click.option("-o", "--output", "outputs", multiple=True, type=click.Path(path_type=Path),
              help="Write what was found as .json, .md, .csv or .html; may be given several times.")  # fmt: skip
@click.option("--history", "earlier", is_flag=True,
              help="Measure nothing: list and plot earlier measurements, of MODEL and -d where given.")  # fmt: skip
@options.engine_option
@options.accelerator_option
@click.option("--threads", type=click.IntRange(1), help="CPU threads; the profile's unless given.")
@options.time_limit_option
@options.force_option("other-model")
@options.seed_option
@options.format_option
@click.pass_context
def benchmark(
    context: click.RichContext,
    /,
    artifacts: tuple[Path, ...],
    names: tuple[str, ...],
    outputs: tuple[Path, ...],
    output_format: str,
    earlier: bool,
    instructions: bool,
    **settings: Any,
) -> None:
    """Measure how fast artifacts are on devices, honestly.

    Each artifact is loaded in several processes, in turns with the others; the interval of the median is over
    processes, every percentile needs enough runs to stand on (p90 64, p95 130, p99 662), and a verdict says whether
    something disturbed it. Exit code 1 where --fail-if or --against says so, 2 where they can't be judged, 5 where a
    device was lost: what was measured before is kept.
    """
    if earlier:
        _show_history(artifacts, names, outputs, output_format)
        return
    if not artifacts:
        raise UsageError("no MODEL was given", hint="name a .tflite or .onnx file, or say --history")
    if instructions:
        from tinsmith.devices.commands.instructions import count_and_print

        count_and_print(context, artifacts, names or ("local",), settings, output_format)
        return
    from tinsmith.devices.benchmarking.output import FORMS, write_findings
    from tinsmith.devices.commands.benchmark_view import benchmark_view

    check_outputs(outputs, FORMS)
    findings = _measure(artifacts, names or ("local",), **settings)
    for output in outputs:
        write_findings(output, findings, command=_command())
    view = [*benchmark_view(findings), *(f"written: {output}" for output in outputs)]
    print_result(output_format, findings.to_json(), view)
    if findings.exit_code:
        context.exit(findings.exit_code)


def _measure(
    artifacts: tuple[Path, ...],
    names: tuple[str, ...],
    *,
    percentiles: tuple[float, ...],
    thresholds: tuple[str, ...],
    against: Path | None,
    forced: tuple[str, ...],
    level: str,
    runs: int | None,
    processes: int | None,
    sustained_s: float | None,
    **settings: Any,
) -> Findings:
    """Everything that can be refused is refused before anything is measured."""
    from tinsmith.devices.benchmarking.benchmark import benchmark as measure
    from tinsmith.devices.benchmarking.effort import Plan
    from tinsmith.devices.benchmarking.findings import findings_of
    from tinsmith.devices.benchmarking.thresholds import check_judgeable, read_threshold
    from tinsmith.devices.commands.benchmark_view import Following
    from tinsmith.devices.inventory import resolve_devices

    gate = tuple(map(read_threshold, thresholds))
    plan = Plan(effort=_effort(level, runs=runs, processes=processes, sustained_s=sustained_s), **settings)
    _refuse_unsupported(percentiles, plan.effort)
    devices = resolve_devices(names)
    check_judgeable(gate, plan.effort, devices)
    base = _base(against, artifacts, devices, plan, other_model="other-model" in forced)
    with Following() as watch:
        report = measure((*artifacts, *_taking_turns(base)), devices, plan, watch=watch)
    _refuse_empty(report)
    _keep(report)
    return findings_of(report, devices, against=base, thresholds=gate, percentiles=percentiles)


def _base(
    against: Path | None, artifacts: tuple[Path, ...], devices: Sequence[Device], plan: Plan, *, other_model: bool
) -> Subject | Earlier | None:
    """What is compared with, once it is known that it can be."""
    from tinsmith.devices.benchmarking.earlier import read_earlier
    from tinsmith.devices.benchmarking.subject import subject_of

    if against is None:
        return None
    if plan.effort.processes < LEAST_PROCESSES:
        raise UsageError(f"--against takes {LEAST_PROCESSES} processes or more", hint="raise --processes")
    if against.suffix != ".json":
        return subject_of(against)
    earlier = read_earlier(against, other_model=other_model)
    earlier.check([subject_of(path) for path in artifacts], devices, plan)
    return earlier


def _taking_turns(base: Subject | Earlier | None) -> tuple[Path, ...]:
    from tinsmith.devices.benchmarking.subject import Subject

    return (base.path,) if isinstance(base, Subject) else ()


def _keep(report: Report) -> None:
    """A history that can't be written costs the measurement nothing."""
    from tinsmith.devices.benchmarking.history import History, history_folder

    try:
        History(history_folder()).append(report.measurements)
    except OutputError as error:
        _logger.warning("not kept in the history: %s", error.message)


def _show_history(
    artifacts: tuple[Path, ...], names: tuple[str, ...], outputs: tuple[Path, ...], output_format: str
) -> None:
    from tinsmith.devices.benchmarking.history import History, history_folder, series_of
    from tinsmith.devices.benchmarking.output import write_history
    from tinsmith.devices.commands.history_view import history_view
    from tinsmith.devices.inventory import resolve_devices

    check_outputs(outputs, (".html",))
    devices = [device.name for device in resolve_devices(names)] if names else []
    history = History(history_folder())
    entries = [e for sha256 in _hashes(artifacts) for e in history.entries(sha256=sha256, devices=devices)]
    series = series_of(entries)
    for output in outputs:
        write_history(output, series)
    view = [*history_view(series), *(f"written: {output}" for output in outputs)]
    print_result(output_format, {"history": [entry.to_json() for entry in entries]}, view)


def _hashes(artifacts: tuple[Path, ...]) -> list[str]:
    """Of the files; one of all where none is named."""
    from tinsmith.devices.benchmarking.subject import subject_of

    return list(dict.fromkeys(subject_of(path).sha256 for path in artifacts)) or [""]


def _command() -> str:
    """What the user typed."""
    return shlex.join(["tinsmith", *sys.argv[1:]])


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
        if effort.least_runs < runs_needed(percent) and not effort.for_so_long:
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
