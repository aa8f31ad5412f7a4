"""Experiment trackers are told how a search goes on."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.compress.training.tracking.trials import SearchEnd, SearchRun, TrackedTrials, TrialRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Self

    from tinsmith.compress.search.found import Found
    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.trial import Trial
    from tinsmith.compress.training.tracking.trials import TrialTracker

__all__ = ["SearchTracking", "search_run", "trial_run"]

# What all three trackers take in the name of a figure.
_UNSAFE = re.compile(r"[^\w.-]+")


class SearchTracking:
    """A ``Watch`` that tells trackers; as a context, it ends their runs where the search breaks off.

    Args:
        trackers: All that are told.
        search: Opened in each of them.

    Raises:
        OutputError: A tracker failed. The search ends then, and may go on once that is mended.
    """

    def __init__(self, trackers: Sequence[TrialTracker], search: SearchRun) -> None:
        self._open = [TrackedTrials(tracker, search) for tracker in trackers]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for tracked in self._open:
            tracked.broke_off()

    def tried(self, trial: Trial) -> None:
        """Tell one more."""
        run = trial_run(trial)
        for tracked in self._open:
            tracked.tried(run)

    def ended(self, found: Found) -> None:
        """Tell how it ended; where a device went away, it may go on."""
        chosen = None if found.chosen is None else found.chosen.number
        end = SearchEnd(finished=found.lost is None, ended=found.ended, chosen=chosen)
        while self._open:
            tracked = self._open[0]
            tracked.ended(end)
            self._open.remove(tracked)


def search_run(record: Record, search: str) -> SearchRun:
    """What trackers are told of a search.

    Args:
        record: As it begins.
        search: Its name, 8 hex digits.
    """
    settings = {
        "model": record.source["path"],
        "model_sha256": record.source["sha256"],
        "data": None if record.data is None else record.data["reference"],
        "metric": record.metric,
        "source_score": record.score,
        **{bound["bound"]: bound["said"] for bound in record.ask},
        **record.settings,
    }
    said = {_safe(name): value for name, value in settings.items() if value not in (None, "")}
    return SearchRun(search=search, name=f"{Path(record.source['path']).stem}-search", settings=said)


def trial_run(trial: Trial) -> TrialRun:
    """What trackers are told of a trial."""
    return TrialRun(
        number=trial.number,
        name=f"{trial.number:03d} {trial.name}",
        settings={
            **dict(_choices(trial)),
            "target": trial.target,
            "threads": trial.threads,
            "origin": trial.origin,
            # JSON is YAML as well: it can be saved as a recipe
            "recipe": json.dumps(trial.recipe),
        },
        figures={_safe(name): float(figure) for name, figure in _figures(trial) if math.isfinite(figure)},
        state=trial.state,
        remark=trial.remark,
        failed=trial.state == "failed",
    )


def _choices(trial: Trial) -> Iterator[tuple[str, Any]]:
    """What each step is told in one word or number, such as ``quantize.scheme``, for tables and plots."""
    for step in trial.recipe["steps"]:
        for name, value in step.items():
            if name != "kind" and isinstance(value, str | int | float):
                yield f"{step['kind']}.{name}", value


def _figures(trial: Trial) -> Iterator[tuple[str, float]]:
    yield from (("seconds", trial.seconds), ("lacking", trial.lacking))
    if trial.figures is None:
        return
    for name in ("file_bytes", "zip_bytes", "flash_bytes", "score", "drop", "class_drop", "agreement", "distance"):
        figure = getattr(trial.figures, name)
        if figure is not None:
            yield name, figure
    for timed in trial.figures.timed:
        yield f"latency_ms.{timed.device}", timed.median_ms
        yield f"memory_bytes.{timed.device}", timed.peak_memory_bytes


def _safe(name: str) -> str:
    return _UNSAFE.sub("-", name)
