"""How the figures of a layer comparison are put into words, on a terminal and on a page."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinsmith.convert.layers.report import OnlyOne

__all__ = ["ABSENT", "decibels_text", "percent", "shortened", "summarized"]

ABSENT = "-"
_LEAST_PERCENT = 0.01


def shortened(name: str, width: int) -> str:
    """A name of at most ``width`` letters: its end tells more than its beginning."""
    return name if len(name) <= width else f"…{name[1 - width :]}"


def percent(share: float | None) -> str:
    """A share of 1 as people read it; a dash where there is none."""
    if share is None:
        return ABSENT
    if 0 < 100 * share < _LEAST_PERCENT:
        return f"<{_LEAST_PERCENT} %"
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def decibels_text(value: float | None) -> str:
    """One decimal; a dash where there is no error."""
    return ABSENT if value is None else f"{value:.1f}"


def summarized(layers: Iterable[OnlyOne]) -> str:
    """Such as ``7 Relu, 1 MatMul``."""
    counts = Counter(layer.operator for layer in layers)
    return ", ".join(f"{count} {operator}" for operator, count in counts.items())
