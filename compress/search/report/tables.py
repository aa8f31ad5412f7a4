"""Everything of a search that has rows, as HTML."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinsmith.compress.search.report.cells import ABSENT, Number, Row, Words, html_table
from tinsmith.compress.search.report.loss import loss_of
from tinsmith.compress.search.report.standing import WORDS, rank_of, remark_of
from tinsmith.runtime.intervals import figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tinsmith.compress.search.figures import Figures, Timed
    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.report.made import Made, Part
    from tinsmith.compress.search.trial import Trial

__all__ = [
    "bounds_table",
    "latency_table",
    "operators_table",
    "parts_table",
    "placement_table",
    "sizes_table",
    "trials_table",
]


def bounds_table(trial: Trial) -> str:
    """Each bound, and how the trial stands to it."""
    rows = [
        Row(cells=[
            Words(said=f"--{one.bound}"),
            Words(said=one.said),
            Words(said="✓ kept" if one.kept else "✗ missed", bad=not one.kept),
        ])
        for one in trial.standings
    ]  # fmt: skip
    columns = ("bound", "reached, and what was asked for", "")
    return html_table(columns, rows, words=columns)


def sizes_table(record: Record, made: Made) -> str:
    """Bytes before and after, and what they are of each other."""
    names = {"file": "file", "zip": "zip (deflated)", "flash": "flash (weights and graph)", "ram": "RAM (activations)"}
    rows = [
        Row(cells=[
            Words(said=names[one.quantity] + (", estimated" if one.estimated else "")),
            Number.of(one.before_bytes, ",d"),
            Number.of(one.after_bytes, ",d"),
            _share(one.before_bytes, one.after_bytes),
        ])
        for one in made.moved
    ]  # fmt: skip
    was, now = record.source["bytes"], made.moved[0].after_bytes
    rows.insert(0, Row(cells=[Words(said=f"model as it came ({record.source['format']})"), Number.of(was, ",d"),
                              Number.of(now, ",d"), _share(was, now)]))  # fmt: skip
    return html_table(("", "before, bytes", "after, bytes", "after / before"), rows, words=("",))


def latency_table(record: Record) -> str:
    """What the Pareto set takes on each device, with its interval."""
    numbers = record.front or ((record.nearest,) if record.nearest else ())
    rows = [
        _latency_row(record, record.trial(number), timed)
        for device in record.devices
        for number in numbers
        if (timed := _on(record.trial(number), device["name"])) is not None
    ]
    columns = ("device", "trial", "recipe", "threads", "median, ms", "95 % from, ms", "to, ms", "peak, MiB")
    return html_table(columns, rows, words=("device", "recipe"), sortable=True) if rows else ""


def parts_table(kind: str, parts: Sequence[Part], *, metric: str, in_points: bool, most: int) -> str:
    """Classes or slices before and after, those that lost most first.

    Args:
        kind: What they are.
        parts: In that order.
        metric: What judged.
        in_points: Whether scores are shares.
        most: So many rows at most.
    """
    form = ".2%" if in_points else ".4g"
    rows = [
        Row(cells=[
            Words(said=part.name),
            Number(said=f"{part.samples:,}" + (" (few)" if part.has_few else ""), value=part.samples),
            Number.of(part.before, form),
            Number.of(part.after, form),
            Number(said=f"{100 * part.change:+.2f}" if in_points else f"{part.change:+.4g}", value=part.change),
        ])
        for part in parts[:most]
    ]  # fmt: skip
    columns = (kind, "samples", f"{metric} before", f"{metric} after", "change, points" if in_points else "change")
    return html_table(columns, rows, words=(kind,), sortable=True)


def operators_table(made: Made) -> str:
    """What the artifact computes in."""
    rows = [
        Row(cells=[Words(said=one.name), Number.of(one.count, ",d"), Words(said=one.precision)])
        for one in sorted(made.operators, key=lambda one: (-one.count, one.name))
    ]
    return html_table(("operator", "count", "computes in"), rows, words=("operator", "computes in"))


def placement_table(timed: Iterable[Timed]) -> str:
    """Which unit of a device runs which operators; empty where nobody knows."""
    rows = [
        Row(cells=[
            Words(said=one.device),
            Words(said=unit),
            Number.of(sum(names.values()) or None, ",d"),
            Words(said=", ".join(f"{count} {name}" for name, count in names.items()) or "all of them"),
        ])
        for one in timed
        for unit, names in one.placement.items()
    ]  # fmt: skip
    columns = ("device", "unit", "operators", "which")
    return html_table(columns, rows, words=("device", "unit", "which")) if rows else ""


def trials_table(record: Record) -> str:
    """Every trial once, in the order they were proposed."""
    devices = [device["name"] for device in record.devices]
    figures = [trial.figures for trial in record.trials if trial.figures is not None]
    more = [column for column in _MORE if any(column[1](one) is not None for one in figures)]
    columns = (
        "trial", "recipe", "format", "threads", "result", "flash, bytes", "zip, bytes", loss_of(record).name,
        *(name for name, _, _ in more), *(f"{device}, ms" for device in devices), "took, s", "remark",
    )  # fmt: skip
    rows = [_trial(record, trial, devices, more) for trial in record.trials]
    return html_table(columns, rows, words=("recipe", "format", "result", "remark"), sortable=True)


_Column = tuple[str, "Callable[[Figures], float | None]", "Callable[[Figures], Number | Words]"]
_MORE: tuple[_Column, ...] = (
    (
        "worst class, points",
        lambda figures: figures.class_drop,
        lambda figures: _points(figures.class_drop, figures.worst),
    ),
    ("agreement", lambda figures: figures.agreement, lambda figures: Number.of(figures.agreement, ".2%")),
)


def _trial(record: Record, trial: Trial, devices: Sequence[str], more: Sequence[_Column]) -> Row:
    rank, figures = rank_of(trial, record), trial.figures
    known: list[Number | Words] = [Number(said=ABSENT)] * (3 + len(more) + len(devices))
    if figures is not None:
        loss = loss_of(record)
        known = [
            Number.of(figures.flash_bytes, ",d"),
            Number.of(figures.zip_bytes, ",d"),
            Number(said=loss.figure(figures), value=loss.amount(figures)),
            *(cell(figures) for _, _, cell in more),
            *(_time(figures.on(device)) for device in devices),
        ]
    cells: list[Number | Words] = [
        Number.of(trial.number, "d"), Words(said=trial.name), Words(said=trial.target), Number.of(trial.threads, "d"),
        Words(said=WORDS[rank]), *known, Number.of(trial.seconds, ".1f"), Words(said=remark_of(trial)),
    ]  # fmt: skip
    return Row(cells=cells, kind=rank, anchor=f"t{trial.number}")


def _points(drop: float | None, of: str) -> Number:
    if drop is None:
        return Number(said=ABSENT)
    said = f"{100 * drop:z.2f}" if math.isfinite(drop) else "all"
    return Number(said=f"{said} ({of})" if of else said, value=100 * drop)


def _time(timed: Timed | None) -> Number:
    return Number(said=ABSENT) if timed is None else Number(said=figure(timed.median_ms), value=timed.median_ms)


def _latency_row(record: Record, trial: Trial, timed: Timed) -> Row:
    ends = [Number(said=ABSENT) if end is None else Number(said=figure(end), value=end)
            for end in (timed.low_ms, timed.high_ms)]  # fmt: skip
    cells: list[Number | Words] = [
        Words(said=timed.device), Number.of(trial.number, "d"), Words(said=trial.name), Number.of(timed.threads, "d"),
        _time(timed), *ends, Number.of(timed.peak_memory_bytes / 2**20, ",.1f"),
    ]  # fmt: skip
    return Row(cells=cells, kind=rank_of(trial, record))


def _on(trial: Trial, device: str) -> Timed | None:
    return None if trial.figures is None else trial.figures.on(device)


def _share(before: int | None, after: int | None) -> Number:
    return Number.of(after / before if before and after is not None else None, ".3f")
