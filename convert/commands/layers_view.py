"""How a layer comparison is shown on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.convert.layers.wording import decibels_text, percent, shortened, summarized
from tinsmith.runtime.commands.output import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tinsmith.convert.layers import Culprit, LayerComparison, LayerError

__all__ = ["layers_view"]

_MOST_LAYERS = 20
_NAME_WIDTH, _OPERATOR_WIDTH, _LONG = 30, 17, 40
_COLUMNS = ["layer", "operator", "SNR", "adds", "felt", "error", "beyond", "range"]


def layers_view(compared: LayerComparison) -> list[RenderableType]:
    """The layers that add most error first, then who is to blame and why."""
    report = compared.report
    rows = [_row(layer) for layer in report.worst_first[:_MOST_LAYERS]]
    left = len(report.layers) - len(rows)
    more = f" (--format json has {left:,} more)" if left > 0 else ""
    view: list[RenderableType] = [f"Layers, those that add most error first, in dB{more}:", table(_COLUMNS, rows)]
    view += [_said(culprit) for culprit in report.culprits] or ["no layer adds more error than its numbers have to"]
    if report.remark:
        view.append(report.remark)
    for name, rest in ((compared.reference.name, report.only_reference), (compared.other.name, report.only_other)):
        if rest:
            view.append(f"only in {name}: {summarized(rest)}")
    view.append(f"{compared.other.name} against {compared.reference.name} on {compared.origin}")
    return view


def _row(layer: LayerError) -> list[object]:
    return [
        f"{layer.position} {shortened(layer.name, _NAME_WIDTH - 4)}",
        shortened(layer.operator, _OPERATOR_WIDTH),
        *(decibels_text(value) for value in (layer.snr_db, layer.own_db, layer.felt_db)),
        f"{layer.mean_abs:.2g}",
        *(percent(value) for value in (layer.saturated, layer.range_use)),
    ]


def _said(culprit: Culprit) -> str:
    name = shortened(culprit.name, _LONG)
    return f"culprit {culprit.position} {culprit.operator} {name}: {'; '.join(culprit.reasons)}"
