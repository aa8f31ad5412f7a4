"""``tinsmith benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result, table
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.timing import runs_needed

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tinsmith.runtime.measurement import Measurement

__all__ = ["benchmark"]


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-d", "--device", default="local", show_default=True, help="The profile to measure under.")
@click.option("--runs", type=click.IntRange(1), default=30, show_default=True, help="Timed runs in each process.")
@click.option("--processes", type=click.IntRange(1), default=5, show_default=True, help="Separate processes.")
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
def benchmark(
    artifacts: tuple[Path, ...], device: str, percentiles: tuple[float, ...], output_format: str, **plan: Any
) -> None:
    """Measure how fast an artifact is, honestly.

    Each artifact is loaded in several processes; every percentile needs enough runs to stand on (p90 64, p95 130,
    p99 662), and is refused below that.
    """
    from tinsmith.devices.benchmark import Plan
    from tinsmith.devices.benchmark import benchmark as measure

    _refuse_unsupported(percentiles, plan["runs"] * plan["processes"])
    measured = [measure(artifact, Plan(**plan), device=device) for artifact in artifacts]
    document = {"measurements": [_document(m, percentiles) for m in measured]}
    print_result(output_format, document, _view(measured, percentiles))


def _refuse_unsupported(percentiles: tuple[float, ...], runs: int) -> None:
    for percent in percentiles:
        if runs < runs_needed(percent):
            raise UsageError(
                f"p{percent:g} needs {runs_needed(percent)} runs, and {runs} were asked for",
                hint=f"raise --runs or --processes until their product is {runs_needed(percent)}, or drop p{percent:g}",
            )


def _document(measurement: Measurement, percentiles: tuple[float, ...]) -> dict[str, Any]:
    asked = {f"p{percent:g}_ms": measurement.percentile_ms(percent) for percent in percentiles}
    return {**measurement.to_json(), **asked}


def _view(measured: list[Measurement], percentiles: tuple[float, ...]) -> list[RenderableType]:
    columns = ["artifact", "runs", "p50 ms", "p90 ms", *(f"p{p:g} ms" for p in percentiles), "spread"]
    columns += ["load ms", "first ms", "MiB", "bytes"]
    rows = [
        [
            m.artifact,
            len(m.samples_ms),
            m.p50_ms,
            m.p90_ms,
            *(m.percentile_ms(p) for p in percentiles),
            f"{m.spread:.2f}x",
            f"{m.load_ms:.1f}",
            f"{m.first_ms:.2f}",
            f"{m.peak_memory_bytes / 2**20:.0f}",
            m.size_bytes,
        ]
        for m in measured
    ]
    facts = measured[0]
    engines = ", ".join(sorted({f"{m.engine} {m.engine_version}" for m in measured}))
    notes = (
        f"{facts.device}: {engines}; {facts.environment['cpu']}, {facts.environment['cores']} cores, "
        f"{facts.threads} thread(s), {len(facts.processes)} processes; load average "
        f"{facts.environment['load_before']} before, {facts.environment['load_after']} after.\n"
        "spread: slowest process's median over the fastest's. MiB: peak memory of the\n"
        "whole process, Python included."
    )
    places = [f"{m.artifact}: operators on {m.placement}." for m in measured]
    tried = [
        f"{m.artifact}: not on what was asked for first: {said}" for m in measured for said in m.placement.refusals
    ]
    refused = [
        f"p90 needs {runs_needed(90)} runs, and {m.artifact} had {len(m.samples_ms)}: raise --runs or --processes."
        for m in measured
        if m.p90_ms is None
    ]
    return [table(columns, rows), notes, *places, *tried, *refused]
