"""What a search found, in a sentence or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.compress.search.report.loss import loss_of
from tinsmith.runtime.intervals import figure

if TYPE_CHECKING:
    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.trial import Trial

__all__ = ["headline", "tried"]


def headline(record: Record, subject: Trial | None) -> str:
    """What was chosen, or comes nearest, with its figures."""
    if subject is None or subject.figures is None:
        return "No recipe is chosen yet." if not record.finished else "No recipe could be carried out."
    figures = subject.figures
    before = record.source["bytes"]
    times = "".join(f", {figure(timed.median_ms)} ms on {timed.device}" for timed in figures.timed)
    word = "Chosen" if record.chosen is not None else "Nearest"
    return (
        f"{word}: trial {subject.number} ({subject.name}, {subject.target}): {figures.flash_bytes:,} bytes "
        f"({figures.flash_bytes / before:.2f} of the model's {before:,}), {_lost(record, subject)}{times}."
    )


def tried(record: Record) -> str:
    """How far the search went."""
    kept = sum(trial.kept for trial in record.trials)
    ended = f" It ended: {record.ended}." if record.ended else ""
    judged = "" if record.score is None else f" Judged by {record.metric}: the source has {record.score:.4g}."
    return (
        f"{len(record.trials):,} recipes were tried in {record.seconds / 60:,.1f} minutes from {record.began} on; "
        f"{kept:,} keep every bound, {len(record.front):,} of these are in the Pareto set.{ended}{judged}"
    )


def _lost(record: Record, subject: Trial) -> str:
    assert subject.figures is not None
    loss = loss_of(record)
    if loss.unit != "points":
        return loss.text(subject.figures)
    lost = loss.amount(subject.figures)
    return f"{abs(lost):.2f} points {'gained' if lost < 0 else 'lost'}"
