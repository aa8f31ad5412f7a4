"""A layer comparison as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tinsmith.convert.layers.plot import bars, snr_plot
from tinsmith.convert.layers.wording import decibels_text, percent, shortened, summarized
from tinsmith.runtime.files import write_text
from tinsmith.runtime.svg import STYLE, html_page

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tinsmith.convert.layers.comparing import LayerComparison
    from tinsmith.convert.layers.report import Culprit, LayerError, LayerReport

__all__ = ["LAYERS_STYLE", "layer_table", "page", "snr_parts", "verdict", "write_page"]

LAYERS_STYLE = """table.layers :is(th, td):nth-child(2), table.layers :is(th, td):nth-child(3) { text-align: left; }
table.layers td:nth-child(2) { overflow-wrap: anywhere; max-width: 19rem; } tr.culprit td { background: var(--blush); }
tr.culprit td:first-child { border-left: 4px solid var(--red); } ol.culprits li { margin: .4rem 0; }
"""
_STYLE = (STYLE + LAYERS_STYLE).replace("\n", " ")
_LONG = 60
_COLUMNS = (
    ("#", "place in the order of execution"),
    ("tensor", "as the float model calls it"),
    ("operator", "what computes it in the float model"),
    ("type", "what the other model stores in it, and what one step is worth"),
    ("SNR dB", "the float model's power over that of the whole error"),
    ("adds dB", "the same over the error that this layer adds to what was handed on"),
    ("felt dB", "what the added error changes one operator later"),
    ("mean error", "mean absolute error"),
    ("largest", "largest absolute error"),
    ("saturated", "share of values beyond the end of the integers"),
    ("range used", "share of the integers that 99.9 % of the values keep to"),
)


def write_page(path: Path, compared: LayerComparison, *, command: str) -> None:
    """Write the page, whole or not at all.

    Args:
        path: Of the .html file.
        compared: What to show.
        command: What the user typed, so that the page can be made again.

    Raises:
        OutputError: The file can't be written.
    """
    write_text(path, page(compared, command=command))


def page(compared: LayerComparison, *, command: str) -> str:
    """The page's text; the same comparison gives the same bytes."""
    report = compared.report
    title = f"{compared.other.name} against {compared.reference.name}, layer by layer"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict">{verdict(report)}</p>',
        _facts(compared, command),
        "<h2>Where the error comes in</h2>",
        *snr_parts(report),
        "<h2>How the integers are used</h2>",
        f'<div class="wide">{bars(report)}</div>',
        '<p class="note">Upward: share of the integers that 99.9 % of the values keep to. Downward: share of the '
        "values beyond the end of the integers. Tensors of real numbers have neither.</p>",
        _culprits(report.culprits),
        "<h2>All layers</h2>",
        f'<div class="wide">{layer_table(report.layers, report.culprits)}</div>',
        _only_one(compared),
    ]
    return html_page(title, parts, style=_STYLE)


def snr_parts(report: LayerReport) -> list[str]:
    """The plot of what every layer adds, and how to read it."""
    return [
        f'<div class="wide">{snr_plot(report)}</div>',
        '<p class="note">Line: signal-to-noise ratio of every tensor, with all error up to there. Squares: the '
        "error that the layer adds itself, as it is felt one operator later. Below the dashed line, at 20 dB, a layer "
        "is named. "
        "A layer without error stands at the upper edge.</p>",
    ]


def verdict(report: LayerReport) -> str:
    """Who is to blame, as HTML."""
    if report.remark or not report.culprits:
        said = report.remark or "no layer adds more error than its numbers have to"
        return escape(f"{said[:1].upper()}{said[1:]}.")
    worst, more = report.culprits[0], len(report.culprits) - 1
    others = f" and {more} more" if more else ""
    named = f"Layer {worst.position}, {escape(worst.operator)} <code>{escape(shortened(worst.name, _LONG))}</code>"
    return f'<span class="bad">{named}{others}:</span> {escape(worst.reasons[0])}.'


def _facts(compared: LayerComparison, command: str) -> str:
    rows = [
        ("command", f"<code>{escape(command)}</code>"),
        ("float model", _model(str(compared.reference), compared.reference_sha256)),
        ("other model", _model(str(compared.other), compared.other_sha256)),
        ("samples", escape(f"{compared.report.samples:,}: {compared.origin}")),
    ]
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{said}</dd>" for name, said in rows) + "</dl>"


def _model(path: str, sha256: str) -> str:
    return f"<code>{escape(path)}</code><br><code>sha256 {sha256}</code>"


def _culprits(culprits: Iterable[Culprit]) -> str:
    items = [
        f"<li><b>Layer {culprit.position}, {escape(culprit.operator)}</b> "
        f'<code title="{escape(culprit.name)}">{escape(shortened(culprit.name, _LONG))}</code>: '
        f"{escape('; '.join(culprit.reasons))}.</li>"
        for culprit in culprits
    ]
    return f'<h2>Culprits, worst first</h2><ol class="culprits">{"".join(items)}</ol>' if items else ""


def layer_table(layers: Iterable[LayerError], culprits: Iterable[Culprit]) -> str:
    """A row a layer, culprits marked."""
    named = {culprit.name for culprit in culprits}
    head = "".join(f'<th scope="col" title="{escape(said)}">{escape(name)}</th>' for name, said in _COLUMNS)
    rows = "".join(_row(layer, culprit=layer.name in named) for layer in layers)
    return f'<table class="layers"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(layer: LayerError, *, culprit: bool) -> str:
    step = "" if layer.scale is None else f"<br>{layer.scale:.3g}"
    cells = [
        str(layer.position),
        escape(layer.name),
        escape(layer.operator),
        escape(layer.other_dtype) + step,
        *(decibels_text(value) for value in (layer.snr_db, layer.own_db, layer.felt_db)),
        f"{layer.mean_abs:.3g}",
        f"{layer.largest:.3g}",
        *(escape(percent(value)) for value in (layer.saturated, layer.range_use)),
    ]
    kind = ' class="culprit"' if culprit else ""
    return f"<tr{kind}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"


def _only_one(compared: LayerComparison) -> str:
    report = compared.report
    sides = [
        (compared.reference.name, report.only_reference),
        (compared.other.name, report.only_other),
    ]
    said = [f"<li>only in {escape(name)}: {escape(summarized(rest))}</li>" for name, rest in sides if rest]
    return f"<h2>Operators that only one of them has</h2><ul>{''.join(said)}</ul>" if said else ""
