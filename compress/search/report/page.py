"""A search as one HTML page that needs nothing else: no font, no network, and a script only to sort tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.compress.search.report.again import lines_of, resuming
from tinsmith.compress.search.report.made import made_of
from tinsmith.compress.search.report.plots import MOST_DEVICES, pareto_plots, size_plot
from tinsmith.compress.search.report.standing import rank_of, so_far
from tinsmith.compress.search.report.style import SCRIPT, STYLE_OF_PAGE
from tinsmith.compress.search.report.tables import (
    bounds_table,
    latency_table,
    operators_table,
    parts_table,
    placement_table,
    sizes_table,
    trials_table,
)
from tinsmith.compress.search.report.wording import headline, tried
from tinsmith.convert.layers.page import layer_table, snr_parts, verdict
from tinsmith.runtime.svg import html_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.report.made import Made
    from tinsmith.compress.search.trial import Trial

__all__ = ["page"]

_MOST_PARTS, _MOST_LAYERS = 40, 20
_LEGEND = (
    ("chosen", "chosen", '<path class="chosen" d="M9 1l8 8l-8 8l-8-8z"/>'),
    ("nearest", "misses the bounds by least", '<path class="nearest" d="M9 2l7 7l-7 7l-7-7z"/>'),
    ("front", "Pareto set: nothing beats it in everything", '<circle class="front" cx="9" cy="9" r="5"/>'),
    ("kept", "keeps the bounds, beaten", '<circle class="kept" cx="9" cy="9" r="4"/>'),
    ("misses", "misses a bound, or given up", '<circle class="misses" cx="9" cy="9" r="4"/>'),
    ("misses", "far worse, drawn at the edge", '<path class="misses" d="M9 4l5 9h-10z"/>'),
)


def page(record: Record, run: Path) -> str:
    """The page's text; the same record gives the same bytes.

    Args:
        record: Of a search, finished or not.
        run: Its folder, for command lines.

    Raises:
        DataError: The record is damaged.
    """
    record = so_far(record)
    subject = record.best
    made = None if subject is None else made_of(record, subject.number)
    title = f"Search on {Path(record.source['path']).name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        *_banners(record),
        *_head(record, subject),
        *_pareto(record),
        *_sizes(record, made),
        *_latency(record, made),
        *([] if made is None else [*_accuracy(made), *_layers(made)]),
        *_operators(subject, made),
        *_commands(record, run, subject),
        *_trials(record),
        *_environment(record, made),
        f"<script>{SCRIPT}</script>",
    ]
    return html_page(title, parts, style=STYLE_OF_PAGE)


def _banners(record: Record) -> Iterator[str]:
    if not record.finished:
        yield (
            '<div class="banner"><p><b>This search is not finished.</b> These are its figures so far; go on with</p>'
            f"<pre>{escape(resuming(record))}</pre></div>"
        )
    elif record.chosen is None:
        near = "" if record.nearest is None else f" Trial {record.nearest} comes nearest."
        give = "".join(f"<li><code>{escape(one.said)}</code></li>" for one in record.loosenings)
        what = "<p>No recipe could be carried out; the table of trials says why.</p>"
        if give:
            what = f"<p>Any one of these would be enough:</p><ul>{give}</ul>"
        elif record.nearest is not None:
            what = "<p>More than one bound would have to give; the table of bounds says by how much.</p>"
        yield f'<div class="banner"><p><b>Nothing keeps every bound.</b>{near}</p>{what}</div>'


def _head(record: Record, subject: Trial | None) -> Iterator[str]:
    yield f'<p class="verdict">{escape(headline(record, subject))}</p><p class="note">{escape(tried(record))}</p>'
    if subject is not None and subject.standings:
        yield f"<h2>What was asked, and what trial {subject.number} reaches</h2>{bounds_table(subject)}"
    elif record.ask:
        asked = [(one["bound"], one["said"]) for one in record.ask]
        yield f"<h2>What was asked</h2>{_facts(asked)}"


def _pareto(record: Record) -> Iterator[str]:
    plots = pareto_plots(record)
    if not plots:
        return
    ranks = {rank_of(trial, record) for trial in record.trials}
    greyed = {"misses"} if ranks & {"misses", "hopeless", "outdone"} else set()
    legend = "".join(
        f'<span><svg viewBox="0 0 18 18" aria-hidden="true">{shape}</svg>{said}</span>'
        for rank, said, shape in _LEGEND if rank in ranks | greyed
    )  # fmt: skip
    left = len(record.devices) - MOST_DEVICES
    more = f" The table below has {left} more device{'s' if left > 1 else ''}." if left > 0 else ""
    yield "<h2>Bytes, answers and time</h2>"
    yield f'<div class="legend">{legend}</div><div class="pair">{"".join(f"<div>{plot}</div>" for plot in plots)}</div>'
    yield (
        '<p class="note">Less is better everywhere. The line joins what nothing beats in the two figures of its plot; '
        f"dashed: what was asked for. A point names its trial, and leads to its row.{more}</p>"
    )


def _sizes(record: Record, made: Made | None) -> Iterator[str]:
    if made is None:
        return
    note = "before: the source as a plain artifact of the same format, so that a change of format is no achievement"
    shown = f"{sizes_table(record, made)}<div>{size_plot(made)}</div>"
    yield f'<h2>Bytes before and after</h2><div class="pair">{shown}</div>'
    yield f'<p class="note">{escape(note)}.</p>'


def _latency(record: Record, made: Made | None) -> Iterator[str]:
    table = latency_table(record)
    if not table:
        return
    emulated = [device["name"] for device in record.devices if device.get("emulated")]
    said = f" Emulated, and no device's time: {', '.join(emulated)}." if emulated else ""
    yield f"<h2>Time and memory on each device</h2>{table}"
    yield f'<p class="note">Peak: of a process that runs it, interpreter and engine included.{escape(said)}</p>'
    if made is not None and made.speed:
        yield (
            '<p class="note">Timed in turn with the source on the machine that made it, it takes '
            f"{escape(made.speed)}: a ratio, and no device's latency.</p>"
        )


def _accuracy(made: Made) -> Iterator[str]:
    yield "<h2>Answers before and after</h2>"
    if made.unjudged or not made.after:
        yield f"<p>Not judged: {escape(made.unjudged or 'nothing says what is right')}.</p>"
        return
    facts = [("metric", made.metric), ("before", made.before), ("after", made.after)]
    yield _facts(facts)
    for kind, parts in (("class", made.classes), ("slice", made.slices)):
        if parts:
            in_points = kind == "class" or "%" in made.after
            metric = "accuracy" if kind == "class" else made.metric
            yield f"<h3>By {kind}, largest loss first</h3>"
            yield parts_table(kind, parts, metric=metric, in_points=in_points, most=_MOST_PARTS)
            yield _rest(len(parts), _MOST_PARTS)


def _layers(made: Made) -> Iterator[str]:
    report = made.layers
    if report is None:
        return
    yield f'<h2>What quantizing did to each layer</h2><p class="verdict">{verdict(report)}</p>'
    yield from snr_parts(report)
    yield f'<div class="wide">{layer_table(report.worst_first[:_MOST_LAYERS], report.culprits)}</div>'
    yield _rest(len(report.layers), _MOST_LAYERS)


def _operators(subject: Trial | None, made: Made | None) -> Iterator[str]:
    placed = "" if subject is None or subject.figures is None else placement_table(subject.figures.timed)
    if made is None and not placed:
        return
    yield "<h2>Operators, and where they run</h2>"
    yield f'<div class="pair">{"" if made is None else operators_table(made)}{placed}</div>'


def _commands(record: Record, run: Path, subject: Trial | None) -> Iterator[str]:
    lines = lines_of(record, run, subject)
    if subject is not None:
        steps = "".join(f"<li>{_step(step)}</li>" for step in subject.recipe["steps"])
        yield f"<h2>The recipe of trial {subject.number}, and how to use it</h2><ol>{steps}</ol>"
    if lines:
        yield from (f'<p class="does">{escape(one.does)}</p><pre>{escape(one.typed)}</pre>' for one in lines)


def _step(step: Mapping[str, Any]) -> str:
    said = {name: value for name, value in step.items() if name != "kind" and value not in (None, {}, [])}
    options = "; ".join(f"{name.replace('_', ' ')}: {_said(value)}" for name, value in said.items())
    return f"<b>{escape(step['kind'])}</b> {escape(options)}"


def _trials(record: Record) -> Iterator[str]:
    if record.trials:
        yield f'<section class="trials"><h2>All {len(record.trials):,} trials</h2>{trials_table(record)}</section>'


def _environment(record: Record, made: Made | None) -> Iterator[str]:
    groups: list[tuple[str, Mapping[str, Any]]] = [
        ("Source", record.source), ("Samples", record.data or {"given": "none"}), ("Settings", record.settings),
        *((f"Device {device['name']}", device) for device in record.devices), ("Environment", record.environment),
    ]  # fmt: skip
    if made is not None and dict(made.tools).items() - dict(record.environment).items():
        groups.append(("Made by", made.tools))
    yield "<h2>What it was done with</h2><div class='pair'>"
    yield from (f"<div><h3>{escape(name)}</h3>{_facts([*said.items()])}</div>" for name, said in groups)
    yield "</div>"


def _facts(rows: Sequence[tuple[str, Any]]) -> str:
    said = "".join(f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_said(value))}</dd>" for name, value in rows)
    return f"<dl>{said}</dl>"


def _said(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(one)}" for name, one in value.items())
    return ", ".join(map(_said, value)) if isinstance(value, list | tuple) else str(value)


def _rest(count: int, shown: int) -> str:
    left = count - shown
    return f'<p class="note">{left:,} more stand in the record; `-o report.json` gives it.</p>' if left > 0 else ""
