"""``tinsmith benchmark --instructions``: counts, in a table and a document of their own, beside no time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from click.core import ParameterSource

from tinsmith.runtime.commands.output import print_result, table
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import rich_click as click
    from rich.console import RenderableType

    from tinsmith.devices.benchmarking.instructions import CountReport, InstructionCount

__all__ = ["count_and_print"]

_COLUMNS = ("model", "device", "instructions", "spread", "engine", "processes", "bytes")
_TAKEN = ("engine", "accelerator", "seed", "time_limit_s", "processes", "runs")
_OF_TIMES = (
    "level", "sustained_s", "scenario", "operators", "percentiles", "threads", "against", "thresholds", "outputs",
)  # fmt: skip
_LEGEND = (
    "instructions: of one inference, in user mode, on one thread. They say nothing of how fast a device is, and are the"
    " same tomorrow; spread: how far the processes lie apart."
)


def count_and_print(
    context: click.RichContext,
    artifacts: Sequence[Path],
    names: Sequence[str],
    asked: Mapping[str, Any],
    output_format: str,
) -> None:
    """Count, print, and end with the exit code of the worst failure.

    Args:
        context: Of the command.
        artifacts: .tflite or .onnx files.
        names: Devices, groups and tags.
        asked: Options by name; None leaves the usual.
        output_format: ``table`` or ``json``.

    Raises:
        UsageError: An option is given that is about times.
        TinsmithError: Nothing was counted; the worst reason.
    """
    from tinsmith.devices.benchmarking.instructions import CountPlan, count_instructions
    from tinsmith.devices.inventory import resolve_devices

    _refuse_times(context)
    given = {name: asked[name] for name in _TAKEN if asked[name] is not None}
    report = count_instructions(artifacts, resolve_devices(names), CountPlan(**given))
    if report.worst and not report.counts:
        raise report.worst
    print_result(output_format, report.to_json(), list(_view(report)))
    if report.worst:
        context.exit(report.worst.exit_code)


def _refuse_times(context: click.RichContext) -> None:
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in _OF_TIMES and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(
            f"--instructions counts, and takes no {', '.join(given)}",
            hint="drop it, or measure time without --instructions",
        )


def _view(report: CountReport) -> Iterator[RenderableType | str]:
    yield table(_COLUMNS, [_cells(count) for count in report.counts])
    for failure in report.failures:
        hint = f" ({failure.error.hint})" if failure.error.hint else ""
        yield f"{failure.artifact} on {failure.device}: not counted to the end: {failure.error.message}{hint}"
    yield from dict.fromkeys(f"{count.device}: {count.method}." for count in report.counts)
    yield _LEGEND


def _cells(count: InstructionCount) -> list[object]:
    return [
        count.artifact,
        count.device,
        count.instructions,
        f"{count.spread:.3%}",
        f"{count.engine} {count.engine_version}",
        len(count.counts),
        count.size_bytes,
    ]
