"""The plots of a search, as SVG that stands in the page itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from tinsmith.compress.search.report.loss import loss_of
from tinsmith.compress.search.report.quantities import Bytes, LossQuantity, Time
from tinsmith.compress.search.report.standing import WORDS, rank_of
from tinsmith.convert.layers.wording import shortened
from tinsmith.runtime.axes import Axes
from tinsmith.runtime.svg import BLUE, GREY, ORANGE, PALE, bar, line, svg, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.report.made import Made, Moved
    from tinsmith.compress.search.report.quantities import Quantity
    from tinsmith.compress.search.report.standing import Rank
    from tinsmith.compress.search.trial import Trial

__all__ = ["MOST_DEVICES", "pareto_plots", "size_plot"]

# Narrow, so that two stand side by side, and one can be read on a phone.
_WIDTH, _HEIGHT, _TOP, _LEFT, _RIGHT, _BOTTOM = 520, 270, 34, 66, 16, 46
# Every trial is in every plot: more would make the page heavy, and tell no more than the table.
MOST_DEVICES = 2
# From what lies behind to what lies in front.
_LAYERS: tuple[Rank, ...] = ("hopeless", "outdone", "misses", "kept", "front", "nearest", "chosen")
_ROW, _LABEL, _VALUE = 18, 60, 190
_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """One trial in a plot.

    Attributes:
        trial: The trial.
        rank: Where it stands.
        x: Its place to the right.
        y: Its place upward.
    """

    trial: Trial
    rank: Rank
    x: float
    y: float

    @property
    def shippable(self) -> bool:
        """Whether it is in the Pareto set."""
        return self.rank in ("front", "chosen")


def pareto_plots(record: Record) -> list[str]:
    """Bytes against loss, and both against the time on each of the first devices; the less in each the better."""
    loss, size = LossQuantity(loss=loss_of(record)), Bytes(whole=_nothing_beside(record))
    times = [Time(device=device["name"]) for device in record.devices[:MOST_DEVICES]]
    pairs: list[tuple[Quantity, Quantity]] = [(size, loss)]
    pairs += [pair for time in times for pair in ((time, loss), (time, size))]
    return [plot for along, upward in pairs if (plot := _plot(record, along, upward))]


def size_plot(made: Made) -> str:
    """Bytes of each kind, before and after; empty where nothing is known."""
    known = [one for one in made.moved if one.before_bytes is not None and one.after_bytes is not None]
    if not known:
        return ""
    most = max(amount for one in known for amount in (one.before_bytes or 0, one.after_bytes or 0)) or 1
    parts = [part for at, one in enumerate(known) for part in _pair(one, 6 + at * (2 * _ROW + 12), most)]
    return svg(parts, (2 * _ROW + 12) * len(known), "bytes before and after", width=_WIDTH)


def _nothing_beside(record: Record) -> bool:
    known = [trial.figures for trial in record.trials if trial.figures is not None]
    return all(figures.file_bytes == figures.flash_bytes for figures in known)


def _plot(record: Record, along: Quantity, upward: Quantity) -> str:
    points = list(_points(record, along, upward))
    if not points:
        return ""
    axes = _axes(points, record, along, upward)
    parts = [
        *_grid(axes, along, upward),
        *_bounds(record, axes, along, upward),
        *_front_line(points, axes),
        *(_mark(point, axes, along, upward) for rank in _LAYERS for point in points if point.rank == rank),
    ]
    said = f"trials: {along.name} to the right, {upward.name} upward"
    return svg(parts, _TOP + _HEIGHT + _BOTTOM, said, width=_WIDTH)


def _points(record: Record, along: Quantity, upward: Quantity) -> Iterator[_Point]:
    for trial in record.trials:
        if trial.figures is None:
            continue
        x, y = along.place(trial.figures), upward.place(trial.figures)
        if x is not None and y is not None:
            yield _Point(trial=trial, rank=rank_of(trial, record), x=x, y=y)


def _axes(points: Sequence[_Point], record: Record, along: Quantity, upward: Quantity) -> Axes:
    xs, ys = [point.x for point in points], [point.y for point in points]
    counting = _counting(points)
    asked_x, asked_y = _within(along.bounds(record), xs), _within(upward.bounds(record), ys)
    return Axes(
        xs=along.ends([*xs, *asked_x], [*(point.x for point in counting), *asked_x]),
        ys=upward.ends([*ys, *asked_y], [*(point.y for point in counting), *asked_y]),
        top=_TOP,
        height=_HEIGHT,
        left=_LEFT,
        right=_RIGHT,
        width=_WIDTH,
    )


def _counting(points: Sequence[_Point]) -> list[_Point]:
    """Those that the plot is about: what keeps the bounds, or where nothing does, the better three quarters."""
    kept = [point for point in points if point.rank in ("kept", "front", "chosen")]
    return kept or sorted(points, key=lambda point: point.y)[: 1 + 3 * len(points) // 4]


def _within(bounds: Sequence[tuple[float, str]], places: Sequence[float]) -> list[float]:
    """Those that are worth room in the plot: a bound that nothing comes near would make all points one."""
    finite = [place for place in places if math.isfinite(place)] or [0.0]
    room = 0.5 * (max(finite) - min(finite)) or math.inf
    return [place for place, _ in bounds if min(finite) - room <= place <= max(finite) + room]


def _grid(axes: Axes, along: Quantity, upward: Quantity) -> Iterator[str]:
    for place, said in upward.labels(*axes.ys):
        yield line(axes.left, axes.y(place), axes.edge, axes.y(place), PALE)
        yield text(axes.left - 6, axes.y(place) + 4, said)
    for place, said in along.labels(*axes.xs):
        yield line(axes.x(place), axes.top, axes.x(place), axes.base, PALE)
        yield text(axes.x(place), axes.base + 17, said, anchor="middle")
    yield line(axes.left, axes.base, axes.edge, axes.base, GREY)
    yield text(6, 14, f"↑ {upward.name}", anchor="start")
    yield text(axes.edge, axes.base + 36, f"{along.name} →")


def _bounds(record: Record, axes: Axes, along: Quantity, upward: Quantity) -> Iterator[str]:
    for place, name in along.bounds(record):
        if axes.xs[0] <= place <= axes.xs[1]:
            yield line(axes.x(place), axes.top, axes.x(place), axes.base, ORANGE, dashed=True)
            yield text(axes.x(place), axes.top - 5, name, anchor="middle", color=ORANGE)
    for place, name in upward.bounds(record):
        if axes.ys[0] <= place <= axes.ys[1]:
            yield line(axes.left, axes.y(place), axes.edge, axes.y(place), ORANGE, dashed=True)
            yield text(axes.edge - 4, axes.y(place) - 4, name, color=ORANGE)


def _front_line(points: Sequence[_Point], axes: Axes) -> Iterator[str]:
    """Joins those of the Pareto set that nothing beats in the two figures that are shown."""
    best = math.inf
    steps: list[tuple[float, float]] = []
    for point in sorted((point for point in points if point.shippable), key=lambda point: (point.x, point.y)):
        if point.y < best:
            steps += [(point.x, best), (point.x, point.y)] if steps else [(point.x, point.y)]
            best = point.y
    if len(steps) > 1:
        yield axes.path(steps, BLUE, width=1.5)


def _mark(point: _Point, axes: Axes, along: Quantity, upward: Quantity) -> str:
    x, y = axes.x(point.x), axes.y(min(max(point.y, axes.ys[0]), axes.ys[1]))
    shape = _shape(point, x, y, above=point.y > axes.ys[1])
    trial = point.trial
    assert trial.figures is not None
    figures = f"{along.said(trial.figures)}, {upward.said(trial.figures)}"
    said = f"{trial.number}: {shortened(trial.name, _NAME)}: {figures}; {WORDS[point.rank]}"
    return f'<a href="#t{trial.number}">{shape}<title>{escape(said)}</title></{_tag(shape)}></a>'


def _shape(point: _Point, x: float, y: float, *, above: bool) -> str:
    """An element that is not closed yet."""
    if point.rank in ("chosen", "nearest"):
        return f'<path class="{point.rank}" d="M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8-8z">'
    if above:
        return f'<path class="{point.rank}" d="M{x:.1f} {y - 4:.1f}l4 7h-8z">'
    radius = 4.5 if point.rank == "front" else 3.5
    return f'<circle class="{point.rank}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">'


def _tag(shape: str) -> str:
    return shape[1:].partition(" ")[0]


def _pair(moved: Moved, y: float, most: int) -> Iterator[str]:
    about = " (estimated)" if moved.estimated else ""
    yield text(_LABEL - 8, y + _ROW + 4, moved.quantity.upper() if moved.quantity == "ram" else moved.quantity)
    for at, (word, amount, color) in enumerate(
        (("before", moved.before_bytes, GREY), ("after", moved.after_bytes, BLUE))
    ):
        length = (_WIDTH - _LABEL - _VALUE) * (amount or 0) / most
        said = f"{amount:,} bytes {word}{about}"
        yield bar(_LABEL, y + at * _ROW, length, _ROW - 4, color) + f"<title>{moved.quantity}: {said}</title></rect>"
        yield text(_LABEL + length + 6, y + at * _ROW + 11, said, anchor="start")
