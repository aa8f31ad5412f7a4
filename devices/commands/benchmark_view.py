"""How a benchmark goes on, on stderr, and what came of it, as people see it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tinsmith.devices.benchmarking.rows import rows_of
from tinsmith.devices.benchmarking.wording import (
    about_published,
    comparison_text,
    energy_text,
    failure_text,
    judgement_text,
    reference_cells,
    shortened,
    sources_text,
)
from tinsmith.devices.commands.history_view import sparkline
from tinsmith.runtime.commands.output import console, table
from tinsmith.runtime.intervals import figure, interval_text
from tinsmith.runtime.timing import runs_needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from typing_extensions import Self

    from tinsmith.devices.benchmarking.findings import Findings
    from tinsmith.devices.benchmarking.published import Published
    from tinsmith.devices.benchmarking.report import Failure
    from tinsmith.devices.benchmarking.rows import Row
    from tinsmith.runtime.measurement import Measurement
    from tinsmith.runtime.operator_times import OperatorTime

__all__ = ["Following", "benchmark_view"]

_COLUMNS = ("model", "device", "median ms (95 %)", "p90 ms", "load ms", "MiB", "bytes", "verdict")
_NAMES_WIDTH, _DEVICE_WIDTH = 26, 10
_LEGEND = "(95 %): the interval of the median over processes. MiB: peak memory of the process, Python included."
_SLOWEST = 10
_FEW = 5
_UNITS = ("_mhz", "_c", "_1m", "_cores", "_share")


class Following:
    """A line on stderr that says how far it is; silent under ``-q`` and where nobody looks."""

    def __init__(self) -> None:
        loud = logging.getLogger("tinsmith").isEnabledFor(logging.INFO)
        screen = console(stderr=True)
        self._status = screen.status("starting") if loud and screen.is_terminal else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def sent(self, device: str, done_bytes: int, size_bytes: int) -> None:
        """See ``Watching``."""
        self._say(f"{device}: {done_bytes:,} of {size_bytes:,} bytes sent")

    def measured(self, device: str, artifact: str, number: int, processes: int) -> None:
        """See ``Watching``."""
        self._say(f"{device}: {artifact}: {number} of {processes} processes have measured")

    def _say(self, text: str) -> None:
        if self._status:
            from rich.text import Text

            self._status.update(Text(text))


def benchmark_view(findings: Findings) -> list[RenderableType | str]:
    """One table over models and devices, what became of the thresholds, then what stands behind it."""
    report = findings.report
    rows = rows_of(report.measurements)
    device_width = min(_DEVICE_WIDTH, max((len(row.device) for row in rows), default=0))
    pairs = list(zip(report.measurements, rows, strict=True))
    return [
        table(_COLUMNS, [_cells(row, device_width) for row in rows]),
        *(f"{judgement_text(judgement)}." for judgement in findings.judgements),
        *(f"{comparison_text(comparison)}." for comparison in findings.comparisons),
        *(f"{row.model} on {row.device}: {row.verdict}: {'; '.join(row.reasons)}." for row in rows if row.reasons),
        *(_failed(failure) for failure in report.failures),
        *(said for measurement, row in pairs for said in _about(measurement, row, findings.percentiles)),
        *dict.fromkeys(_conditions(measurement) for measurement in report.measurements),
        *dict.fromkeys(f"{m.device}: {energy_text(m)}." for m in report.measurements if m.joules is None),
        _LEGEND,
        *(view for measurement in report.measurements for view in _operators(measurement)),
        *(view for published in findings.published for view in _published(published)),
    ]


def _cells(row: Row, device_width: int) -> list[object]:
    return [
        shortened(row.model, _NAMES_WIDTH - device_width),
        shortened(row.device, device_width),
        interval_text(row.median_ms, row.interval_ms),
        "-" if row.p90_ms is None else figure(row.p90_ms),
        figure(row.load_ms),
        f"{row.peak_bytes / 2**20:.0f}",
        row.size_bytes,
        row.verdict,
    ]


def _failed(failure: Failure) -> str:
    hint = f" ({failure.error.hint})" if failure.error.hint else ""
    return f"{failure_text(failure)}{hint}"


def _conditions(measurement: Measurement) -> str:
    """One line a device: what it is, and in which state it was at the beginning and at the end."""
    facts, processes = measurement.environment, measurement.processes
    before, after = processes[0].before, processes[-1].after
    changes = [
        (before.frequency_mhz, after.frequency_mhz, "MHz"),
        (before.temperature_c, after.temperature_c, "°C"),
        (before.load_1m, after.load_1m, "load average"),
    ]
    told = [
        f"{first:.4g} to {last:.4g} {unit}" for first, last, unit in changes if first is not None and last is not None
    ]
    governor = before.governor or "unknown"
    unseen = [name.rpartition("_")[0] if name.endswith(_UNITS) else name for name in measurement.verdict.unseen]
    blind = f" It does not tell: {', '.join(unseen).replace('_', ' ')}." if unseen else ""
    return (
        f"{measurement.device}: {facts['cpu']}, {facts['cores']} cores, governor {governor}; {', '.join(told)}.{blind}"
    )


def _about(measurement: Measurement, row: Row, percentiles: Sequence[float]) -> Iterator[str]:
    m = measurement
    name = f"{m.artifact} on {m.device}" if m.device != "local" else m.artifact
    runs = len(m.samples_ms)
    yield (
        f"{name}: {m.engine} {m.engine_version}, {m.threads} thread(s), {len(m.processes)} processes, {runs} runs; "
        f"first run {row.first_ms:.2f} ms; spread of the processes {m.spread:.2f}x."
    )
    yield f"{m.artifact}: operators on {m.placement}."
    if m.joules is not None:
        yield f"{name}: {energy_text(m)}."
    for refusal in m.placement.refusals:
        yield f"{m.artifact}: not on what was asked for first: {refusal}"
    if m.scenario == "offline":
        interval = m.throughput_interval
        said = "" if interval is None else f" ({interval.low:.1f} to {interval.high:.1f})"
        yield f"{name}: offline {m.throughput:.1f} inferences/s{said}."
    elif (bound := m.early_stopping_ms(90)) is not None:
        yield f"{name}: MLPerf single-stream p90, early stopping: {figure(bound)} ms."
    for percent in percentiles:
        value = m.percentile_ms(percent)
        yield f"{name}: p{percent:g} {'-' if value is None else figure(value)} ms."
    if m.p90_ms is None:
        yield f"p90 needs {runs_needed(90)} runs, and {m.artifact} had {runs}: raise --runs or --processes."
    if m.effort.startswith("sustained"):
        first, last = m.processes[0].median_ms, m.processes[-1].median_ms
        line = sparkline(m.process_medians_ms)
        yield f"{name}: minute 1 {figure(first)} ms {line} last minute {figure(last)} ms."


def _operators(measurement: Measurement) -> Iterator[RenderableType | str]:
    times = measurement.operators
    if times is None:
        return
    if times.operators is None:
        yield f"{measurement.artifact}: no time of operators: {times.why}."
        return
    total_ns = sum(operator.time_ns for operator in times.operators) or 1
    slowest = sorted(enumerate(times.operators), key=lambda numbered: -numbered[1].time_ns)[:_SLOWEST]
    rows = [_operator_cells(number, operator, total_ns) for number, operator in slowest]
    title = f"{measurement.artifact} on {measurement.device}: the slowest operators"
    yield table(["node", "operator", "unit", "ms", "share"], rows, title=title)


def _operator_cells(number: int, operator: OperatorTime, total_ns: int) -> list[object]:
    share = f"{100 * operator.time_ns / total_ns:.1f} %"
    name = shortened(operator.name, 30) or f"#{number}"
    return [name, operator.operator, operator.unit, f"{operator.time_ns / 1e6:.4f}", share]


def _published(published: Published) -> Iterator[RenderableType | str]:
    shown = published.references if published.named else published.references[:_FEW]
    columns = ["model", "precision", "ms", "statistic", "run with", "trust"]
    yield table(columns, [reference_cells(reference) for reference in shown], title=about_published(published))
    yield f"Sources: {sources_text(shown)}."
    if left := len(published.references) - len(shown):
        yield f"{left} more: `tinsmith devices show {published.profile}`."
