"""What a tracker does with a search and its trials, and what tells it."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from tinsmith.compress.training.tracking.tracker import translated
from tinsmith.runtime.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SearchEnd", "SearchRun", "TrackedTrials", "TrialRun", "TrialTracker"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRun:
    """A search, as a run.

    Attributes:
        search: Names it, 8 hex digits drawn by chance; one that goes on after a kill keeps it.
        name: For people.
        settings: What was asked for, of which model, and how it goes about it.
    """

    search: str
    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRun:
    """A trial, as a run of its own below that of the search.

    Attributes:
        number: From 1.
        name: For people.
        settings: What was chosen: the recipe in full, and what is worth comparing of it.
        figures: What was measured, with the unit in the name; all finite.
        state: What became of it.
        remark: Why it was given up, or could not be carried out; empty where it was not.
        failed: Whether nothing came of it.
        chosen: Whether the search ended with it.
    """

    number: int
    name: str
    settings: Mapping[str, Any]
    figures: Mapping[str, float]
    state: str
    remark: str = ""
    failed: bool = False
    chosen: bool = False

    @property
    def mark(self) -> str:
        """The same, 8 hex digits, for runs that are alike in everything."""
        said = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEnd:
    """How a search ended.

    Attributes:
        finished: Whether it did; one that broke off may go on.
        ended: Why it went no further; empty where it broke off.
        chosen: Number of the trial it ended with; None where nothing keeps the bounds.
    """

    finished: bool
    ended: str = ""
    chosen: int | None = None


class TrialTracker(Protocol):
    """Keeps searches; one that goes on after a kill goes on in its run.

    Attributes:
        place: Where it writes, for messages.
    """

    place: str

    def open_search(self, search: SearchRun) -> Mapping[int, str]:
        """Open the run of a search, and give the trials that it holds whole: their marks by their numbers."""
        ...

    def tried(self, trial: TrialRun) -> None:
        """Add a trial, whole or not at all; it takes the place of what is held by its number."""
        ...

    def end_search(self, end: SearchEnd) -> None:
        """End the run; it may be opened again."""
        ...


class TrackedTrials:
    """Tells a tracker each trial of a search once, however often the search was killed.

    A search that goes on tells all its trials again. Those that the tracker holds as they are now are left alone.

    Args:
        tracker: That is told.
        search: Its run is opened here.

    Raises:
        OutputError: The tracker failed. The search ends then, and what it found stays.
    """

    def __init__(self, tracker: TrialTracker, search: SearchRun) -> None:
        self._tracker = tracker
        with translated(tracker.place):
            self._held = dict(tracker.open_search(search))
        self._trials: dict[int, TrialRun] = {}

    def tried(self, trial: TrialRun) -> None:
        """Tell a trial that the run lacks, or holds otherwise; whether it is chosen shows in the end."""
        self._trials[trial.number] = trial
        if self._held.get(trial.number) != replace(trial, chosen=True).mark:
            self._tell(trial)

    def ended(self, end: SearchEnd) -> None:
        """Mark the chosen one, and no other, and end the run."""
        for trial in self._trials.values():
            self._tell(replace(trial, chosen=trial.number == end.chosen))
        with translated(self._tracker.place):
            self._tracker.end_search(end)

    def broke_off(self) -> None:
        """End the run; what goes wrong with it must not hide why the search broke off."""
        try:
            with translated(self._tracker.place):
                self._tracker.end_search(SearchEnd(finished=False))
        except OutputError as error:
            logger.warning("%s", error.message)

    def _tell(self, trial: TrialRun) -> None:
        if self._held.get(trial.number) != trial.mark:
            with translated(self._tracker.place):
                self._tracker.tried(trial)
            self._held[trial.number] = trial.mark
