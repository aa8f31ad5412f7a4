"""What keeps a layer from crossing, and the one error that names every such layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Obstacle", "RefusalError", "unsupported"]


class RefusalError(Exception):
    """One layer can't cross: raised by the rules, and collected until all layers have been seen.

    Attributes:
        reason: Why, in words that follow "it".
        hint: What to do about it; empty where the general hint says it all.
    """

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A layer or an operation that can't cross.

    Attributes:
        name: What the model calls it.
        kind: Its class.
        reason: Why it can't cross, in words that follow "it".
        hint: What to do about it.
    """

    name: str
    kind: str
    reason: str
    hint: str = ""

    @classmethod
    def of(cls, operation: Any, refusal: RefusalError) -> Obstacle:
        """The obstacle that a rule's refusal makes of a layer."""
        return cls(name=operation.name, kind=type(operation).__name__, reason=refusal.reason, hint=refusal.hint)

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}): it {self.reason}"


_HINT = "replace it by layers of Keras itself, or compress the model without training (`tinsmith recipe list`)"


def unsupported(obstacles: Sequence[Obstacle]) -> UnsupportedOperatorError:
    """The error that names every obstacle, and what to do about them."""
    listed = "; ".join(str(obstacle) for obstacle in obstacles)
    what = "this layer" if len(obstacles) == 1 else f"these {len(obstacles)} layers"
    hints = dict.fromkeys(obstacle.hint or _HINT for obstacle in obstacles)
    return UnsupportedOperatorError(f"{what} can't cross to tf_keras: {listed}", hint="; ".join(hints))
