"""What compression may cost, and whether it did: numbers in, verdicts out."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from tinsmith.convert.evaluation import Evaluation

__all__ = ["Bound", "Budget", "Verdict", "share_of"]

Bound = Literal["max-drop", "max-class-drop", "min-agreement"]

_SHARE = re.compile(r"\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))\s*(?P<unit>%|pts?|points?)?\s*")
_WRITE = "write half a point as 0.5%, 0.5pt or 0.005"
# Differences of shares are rounded: 0.863 - 0.858 is a little more than 0.005.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One bound, and what was reached.

    Attributes:
        bound: Its name, as the option is called.
        allowed: The bound, 0 to 1: of a loss the most, of an agreement the least.
        reached: The same for what was measured; a loss below 0 is a gain. Infinite where a perfect score was lost.
        of: What lost it: the metric, or the worst class or slice; what agrees.
        relative: Whether the loss is a share of the source's score, and not in points.
        others: How many further classes and slices lie beyond the bound.
    """

    bound: Bound
    allowed: float
    reached: float
    of: str
    relative: bool = False
    others: int = 0

    @property
    def beyond(self) -> float:
        """How far it lies beyond the bound; below 0 there is room left."""
        return self.allowed - self.reached if self.bound == "min-agreement" else self.reached - self.allowed

    @property
    def missed(self) -> bool:
        """Whether the bound was not kept."""
        return self.beyond > _ROUNDING

    @property
    def text(self) -> str:
        """For people, in one line."""
        if self.bound == "min-agreement":
            return f"{self.reached:.2%} of {self.of}, {self.allowed:.2%} are asked for"
        unit = "% of the source's" if self.relative else "points"
        change = "gains" if self.reached < 0 else "loses"
        more = f"; {self.others} more classes or slices lose too much" if self.others > 1 else ""
        more = more or ("; one more class or slice loses too much" if self.others else "")
        return f"{self.of} {change} {100 * abs(self.reached):.2f} {unit}, {100 * self.allowed:.2f} are allowed{more}"

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        reached = self.reached if math.isfinite(self.reached) else None
        return {**asdict(self), "reached": reached, "missed": self.missed, "text": self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much worse than its source an artifact may be. Nothing is bounded unless it is said.

    Losses are in points of a score that lies within 0 to 1 (accuracy, top-k, auc, map): 0.005 is half a point. Any
    other score (mae, mse, a function of the user's) may get worse by that share of the source's.

    Attributes:
        max_drop: How much the score may lose, 0 to 1.
        max_class_drop: How much any class may lose of its accuracy, and any slice of its score, 0 to 1.
        min_agreement: Share of samples on which both must name the same class, 0 to 1; needs no labels.
    """

    max_drop: float | None = None
    max_class_drop: float | None = None
    min_agreement: float | None = None

    def __post_init__(self) -> None:
        """Hold the bounds to 0 to 1; raises ``UsageError``."""
        for name, bound in asdict(self).items():
            if bound is not None and not 0 <= bound <= 1:
                raise UsageError(f"{name} is {bound:g}, and a bound lies within 0 and 1", hint=_WRITE)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is bounded."""
        names: tuple[Bound, ...] = ("max-drop", "max-class-drop", "min-agreement")
        return tuple(name for name in names if getattr(self, name.replace("-", "_")) is not None)

    @property
    def needs_answers(self) -> bool:
        """Whether it can be held with labels or targets only."""
        return self.max_drop is not None or self.max_class_drop is not None

    def verdicts(
        self, before: Evaluation | None, after: Evaluation | None, agreement: float | None
    ) -> tuple[Verdict, ...]:
        """Judge an artifact, bound by bound.

        Args:
            before: Of the source; None where nothing says what is right.
            after: Of the artifact, on the same samples by the same metric.
            agreement: Share of samples on which both name the same class; None where that was not measured.

        Raises:
            DataError: A bound needs what is None.
        """
        found = []
        if self.max_drop is not None:
            found.append(_drop(self.max_drop, *_both(before, after, "max-drop")))
        if self.max_class_drop is not None:
            found.append(_class_drop(self.max_class_drop, *_both(before, after, "max-class-drop")))
        if self.min_agreement is not None:
            if agreement is None:
                raise _blind("min-agreement", "no classes were named that could be compared")
            of = "the answers are those of the source"
            found.append(Verdict(bound="min-agreement", allowed=self.min_agreement, reached=agreement, of=of))
        return tuple(found)

    def misses(
        self, before: Evaluation | None, after: Evaluation | None, agreement: float | None
    ) -> tuple[Verdict, ...]:
        """The bounds that were not kept; see ``verdicts``."""
        return tuple(verdict for verdict in self.verdicts(before, after, agreement) if verdict.missed)


def share_of(text: str) -> float:
    """Read a share or a number of points: ``0.5%``, ``0.5pt`` and ``0.005`` are the same.

    Returns:
        0 to 1.

    Raises:
        UsageError: It is something else, or lies outside.
    """
    found = _SHARE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no share", hint=_WRITE)
    number = float(found["number"])
    share = number / 100 if found["unit"] else number
    if not 0 <= share <= 1:
        meant = f"; {number:g} points are {number:g}%" if not found["unit"] and 1 < number <= 100 else ""
        raise UsageError(f"{text.strip()} lies outside 0 to 1{meant}", hint=_WRITE)
    return share


def _both(before: Evaluation | None, after: Evaluation | None, bound: Bound) -> tuple[Evaluation, Evaluation]:
    if before is None or after is None:
        raise _blind(bound, "nothing says what the right answers are")
    return before, after


def _blind(bound: Bound, why: str) -> DataError:
    hint = "give samples with labels; --min-agreement works without labels, for classifiers"
    return DataError(f"--{bound} can't be held: {why}", hint=hint)


def _drop(allowed: float, before: Evaluation, after: Evaluation) -> Verdict:
    metric = after.metric
    lost = metric.merit(before.score) - metric.merit(after.score)
    reached = _in_unit(lost, before.score, in_points=metric.in_points)
    return Verdict(
        bound="max-drop", allowed=allowed, reached=reached, of=metric.name, relative=not metric.in_points
    )  # fmt: skip


def _class_drop(allowed: float, before: Evaluation, after: Evaluation) -> Verdict:
    """The worst class or slice, and how many more lie beyond the bound."""
    found = [*_of_classes(allowed, before, after), *_of_slices(allowed, before, after)]
    if not found:
        raise _blind("max-class-drop", "the samples have neither classes nor slices")
    first, *rest = sorted(found, key=lambda verdict: -verdict.reached)
    beyond = sum(verdict.missed for verdict in rest)
    return Verdict(**{**asdict(first), "others": beyond})


def _of_classes(allowed: float, before: Evaluation, after: Evaluation) -> list[Verdict]:
    return [
        Verdict(bound="max-class-drop", allowed=allowed, reached=-change, of=f"class {one.name}")
        for one, change in after.lost_by_class(before)
    ]


def _of_slices(allowed: float, before: Evaluation, after: Evaluation) -> list[Verdict]:
    metric = after.metric
    was = {(one.column, one.name): one.score for one in before.slices}
    return [
        Verdict(
            bound="max-class-drop",
            allowed=allowed,
            reached=_in_unit(-change, was[one.column, one.name] or 0.0, in_points=metric.in_points),
            of=f"slice {one.column}={one.name}",
            relative=not metric.in_points,
        )
        for one, change in after.lost_by_slice(before)
    ]


def _in_unit(lost: float, score: float, *, in_points: bool) -> float:
    """A loss in points, or as a share of the score that there was."""
    if in_points or lost == 0:
        return lost
    return lost / abs(score) if score else math.copysign(math.inf, lost)
