"""Earlier measurements as people see them: a line over time and a table for each model and device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.commands.output import table
from tinsmith.runtime.intervals import figure, interval_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from tinsmith.devices.benchmarking.history import Entry, Series

__all__ = ["history_view", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH, _ROWS = 80, 20
_FLAT = 0.1
_COLUMNS = ("taken (UTC)", "version", "median ms (95 %)", "p90 ms", "load ms", "effort", "verdict")


def history_view(series: Sequence[Series]) -> list[RenderableType | str]:
    """The newest 20 of each, and all of the last 80 in its line."""
    if not series:
        return ["Nothing was measured here yet: tinsmith benchmark MODEL."]
    return [part for one in series for part in _one(one)]


def sparkline(values: Sequence[float]) -> str:
    """A bar each, from the least to the most; figures within 10 % of each other stay near the middle.

    Args:
        values: Above 0.
    """
    low, high = min(values), max(values)
    air = max(0.0, _FLAT * high - (high - low)) / 2
    low, high = low - air, high + air
    return "".join(_BARS[round((value - low) / (high - low) * (len(_BARS) - 1))] for value in values)


def _one(series: Series) -> Iterator[RenderableType | str]:
    medians = [entry.median_ms for entry in series.entries[-_WIDTH:]]
    yield table(_COLUMNS, [_cells(entry) for entry in series.entries[-_ROWS:]], title=series.title)
    yield f"{sparkline(medians)}  {figure(min(medians))} to {figure(max(medians))} ms"


def _cells(e: Entry) -> list[object]:
    return [
        e.taken_at[:16].replace("T", " "),
        e.engine_version,
        interval_text(e.median_ms, e.interval_ms),
        "-" if e.p90_ms is None else figure(e.p90_ms),
        figure(e.load_ms),
        e.effort,
        e.verdict,
    ]
