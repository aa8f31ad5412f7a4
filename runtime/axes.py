"""A frame of axes for plots: where a figure lies on them, and the lines that let it be read off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.svg import GREY, PALE, SOFT, WIDTH, line, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Axes", "ticks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """One figure to the right, such as time, and one upward.

    Attributes:
        xs: The least and the most of the first, which differ.
        ys: The least and the most of the second, which differ.
        top: Of the frame.
        height: Of the frame.
        left: Room for the figures' labels.
        right: Room on the other side.
        width: Of the whole plot.
    """

    xs: tuple[float, float]
    ys: tuple[float, float]
    top: float = 14
    height: float = 200
    left: float = 84
    right: float = 28
    width: float = WIDTH

    @property
    def base(self) -> float:
        """The lower edge."""
        return self.top + self.height

    @property
    def edge(self) -> float:
        """The right edge."""
        return self.width - self.right

    def x(self, value: float) -> float:
        """Where it lies."""
        return self.left + (self.edge - self.left) * (value - self.xs[0]) / (self.xs[1] - self.xs[0])

    def y(self, value: float) -> float:
        """Where it lies."""
        return self.base - self.height * (value - self.ys[0]) / (self.ys[1] - self.ys[0])

    def across(self, unit: str, *, most: int = 6, color: str = SOFT) -> Iterator[str]:
        """A line at each round figure, about so many at most, and what it is."""
        for value in ticks(*self.ys, most=most):
            y = self.y(value)
            yield line(self.left, y, self.edge, y, PALE)
            yield text(self.left - 6, y + 4, f"{value:g} {unit}", color=color)

    def along(self, labels: Sequence[tuple[float, str]]) -> Iterator[str]:
        """The lower edge, with words at some places."""
        yield line(self.left, self.base, self.edge, self.base, GREY)
        for value, said in labels:
            yield line(self.x(value), self.base, self.x(value), self.base + 4, GREY)
            yield text(self.x(value), self.base + 17, said, anchor="middle")

    def path(self, points: Sequence[tuple[float, float]], color: str, *, width: float = 2) -> str:
        """A line through points."""
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="{width:g}"/>'


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round figures between two, at distances of 1, 2 or 5 times a power of ten; at most so many, and one more."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
