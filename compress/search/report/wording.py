"""What a search found, in a sentence or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.compress.search.figures import changed
from tinsmith.compress.search.report.loss import loss_of
from tinsmith.runtime.intervals import figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.trial import Trial

__all__ = ["answers", "headline", "tried"]

# A class that loses more is worth a word, though nobody has bounded it.
_MUCH = 0.05


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


def answers(record: Record, trial: Trial) -> Iterator[tuple[str, str]]:
    """What became of a trial's answers beside what was bounded, under short names."""
    asked, figures = {one["bound"]: one["allowed"] for one in record.ask}, trial.figures
    if figures is None:
        return
    if figures.agreement is not None and "min-agreement" not in asked:
        yield "agreement", f"with the source on {figures.agreement:.2%} of the samples"
    if figures.class_drop is not None and figures.class_drop > 0 and "max-class-drop" not in asked:
        much = figures.class_drop > max(_MUCH, asked.get("max-drop", 0.0))
        hint = "; --max-class-drop bounds what any may lose" if much else ""
        yield "lost most", f"{figures.worst}, {100 * figures.class_drop:.2f} points{hint}"


def _lost(record: Record, subject: Trial) -> str:
    assert subject.figures is not None
    loss = loss_of(record)
    if loss.unit != "points":
        return loss.text(subject.figures)
    return changed(subject.figures.loss)
