"""The plots of a benchmark, as SVG: run times over time, operators, and earlier measurements."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tinsmith.devices.benchmarking.windows import states_of, windows_of
from tinsmith.devices.benchmarking.wording import shortened
from tinsmith.runtime.axes import Axes, ticks
from tinsmith.runtime.intervals import figure, interval_text
from tinsmith.runtime.svg import BLUE, GREEN, GREY, ORANGE, PALE, PAPER, RED, WIDTH, bar, line, svg, text
from tinsmith.runtime.verdict import STABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tinsmith.devices.benchmarking.history import Entry, Series
    from tinsmith.devices.benchmarking.windows import State
    from tinsmith.runtime.measurement import Measurement
    from tinsmith.runtime.operator_times import OperatorTime

__all__ = ["history_plot", "operators_plot", "time_plot"]

_PANEL_HEIGHT, _GAP = 70, 20
_STATES: tuple[tuple[str, str, Callable[[State], float | None]], ...] = (
    ("°C", ORANGE, lambda state: state.temperature_c),
    ("MHz", GREEN, lambda state: state.frequency_mhz),
)
_ROW, _LABEL, _VALUE = 20, 330, 120
_MOST_OPERATORS = 30
_MOST_DATES = 8
_LABEL_LETTERS, _NAME_LETTERS = 48, 12


def time_plot(measurement: Measurement) -> str:
    """Median run times in windows over the time of all processes; temperature and frequency below, where known."""
    windows, states = windows_of(measurement), states_of(measurement)
    end_s = states[-1].at_s or 1e-9
    times = [window.median_ms for window in windows]
    axes = Axes(xs=(0.0, end_s), ys=_room(times))
    parts = [*axes.across("ms"), *_boundaries(axes, states)]
    for number in range(len(measurement.processes)):
        points = [(w.at_s, w.median_ms) for w in windows if w.process == number]
        parts += _dotted(axes, points, BLUE, "ms")
    lowest = axes.base
    for unit, color, get in _STATES:
        if panel := _panel(axes, states, unit, color, get, top=lowest + _GAP):
            parts, lowest = parts + panel, lowest + _GAP + _PANEL_HEIGHT
    bottom = Axes(xs=axes.xs, ys=(0, 1), top=lowest, height=0)
    parts += bottom.along(_moments(end_s))
    return svg(parts, lowest + 26, f"run times of {measurement.artifact} over time")


def operators_plot(operators: Sequence[OperatorTime]) -> str:
    """A bar for each of the slowest operators, longest first, and one for all others together."""
    ordered = sorted(operators, key=lambda operator: -operator.time_ns)
    shown, rest = ordered[:_MOST_OPERATORS], ordered[_MOST_OPERATORS:]
    total_ns = sum(operator.time_ns for operator in operators) or 1
    rows = [(_named(operator), operator.unit, operator.time_ns) for operator in shown]
    if rest:
        rows.append((f"{len(rest)} others", "", sum(operator.time_ns for operator in rest)))
    longest_ns = max((time_ns for _, _, time_ns in rows), default=1) or 1
    parts = [
        part
        for at, (name, unit, time_ns) in enumerate(rows)
        for part in _operator(at, name, unit, time_ns / 1e6, time_ns / total_ns, time_ns / longest_ns)
    ]
    return svg(parts, _ROW * len(rows) + 8, "time of each operator")


def history_plot(series: Series) -> str:
    """The median of each measurement with its interval, from the oldest to the newest, at equal distances."""
    entries = series.entries
    ends = [end for entry in entries for end in _ends(entry)]
    axes = Axes(xs=(-0.5, len(entries) - 0.5), ys=_room(ends))
    parts = [*axes.across("ms")]
    parts.append(axes.path([(at, entry.median_ms) for at, entry in enumerate(entries)], GREY, width=1))
    for at, entry in enumerate(entries):
        parts += _entry(axes, at, entry)
    every = -(-len(entries) // _MOST_DATES)
    one_day = len(entries) > 1 and len({entry.taken_at[:10] for entry in entries}) == 1
    label = slice(11, 16) if one_day else slice(10)
    dates = [(float(at), entry.taken_at[label]) for at, entry in enumerate(entries) if at % every == 0]
    return svg([*parts, *axes.along(dates)], axes.base + 26, f"{series.title} over time")


def _room(values: Sequence[float]) -> tuple[float, float]:
    """Limits with some air; figures that hardly differ are not spread over the whole height."""
    low, high = min(values), max(values)
    air = max(0.08 * (high - low), 0.05 * high, 1e-9)
    return max(0.0, low - air), high + air


def _dotted(axes: Axes, points: Sequence[tuple[float, float]], color: str, unit: str) -> Iterator[str]:
    if len(points) > 1:
        yield axes.path(points, color)
    for x, y in points:
        title = f"<title>{figure(y)} {unit} at {x:.0f} s</title>"
        yield f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="2.5" fill="{color}">{title}</circle>'


def _boundaries(axes: Axes, states: Sequence[State]) -> Iterator[str]:
    """Where one process ends and another begins."""
    for state in states[2::2]:
        x = axes.x(state.at_s)
        yield line(x, axes.top, x, axes.base, PALE, dashed=True)


def _panel(
    above: Axes, states: Sequence[State], unit: str, color: str, get: Callable[[State], float | None], *, top: float
) -> list[str]:
    """A quantity of the device's, below the run times; nothing where nobody could read it."""
    points = [(state.at_s, value) for state in states if (value := get(state)) is not None]
    if not points:
        return []
    axes = Axes(xs=above.xs, ys=_room([value for _, value in points]), top=top, height=_PANEL_HEIGHT)
    return [*axes.across(unit, most=4, color=color), *_dotted(axes, points, color, unit)]


def _moments(end_s: float) -> list[tuple[float, str]]:
    if end_s >= 180:
        return [(60 * minute, f"{minute:g} min") for minute in ticks(0, end_s / 60, most=10)]
    return [(second, f"{second:g} s") for second in ticks(0, end_s, most=10)]


def _named(operator: OperatorTime) -> str:
    """What it is, and as much of its name as there is room for."""
    room = max(_NAME_LETTERS, _LABEL_LETTERS - len(operator.operator) - len(operator.unit))
    return f"{operator.operator} {shortened(operator.name, room)}".strip()


def _operator(at: int, name: str, unit: str, time_ms: float, share: float, length: float) -> Iterable[str]:
    y = 4 + _ROW * at
    width = (WIDTH - _LABEL - _VALUE) * length
    said = f"{time_ms:.4f} ms, {100 * share:.1f} %"
    color = BLUE if unit else GREY
    title = f"<title>{escape(f'{name} on {unit}' if unit else name)}: {said}</title></rect>"
    yield text(_LABEL - 8, y + 12, f"{name} · {unit}" if unit else name)
    yield bar(_LABEL, y + 2, width, _ROW - 6, color) + title
    yield text(_LABEL + width + 6, y + 12, said, anchor="start")


def _ends(entry: Entry) -> tuple[float, ...]:
    interval = entry.interval_ms
    return (entry.median_ms,) if interval is None else (interval.low, interval.high)


def _entry(axes: Axes, at: int, entry: Entry) -> Iterator[str]:
    """A dot in its interval; a hollow one where the verdict was not stable."""
    x, y = axes.x(at), axes.y(entry.median_ms)
    color = BLUE if entry.verdict == STABLE else RED
    if interval := entry.interval_ms:
        yield line(x, axes.y(interval.low), x, axes.y(interval.high), color)
    fill = color if entry.verdict == STABLE else PAPER
    said = f"{entry.taken_at}: {interval_text(entry.median_ms, interval)} ms, {entry.engine_version}, {entry.verdict}"
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{color}">'
    yield f"{dot}<title>{escape(said)}</title></circle>"
