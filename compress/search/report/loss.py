"""What answers have lost, in the unit of one search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinsmith.compress.search.figures import Figures
    from tinsmith.compress.search.record import Record

__all__ = ["Loss", "loss_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """How the loss of this search's artifacts is said.

    Attributes:
        name: What it is, with its unit.
        unit: Behind a figure.
        factor: From ``Figures.loss`` to that unit.
        bound: The option that bounds it; empty where there is none.
    """

    name: str
    unit: str
    factor: float
    bound: str

    def amount(self, figures: Figures) -> float:
        """In the unit; infinite where a perfect score was lost."""
        return self.factor * figures.loss

    def text(self, figures: Figures) -> str:
        """For people, with the unit."""
        return f"{self.figure(figures)} {self.unit}".strip()

    def figure(self, figures: Figures) -> str:
        """Without the unit."""
        amount = self.amount(figures)
        if not math.isfinite(amount):
            return "all"
        return f"{amount:.3g}" if self.factor == 1 else f"{amount:z.2f}"

    def allowed(self, record: Record) -> float | None:
        """The bound in the unit; None where it was not bounded."""
        asked = {one["bound"]: float(one["allowed"]) for one in record.ask}
        if self.bound not in asked:
            return None
        return self.factor * (1 - asked[self.bound] if self.bound == "min-agreement" else asked[self.bound])


_POINTS = Loss(name="loss, points", unit="points", factor=100, bound="max-drop")
_OTHERS = Loss(name="other answers, %", unit="% other answers", factor=100, bound="min-agreement")
_DISTANCE = Loss(name="mean squared distance", unit="mean squared distance", factor=1, bound="")


def loss_of(record: Record) -> Loss:
    """As ``Figures.loss`` takes the first that is known of: the score, agreement, distance."""
    known = [trial.figures for trial in record.trials if trial.figures is not None]
    if any(figures.drop is not None for figures in known):
        return _POINTS
    return _OTHERS if any(figures.agreement is not None for figures in known) else _DISTANCE
