"""Prometheus' text format 0.0.4: families of samples, each with its help and its type.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Exposition"]

Labels = tuple[tuple[str, str], ...]


class Exposition:
    """Gathers families in the order of their first sample, and writes them as one text.

    Samples of one family stand together, whatever the order they came in, as the format wants it.
    """

    def __init__(self) -> None:
        self._families: dict[str, list[str]] = {}

    def gauge(self, name: str, said: str, value: float, **labels: str) -> None:
        """A value that rises and falls."""
        self._family(name, "gauge", said).append(_sample(name, tuple(labels.items()), value))

    def counter(self, name: str, said: str, value: float, **labels: str) -> None:
        """A count that only rises; its name ends in ``_total``."""
        self._family(name, "counter", said).append(_sample(name, tuple(labels.items()), value))

    def histogram(
        self, name: str, said: str, buckets: Iterable[tuple[float, int]], *, total: float, labels: Mapping[str, str]
    ) -> None:
        """How often values fell into buckets.

        Args:
            name: Of the family.
            said: Its help.
            buckets: Upper ends with counts of their own, rising; the last one ends at infinity.
            total: The sum of all values.
            labels: Of the sample.
        """
        lines = self._family(name, "histogram", said)
        known, counted = tuple(labels.items()), 0
        for end, count in buckets:
            counted += count
            lines.append(_sample(f"{name}_bucket", (*known, ("le", _number(end))), counted))
        lines.append(_sample(f"{name}_sum", known, total))
        lines.append(_sample(f"{name}_count", known, counted))

    def text(self) -> str:
        """All of it."""
        return "".join(f"{line}\n" for lines in self._families.values() for line in lines)

    def _family(self, name: str, kind: str, said: str) -> list[str]:
        if name not in self._families:
            self._families[name] = [f"# HELP {name} {_escaped(said, quote=False)}", f"# TYPE {name} {kind}"]
        return self._families[name]


def _sample(name: str, labels: Sequence[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _escaped(text: str, *, quote: bool = True) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quote else text
