"""Where a trial stands among the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tinsmith.compress.search.front import front_of, nearest_of

if TYPE_CHECKING:
    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.trial import Trial

__all__ = ["WORDS", "Rank", "rank_of", "remark_of", "so_far"]

# The one to take; not beaten; keeps the bounds and is beaten; what misses them by least; misses them; the rest as in
# ``State``.
Rank = Literal["chosen", "front", "kept", "nearest", "misses", "hopeless", "outdone", "failed"]

WORDS: dict[Rank, str] = {
    "chosen": "chosen",
    "front": "Pareto set",
    "kept": "keeps the bounds",
    "nearest": "nearest",
    "misses": "misses a bound",
    "hopeless": "hopeless",
    "outdone": "outdone",
    "failed": "failed",
}


def so_far(record: Record) -> Record:
    """The same, with the Pareto set and the nearest of the trials that there are, where the search goes on."""
    if record.finished or record.front:
        return record
    front = front_of(record.trials, [device["name"] for device in record.devices])
    nearest = None if front else nearest_of(record.trials)
    return replace(
        record,
        front=tuple(trial.number for trial in front),
        nearest=None if nearest is None else nearest.number,
    )


def rank_of(trial: Trial, record: Record) -> Rank:
    """Where a trial stands."""
    if trial.number == record.chosen:
        return "chosen"
    if trial.number in record.front:
        return "front"
    if _is_nearest(trial, record):
        return "nearest"
    if trial.state == "done":
        return "kept" if trial.kept else "misses"
    return trial.state


def remark_of(trial: Trial) -> str:
    """Why it was given up, or which bounds it misses; empty where it keeps them."""
    missed = [f"{one.bound}: {one.said}" for one in trial.standings if not one.kept]
    return "; ".join(filter(None, (trial.remark, *(missed if trial.whole else ()))))


def _is_nearest(trial: Trial, record: Record) -> bool:
    return record.chosen is None and trial.number == record.nearest
