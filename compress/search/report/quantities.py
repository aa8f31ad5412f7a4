"""Figures of artifacts as axes of a plot: where each lies, and the round ones that are written there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tinsmith.runtime.axes import ticks
from tinsmith.runtime.intervals import figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinsmith.compress.search.figures import Figures
    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.report.loss import Loss

__all__ = ["Bytes", "LossQuantity", "Quantity", "Time"]

# Powers of two are written where there are at least so many between the ends.
_OCTAVES = 3
_AIR = 0.06
# Worse losses than so many times what counts are drawn at the edge: one hopeless recipe would flatten all others.
_BEYOND = 1.6


class Quantity(Protocol):
    """One figure of artifacts; the less the better."""

    @property
    def name(self) -> str:
        """With its unit."""
        ...

    def place(self, figures: Figures) -> float | None:
        """Where an artifact lies; None where the figure is not known."""
        ...

    def said(self, figures: Figures) -> str:
        """For people, of an artifact that has a place."""
        ...

    def ends(self, places: Sequence[float], counting: Sequence[float]) -> tuple[float, float]:
        """What the axis shows.

        Args:
            places: Of everything that is drawn, at least one.
            counting: Of those that keep the bounds.
        """
        ...

    def labels(self, low: float, high: float) -> list[tuple[float, str]]:
        """Places with what is written there."""
        ...

    def bounds(self, record: Record) -> list[tuple[float, str]]:
        """Places of what was asked for, with the option's name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """What a device stores, by its logarithm.

    Attributes:
        name: With its unit.
        whole: Whether nothing lies beside the files, so that a bound on the file is one on these bytes.
    """

    name: str = "flash, bytes (log2)"
    whole: bool = True

    @staticmethod
    def place(figures: Figures) -> float | None:
        """As ``Quantity``."""
        return math.log2(figures.flash_bytes)

    @staticmethod
    def said(figures: Figures) -> str:
        """As ``Quantity``."""
        return f"{figures.flash_bytes:,} bytes"

    @staticmethod
    def ends(places: Sequence[float], counting: Sequence[float]) -> tuple[float, float]:  # noqa: ARG004 - as Quantity
        """As ``Quantity``."""
        return _aired(min(places), max(places))

    @staticmethod
    def labels(low: float, high: float) -> list[tuple[float, str]]:
        """As ``Quantity``."""
        if high - low >= _OCTAVES:
            return [(power, _binary(power)) for power in range(math.ceil(low), math.floor(high) + 1)]
        return [(math.log2(value), f"{value:,.0f}") for value in ticks(2**low, 2**high, most=5)]

    def bounds(self, record: Record) -> list[tuple[float, str]]:
        """As ``Quantity``."""
        names = ("max-flash", "max-size") if self.whole else ("max-flash",)
        return [(math.log2(allowed), name) for name, allowed in _asked(record) if name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """The median time of a run on a device, by its logarithm.

    Attributes:
        device: Its name.
    """

    device: str

    @property
    def name(self) -> str:
        """With its unit."""
        return f"median on {self.device}, ms (log2)"

    def place(self, figures: Figures) -> float | None:
        """As ``Quantity``."""
        timed = figures.on(self.device)
        return None if timed is None else math.log2(timed.median_ms)

    def said(self, figures: Figures) -> str:
        """As ``Quantity``."""
        timed = figures.on(self.device)
        return "" if timed is None else f"{figure(timed.median_ms)} ms"

    @staticmethod
    def ends(places: Sequence[float], counting: Sequence[float]) -> tuple[float, float]:  # noqa: ARG004 - as Quantity
        """As ``Quantity``."""
        return _aired(min(places), max(places))

    @staticmethod
    def labels(low: float, high: float) -> list[tuple[float, str]]:
        """As ``Quantity``."""
        if high - low >= _OCTAVES:
            return [(power, figure(2.0**power)) for power in range(math.ceil(low), math.floor(high) + 1)]
        return [(math.log2(value), f"{value:g}") for value in ticks(2**low, 2**high, most=5) if value > 0]

    def bounds(self, record: Record) -> list[tuple[float, str]]:
        """As ``Quantity``."""
        named = f"max-latency@{self.device}"
        return [(math.log2(allowed), "max-latency") for name, allowed in _asked(record) if name == named]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossQuantity:
    """What answers have lost.

    Attributes:
        loss: How it is said.
    """

    loss: Loss

    @property
    def name(self) -> str:
        """With its unit."""
        return self.loss.name

    def place(self, figures: Figures) -> float | None:
        """As ``Quantity``."""
        return self.loss.amount(figures)

    def said(self, figures: Figures) -> str:
        """As ``Quantity``."""
        return self.loss.text(figures)

    @staticmethod
    def ends(places: Sequence[float], counting: Sequence[float]) -> tuple[float, float]:
        """As ``Quantity``; what is far worse than all that counts lies beyond the end."""
        finite = [place for place in places if math.isfinite(place)] or [0.0]
        low, high = min(finite), max(finite)
        reached = [place for place in counting if math.isfinite(place)]
        most = low + _BEYOND * (max(reached) - low) if reached else high
        return _aired(min(low, 0.0), min(most, high) if most > low else high)

    @staticmethod
    def labels(low: float, high: float) -> list[tuple[float, str]]:
        """As ``Quantity``."""
        return [(value, f"{value:g}") for value in ticks(low, high, most=6)]

    def bounds(self, record: Record) -> list[tuple[float, str]]:
        """As ``Quantity``."""
        allowed = self.loss.allowed(record)
        return [] if allowed is None else [(allowed, self.loss.bound)]


def _aired(low: float, high: float) -> tuple[float, float]:
    air = _AIR * (high - low) or 0.25
    return low - air, high + air


def _binary(power: int) -> str:
    for unit, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if power >= unit:
            return f"{2 ** (power - unit):,} {name}"
    return f"{2**power} B"


def _asked(record: Record) -> Iterator[tuple[str, float]]:
    return ((one["bound"], float(one["allowed"])) for one in record.ask)
