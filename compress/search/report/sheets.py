"""The trials of a search as CSV, and what it found as Markdown for pull requests."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from tinsmith.compress.search.report.again import lines_of, resuming
from tinsmith.compress.search.report.loss import loss_of
from tinsmith.compress.search.report.standing import WORDS, rank_of, remark_of, so_far
from tinsmith.compress.search.report.wording import answers, headline, tried
from tinsmith.runtime.intervals import figure
from tinsmith.runtime.markdown import escaped, markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tinsmith.compress.search.figures import Figures, Timed
    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.trial import Trial

__all__ = ["csv_text", "markdown"]

_COLUMNS = (
    "trial", "origin", "recipe", "format", "threads", "result", "file_bytes", "zip_bytes", "flash_bytes", "score",
    "drop", "class_drop", "worst", "agreement", "distance", "seconds", "sha256", "remark",
)  # fmt: skip
_TIMED = ("median_ms", "low_ms", "high_ms", "peak_memory_bytes")


def csv_text(record: Record) -> str:
    """RFC 4180, a row a trial, units in the header; a figure that was not measured is empty."""
    record = so_far(record)
    devices = [device["name"] for device in record.devices]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow((*_COLUMNS, *(f"{name}@{device}" for device in devices for name in _TIMED)))
    for trial in record.trials:
        cells = [*_cells(record, trial), *(cell for device in devices for cell in _times(trial.figures, device))]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return out.getvalue()


def markdown(record: Record, run: Path) -> str:
    """What was chosen, how it stands to each bound, the Pareto set, and the commands; short.

    Args:
        record: Of a search, finished or not.
        run: Its folder, for command lines.
    """
    record = so_far(record)
    subject = record.best
    parts = [
        "### Search",
        *_warnings(record),
        escaped(headline(record, subject)),
        *([] if subject is None else [*_standings(subject), *_answers(record, subject)]),
        *_front(record),
        escaped(tried(record)),
        *_commands(record, run, subject),
    ]
    return "\n\n".join(parts) + "\n"


def _cells(record: Record, trial: Trial) -> tuple[object, ...]:
    f = trial.figures
    known = (None,) * 9 if f is None else (
        f.file_bytes, f.zip_bytes, f.flash_bytes, f.score, f.drop, f.class_drop, f.worst, f.agreement, f.distance,
    )  # fmt: skip
    return (
        trial.number, trial.origin, trial.name, trial.target, trial.threads, WORDS[rank_of(trial, record)], *known,
        trial.seconds, trial.sha256, remark_of(trial),
    )  # fmt: skip


def _times(figures: Figures | None, device: str) -> tuple[object, ...]:
    timed = None if figures is None else figures.on(device)
    return tuple(None if timed is None else getattr(timed, name) for name in _TIMED)


def _warnings(record: Record) -> Iterator[str]:
    if not record.finished:
        yield "**Not finished; figures so far.** Go on with"
        yield _code(resuming(record))
    elif record.chosen is None:
        yield "**Nothing keeps every bound.**"
        if record.loosenings:
            yield "\n".join(
                ["Any one of these would be enough:\n", *(f"- {escaped(one.said)}" for one in record.loosenings)]
            )


def _standings(subject: Trial) -> Iterator[str]:
    rows = [(f"--{one.bound}", one.said, "kept" if one.kept else "**missed**") for one in subject.standings]
    if rows:
        columns = ("bound", "reached, and what was asked for", "")
        yield markdown_table(columns, rows, words=columns)


def _answers(record: Record, subject: Trial) -> Iterator[str]:
    said = [f"- {name}: {escaped(text)}" for name, text in answers(record, subject)]
    if said:
        yield "\n".join(said)


def _front(record: Record) -> Iterator[str]:
    devices = [device["name"] for device in record.devices]
    shown = [record.trial(number) for number in record.front]
    if shown:
        header = (
            "",
            "trial",
            "recipe",
            "flash bytes",
            "zip bytes",
            loss_of(record).name,
            *(f"ms on {d}" for d in devices),
        )
        rows = [_row(record, trial, devices) for trial in shown]
        yield markdown_table(header, rows, words=("", "recipe"))


def _row(record: Record, trial: Trial, devices: Sequence[str]) -> tuple[object, ...]:
    assert trial.figures is not None
    figures = trial.figures
    mark = "chosen" if trial.number == record.chosen else ""
    times = (_time(figures.on(device)) for device in devices)
    sizes = (f"{figures.flash_bytes:,}", f"{figures.zip_bytes:,}")
    return (mark, trial.number, f"{trial.name} ({trial.target})", *sizes, loss_of(record).figure(figures), *times)


def _time(timed: Timed | None) -> str:
    return "-" if timed is None else figure(timed.median_ms)


def _commands(record: Record, run: Path, subject: Trial | None) -> Iterator[str]:
    lines = lines_of(record, run, subject)
    if lines:
        yield "\n".join(_code(one.typed) for one in lines)


def _code(typed: str) -> str:
    return f"    {typed}".replace("\n", " ")
