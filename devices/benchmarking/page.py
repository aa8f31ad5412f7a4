"""What a benchmark found as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tinsmith.devices.benchmarking.charts import history_plot, operators_plot, time_plot
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
from tinsmith.runtime.svg import STYLE, html_page
from tinsmith.runtime.verdict import STABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinsmith.devices.benchmarking.findings import Findings
    from tinsmith.devices.benchmarking.history import Entry, Series
    from tinsmith.devices.benchmarking.published import Published
    from tinsmith.runtime.measurement import Measurement

__all__ = ["findings_page", "history_page"]

_STYLE = (
    STYLE
    + """
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2), th:last-child, td:last-child { text-align: left; }
td:first-child { overflow-wrap: anywhere; max-width: 22rem; }
.published { background: var(--quiet); border: 1px dashed var(--grey); padding: .25rem 1rem 1rem; margin-top: 2rem; }
"""
).replace("\n", " ")
_COLUMNS = (
    "model", "device", "median ms (95 %)", "p90 ms", "load ms", "first ms", "per s", "peak MiB", "bytes", "verdict",
)  # fmt: skip
_TIME_NOTE = (
    "Dots: medians of windows of runs, in order. Starts and warm-ups, between the dashed lines' processes, are left "
    "out. Temperature and frequency are read before and after each process."
)


def findings_page(findings: Findings, *, command: str) -> str:
    """The page's text.

    Args:
        findings: What to show.
        command: What the user typed, so that the page can be made again.
    """
    measurements = findings.report.measurements
    names = dict.fromkeys(measurement.artifact for measurement in measurements)
    title = f"Benchmark of {', '.join(names) or 'nothing'}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note"><code>{escape(command)}</code></p>',
        *_gate(findings),
        "<h2>Measured</h2>",
        _measured(measurements),
        _items([failure_text(failure) for failure in findings.report.failures]),
        *(part for measurement in measurements for part in _about(measurement)),
        *map(_published, findings.published),
    ]
    return html_page(title, parts, style=_STYLE)


def history_page(series: Sequence[Series]) -> str:
    """Earlier measurements over time, a plot and a table each."""
    parts = [
        "<h1>Measurements over time</h1>",
        '<p class="note">Dots: medians over processes; lines: their 95 % intervals. Red and hollow: something '
        "disturbed it, or the device slowed itself down.</p>",
        *(part for one in series for part in _over_time(one)),
    ]
    return html_page("Measurements over time", parts, style=_STYLE)


def _gate(findings: Findings) -> Iterator[str]:
    said = [(judgement_text(j), j.exit_code) for j in findings.judgements]
    said += [(comparison_text(c), c.exit_code) for c in findings.comparisons]
    items = "".join(f'<li class="{"bad" if code else "good"}">{escape(line)}.</li>' for line, code in said)
    if items:
        yield f"<h2>Held against</h2><ul>{items}</ul>"


def _measured(measurements: Sequence[Measurement]) -> str:
    rows = [
        [
            row.model, row.device, interval_text(row.median_ms, row.interval_ms),
            "-" if row.p90_ms is None else figure(row.p90_ms), figure(row.load_ms), figure(row.first_ms),
            figure(row.throughput_per_s), f"{row.peak_bytes / 2**20:.0f}", f"{row.size_bytes:,}", row.verdict,
        ]
        for row in rows_of(measurements)
    ]  # fmt: skip
    return _table(_COLUMNS, rows)


def _about(measurement: Measurement) -> Iterator[str]:
    m = measurement
    yield f"<h2>{escape(m.artifact)} on {escape(m.device)}</h2>"
    yield _facts(m)
    yield f'<h3>Over time</h3><div class="wide">{time_plot(m)}</div><p class="note">{_TIME_NOTE}</p>'
    times = m.operators
    if times is None:
        return
    if times.operators is None:
        yield f'<p class="note">No time of operators: {escape(times.why)}.</p>'
        return
    yield f'<h3>Operators</h3><div class="wide">{operators_plot(times.operators)}</div>'
    yield f'<p class="note">Measured apart, over {times.runs} runs: telling the time of each costs time itself.</p>'


def _facts(m: Measurement) -> str:
    verdict, environment = m.verdict, m.environment
    before = m.processes[0].before
    cpu = f"{environment.get('cpu', 'unknown')}, {environment.get('cores', '?')} cores, {environment.get('system', '')}"
    rows = [
        ("verdict", verdict.state if verdict.state == STABLE else f"{verdict.state}: {'; '.join(verdict.reasons)}"),
        ("engine", f"{m.engine} {m.engine_version} on {m.accelerator}, {m.threads} thread(s), {m.scenario}"),
        ("measured", f"{m.taken_at}, {len(m.processes)} processes, {len(m.samples_ms):,} runs, effort {m.effort}"),
        ("device", f"{cpu}, governor {before.governor or 'unknown'}"),
        ("operators", f"{m.placement}"),
        ("energy", energy_text(m)),
        ("sha256", m.artifact_sha256),
    ]
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(said)}</dd>" for name, said in rows) + "</dl>"


def _published(published: Published) -> str:
    header = ("model", "precision", "ms", "statistic", "run with", "trust")
    table = _table(header, [reference_cells(reference) for reference in published.references])
    sources = f'<p class="note">{escape(sources_text(published.references))}</p>'
    said = f"<h2>{escape(about_published(published))}</h2>{table}{sources}"
    return f'<div class="published">{said}</div>'


def _over_time(series: Series) -> Iterator[str]:
    yield f'<h2>{escape(series.title)}</h2><div class="wide">{history_plot(series)}</div>'
    header = ("taken (UTC)", "engine", "median ms (95 %)", "p90 ms", "load ms", "peak MiB", "°C", "effort", "verdict")
    yield _table(header, [_entry_cells(entry) for entry in reversed(series.entries)])


def _entry_cells(e: Entry) -> list[object]:
    return [
        e.taken_at.partition("+")[0], f"{e.engine} {e.engine_version}", interval_text(e.median_ms, e.interval_ms),
        "-" if e.p90_ms is None else figure(e.p90_ms), figure(e.load_ms), f"{e.peak_memory_bytes / 2**20:.0f}",
        "-" if e.temperature_c is None else f"{e.temperature_c:.0f}", e.effort, e.verdict,
    ]  # fmt: skip


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _items(said: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in said)}</ul>" if said else ""
