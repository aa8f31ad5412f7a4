"""The plots of a layer comparison, as SVG that stands in the page itself."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tinsmith.convert.layers.culprits import LOUD_DB
from tinsmith.runtime.svg import BLUE, BLUSH, GREY, PALE, PAPER, RED, SOFT, WIDTH, bar, line, svg, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinsmith.convert.layers.report import LayerError, LayerReport

__all__ = ["bars", "snr_plot"]

_LEFT, _RIGHT = 46, 14
_TOP, _HEIGHT, _BOTTOM = 14, 260, 24
_UP, _DOWN = 90, 50
_MOST_DB, _LEAST_DB = 60.0, 0.0
_MOST_LABELS = 40


def snr_plot(report: LayerReport) -> str:
    """Signal-to-noise ratio of every layer in the order of execution, culprits marked."""
    layers = report.layers
    low, high = _limits(layers)
    named = {culprit.name for culprit in report.culprits}
    parts = [
        *_decibel_lines(low, high),
        *_bands(layers, named),
        *_curve(layers, low, high),
        *_added(layers, named, low, high),
        *_numbers(layers, _TOP + _HEIGHT + 16),
    ]
    return svg(parts, _TOP + _HEIGHT + _BOTTOM, "signal-to-noise ratio of every layer in decibels")


def bars(report: LayerReport) -> str:
    """Range use upward, saturation downward, layer by layer."""
    layers, base = report.layers, _TOP + _UP
    width = max(1.5, 0.6 * _step(layers))
    named = {culprit.name for culprit in report.culprits}
    most = max(0.01, *(layer.saturated or 0.0 for layer in layers)) if layers else 0.01
    parts = [line(_LEFT, base, WIDTH - _RIGHT, base, GREY)]
    parts += [text(_LEFT - 6, _TOP + 8, "100 %"), text(_LEFT - 6, base + 4, "0")]
    parts += [text(_LEFT - 6, base + _DOWN, f"{100 * most:.2g} %")]
    for at, layer in enumerate(layers):
        x = _x(layers, at) - width / 2
        if layer.range_use is not None:
            parts.append(
                bar(x, base - _UP * layer.range_use, width, _UP * layer.range_use, _fill(layer, named, BLUE))
                + _titled(layer, f"{100 * layer.range_use:.3g} % of the range used")
                + "</rect>"
            )
        if layer.saturated:
            parts.append(
                bar(x, base, width, _DOWN * layer.saturated / most, RED)
                + _titled(layer, f"{100 * layer.saturated:.3g} % saturated")
                + "</rect>"
            )
    parts += _numbers(layers, base + _DOWN + 18)
    return svg(parts, base + _DOWN + _BOTTOM, "range use and saturation of every layer")


def _limits(layers: Sequence[LayerError]) -> tuple[float, float]:
    """Whole tens of decibels that hold what is interesting; beyond 60 dB nothing is."""
    seen = [db for layer in layers for db in (layer.snr_db, layer.harm_db) if db is not None]
    low = min([_LEAST_DB, *(max(db, -20.0) for db in seen)])
    return 10 * (low // 10), min(_MOST_DB, 10 * (max([30.0, *seen]) // 10 + 1))


def _decibel_lines(low: float, high: float) -> Iterator[str]:
    for db in range(int(low), int(high) + 1, 10):
        y = _y(db, low, high)
        yield line(_LEFT, y, WIDTH - _RIGHT, y, GREY if db == LOUD_DB else PALE, dashed=db == LOUD_DB)
        yield text(_LEFT - 6, y + 4, f"{db} dB")


def _bands(layers: Sequence[LayerError], named: set[str]) -> Iterator[str]:
    width = max(4.0, 0.9 * _step(layers))
    for at, layer in enumerate(layers):
        if layer.name in named:
            yield bar(_x(layers, at) - width / 2, _TOP, width, _HEIGHT, BLUSH) + "</rect>"


def _curve(layers: Sequence[LayerError], low: float, high: float) -> Iterator[str]:
    places = [(_x(layers, at), _y(layer.snr_db, low, high)) for at, layer in enumerate(layers)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline points="{points}" fill="none" stroke="{BLUE}" stroke-width="2"/>'
    for (x, y), layer in zip(places, layers, strict=True):
        said = "no error" if layer.snr_db is None else f"{layer.snr_db:.1f} dB with all error up to here"
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{BLUE}">{_titled(layer, said)}</circle>'


def _added(layers: Sequence[LayerError], named: set[str], low: float, high: float) -> Iterator[str]:
    for at, layer in enumerate(layers):
        if layer.harm_db is None:
            continue
        x, y = _x(layers, at), _y(layer.harm_db, low, high)
        size = 5 if layer.name in named else 3
        square = f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"'
        color = RED if layer.name in named else PAPER
        outline = RED if layer.name in named else SOFT
        yield f'{square} fill="{color}" stroke="{outline}">{_titled(layer, f"adds {layer.harm_db:.1f} dB")}</rect>'
        if layer.name in named:
            yield f'<text x="{x:.1f}" y="{_TOP - 3}" text-anchor="middle" style="fill:{RED}">{layer.position}</text>'


def _numbers(layers: Sequence[LayerError], y: float) -> Iterator[str]:
    every = -(-len(layers) // _MOST_LABELS) if layers else 1
    for at, layer in enumerate(layers):
        if at % every == 0:
            yield f'<text x="{_x(layers, at):.1f}" y="{y:.1f}" text-anchor="middle">{layer.position}</text>'


def _step(layers: Sequence[LayerError]) -> float:
    return (WIDTH - _LEFT - _RIGHT) / max(1, len(layers))


def _x(layers: Sequence[LayerError], at: int) -> float:
    return _LEFT + (at + 0.5) * _step(layers)


def _y(db: float | None, low: float, high: float) -> float:
    kept = high if db is None else min(high, max(low, db))
    return _TOP + _HEIGHT * (high - kept) / (high - low)


def _fill(layer: LayerError, named: set[str], color: str) -> str:
    return RED if layer.name in named else color


def _titled(layer: LayerError, said: str) -> str:
    return f"<title>{layer.position} {escape(layer.operator)} {escape(layer.name)}: {escape(said)}</title>"
