"""One measured figure beside its bar."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure, what it must reach, and how it was seen.

    Attributes:
        name: What was measured.
        value: What came out; None where it could not be measured.
        bar: What it must reach.
        at_least: Whether more is better.
        seen: Spread or reason, for people.
        unit: Printed behind value and bar.
    """

    name: str
    value: float | None
    bar: float
    at_least: bool = False
    seen: str = ""
    unit: str = ""

    @property
    def missed(self) -> bool:
        if self.value is None:
            return False
        return self.value < self.bar if self.at_least else self.value > self.bar

    def __str__(self) -> str:
        if self.value is None:
            return f"-     {self.name}: not measured ({self.seen})"
        word = "MISS " if self.missed else "ok   "
        sign = ">=" if self.at_least else "<="
        return f"{word} {self.name}: {self.value:g}{self.unit} (bar {sign} {self.bar:g}{self.unit}) {self.seen}"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Ratios of interleaved pairs A/B."""

    ratios: tuple[float, ...]
    a_s: float
    b_s: float

    @property
    def median(self) -> float:
        return round(median(self.ratios), 3)

    @property
    def seen(self) -> str:
        return (
            f"[{min(self.ratios):.3f} to {max(self.ratios):.3f} over {len(self.ratios)} pairs; "
            f"medians {self.a_s:.4g} s and {self.b_s:.4g} s]"
        )


def interleave(a, b, *, pairs: int) -> Pairs:
    """Time two calls in turn, A B B A …, after one of each that does not count; gives A/B pair by pair."""
    a(), b()
    times = []
    for number in range(pairs):
        first, second = (a, b) if number % 2 == 0 else (b, a)
        one, two = timed(first), timed(second)
        times.append((one, two) if number % 2 == 0 else (two, one))
    return Pairs(
        ratios=tuple(x / y for x, y in times), a_s=median(x for x, _ in times), b_s=median(y for _, y in times)
    )


def timed(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def process(*command, **settings):
    """A call that runs a whole process and fails when it does."""
    return lambda: subprocess.run([str(c) for c in command], check=True, capture_output=True, **settings)
