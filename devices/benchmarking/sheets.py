"""What a benchmark found as CSV, a row a model times device, and as Markdown for pull requests."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from tinsmith.devices.benchmarking.rows import rows_of
from tinsmith.devices.benchmarking.wording import (
    about_published,
    comparison_text,
    energy_text,
    failure_text,
    judgement_text,
    reference_cells,
    sources_text,
)
from tinsmith.runtime.intervals import figure, interval_text
from tinsmith.runtime.markdown import escaped, markdown_table
from tinsmith.runtime.verdict import STABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.devices.benchmarking.findings import Findings
    from tinsmith.runtime.measurement import Measurement

__all__ = ["csv_text", "markdown"]

_COLUMNS = (
    "model", "sha256", "device", "profile", "engine", "engine_version", "accelerator", "threads", "scenario", "effort",
    "taken_at_utc", "processes", "runs", "median_ms", "median_low_ms", "median_high_ms", "p50_ms", "p90_ms", "p95_ms",
    "p99_ms", "load_ms", "first_run_ms", "throughput_per_s", "peak_memory_bytes", "size_bytes", "energy_joules",
    "energy_method", "verdict", "reasons",
)  # fmt: skip


def csv_text(findings: Findings) -> str:
    """RFC 4180, units in the header; a figure that was not measured is empty. Published figures are not in it."""
    out = io.StringIO()
    writer = csv.writer(out)
    extra = tuple(f"p{percent:g}_ms" for percent in findings.percentiles if f"p{percent:g}_ms" not in _COLUMNS)
    writer.writerow((*_COLUMNS, *extra))
    for measurement in findings.report.measurements:
        more = [measurement.percentile_ms(float(name[1:-3])) for name in extra]
        writer.writerow(["" if cell is None else cell for cell in (*_cells(measurement), *more)])
    return out.getvalue()


def markdown(findings: Findings) -> str:
    """A table, what became of thresholds and comparisons before it, and published figures apart, below it."""
    parts = [*_gate(findings), _measured(findings), *_remarks(findings), *_published(findings)]
    return "\n\n".join(["### Benchmark", *parts]) + "\n"


def _cells(m: Measurement) -> tuple[object, ...]:
    interval, verdict = m.interval_ms, m.verdict
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    percentiles = [m.percentile_ms(percent) for percent in (50, 90, 95, 99)]
    return (
        m.artifact, m.artifact_sha256, m.device, m.profile, m.engine, m.engine_version, m.accelerator, m.threads,
        m.scenario, m.effort, m.taken_at, len(m.processes), sum(p.runs for p in m.processes), m.median_ms, low, high,
        *percentiles, m.load_ms, m.first_ms, m.throughput, m.peak_memory_bytes, m.size_bytes, m.joules,
        m.energy_method, verdict.state, "; ".join(verdict.reasons),
    )  # fmt: skip


def _gate(findings: Findings) -> Iterator[str]:
    said = [*map(judgement_text, findings.judgements), *map(comparison_text, findings.comparisons)]
    if said:
        state = "failed" if findings.exit_code else "kept"
        yield f"**{state}**"
        yield "\n".join(f"- {escaped(line)}" for line in said)


def _measured(findings: Findings) -> str:
    header = ("model", "device", "median ms (95 %)", "p90 ms", "load ms", "peak MiB", "bytes", "verdict")
    rows = [
        (
            f"`{row.model}`", row.device, interval_text(row.median_ms, row.interval_ms),
            "-" if row.p90_ms is None else figure(row.p90_ms), figure(row.load_ms), f"{row.peak_bytes / 2**20:.0f}",
            f"{row.size_bytes:,}", row.verdict,
        )
        for row in rows_of(findings.report.measurements)
    ]  # fmt: skip
    return markdown_table(header, rows, words=("model", "device", "verdict"))


def _remarks(findings: Findings) -> Iterator[str]:
    said = []
    for m in findings.report.measurements:
        verdict, name = m.verdict, f"{m.artifact} on {m.device}"
        if verdict.state != STABLE:
            said.append(f"{name}: {verdict.state}: {'; '.join(verdict.reasons)}")
        if m.joules is not None:
            said.append(f"{name}: {energy_text(m)}")
        said.append(
            f"{name}: {m.engine} {m.engine_version}, {m.threads} thread(s), {len(m.processes)} processes, "
            f"{m.environment.get('cpu', 'unknown CPU')}, sha256 {m.artifact_sha256[:12]}"
        )
    said += [failure_text(failure) for failure in findings.report.failures]
    yield "\n".join(f"- {escaped(line)}" for line in said)


def _published(findings: Findings) -> Iterator[str]:
    header = ("model", "precision", "ms", "statistic", "run with", "trust")
    for published in findings.published:
        yield f"*{escaped(about_published(published))}*"
        rows = [reference_cells(reference) for reference in published.references]
        yield markdown_table(header, rows, words=("model", "precision", "statistic", "run with", "trust"))
        yield f"Sources: {escaped(sources_text(published.references))}"
