"""What came of one recipe that was tried."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Trial", "TrialLog"]


_CLEARLY, _CHANCE = 0.9, 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One recipe, tried and judged.

    Attributes:
        name: What was changed, for people.
        lacking: How far the budget was missed, in shares of 1, summed over its limits; 0 where it was met; None where
            the recipe could not be carried out.
        score: Of the metric; None where nothing says what is right, or as above.
        agreement: Share of samples that name the class that the source names, 0 to 1; None for other models.
        distance: Mean squared distance of its answers from the source's, on a few samples; None where it was not told.
        size_bytes: Of the artifact.
        seconds: That the trial took.
        remark: Why it could not be carried out, or which limits it missed.
    """

    name: str
    lacking: float | None
    score: float | None = None
    agreement: float | None = None
    distance: float | None = None
    size_bytes: int = 0
    seconds: float = 0.0
    remark: str = ""

    @property
    def met(self) -> bool:
        """Whether the budget was met."""
        return self.lacking == 0

    def better_than(self, other: Trial) -> bool:
        """Whether it misses the budget by less; what could not be carried out is better than nothing."""
        if self.lacking is None:
            return False
        return other.lacking is None or self.lacking < other.lacking

    def nearer_than(self, other: Trial) -> bool:
        """Whether its answers are clearly nearer to the source's, and it misses the budget by no more than chance.

        Shares are counted on samples, and a count of some thousand is right to half a point; distances are finer.
        """
        if self.lacking is None or other.lacking is None or self.distance is None or other.distance is None:
            return False
        return self.distance < _CLEARLY * other.distance and self.lacking <= other.lacking + _CHANCE

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {**asdict(self), "met": self.met}


class TrialLog:
    """Trials by their recipes, kept on disk so that a killed ladder climbs past them at once.

    Args:
        path: The file; None to keep nothing.
        judged: Names what judges: the same recipe judged otherwise is another trial.
    """

    def __init__(self, path: Path | None, judged: str) -> None:
        self._path, self._judged = path, judged
        self._trials: dict[str, dict[str, Any]] = self._read()

    def find(self, steps: list[dict[str, Any]], name: str) -> Trial | None:
        """The trial of these steps, under the name that it has now."""
        found = self._trials.get(self._key(steps))
        return None if found is None else replace(Trial(**found), name=name)

    def keep(self, steps: list[dict[str, Any]], trial: Trial) -> None:
        """Note a trial."""
        self._trials[self._key(steps)] = asdict(trial)
        if self._path is not None:
            write_text(self._path, json.dumps(self._trials, indent=2, sort_keys=True))

    def _key(self, steps: list[dict[str, Any]]) -> str:
        return json.dumps([self._judged, *steps], sort_keys=True)

    def _read(self) -> dict[str, dict[str, Any]]:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
