"""Where a model's operators run: on which unit, and why not on one that was asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tinsmith.runtime.fields import Fields

__all__ = ["Placement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the operators of one loaded model run.

    Attributes:
        units: By unit, how many operators of each name it runs: ``cpu`` for the engine's own code, ``xnnpack`` for that
            library on the CPU, else an accelerator's name. Empty for a unit that runs all of them, where the engine
            does not tell which.
        refusals: Why the accelerators that were to be tried first did not take the model, in that order.
    """

    units: Mapping[str, Mapping[str, int]]
    refusals: tuple[str, ...] = ()

    @classmethod
    def counted(cls, placed: Iterable[tuple[str, str]], refusals: tuple[str, ...] = ()) -> Placement:
        """Count pairs of a unit and an operator's name."""
        units: dict[str, Counter[str]] = {}
        for unit, operator in placed:
            units.setdefault(unit, Counter())[operator] += 1
        return cls(
            units={unit: dict(sorted(counter.items())) for unit, counter in sorted(units.items())}, refusals=refusals
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many operators each unit runs."""
        return {unit: sum(operators.values()) for unit, operators in self.units.items()}

    def __str__(self) -> str:
        """Such as ``xnnpack 30, cpu 1``, the most first."""
        counts = sorted(self.counts.items(), key=lambda item: -item[1])
        return ", ".join(f"{unit} {count}" if count else unit for unit, count in counts)

    def to_json(self) -> dict[str, Any]:
        """The form that stands in reports and crosses to the child process."""
        return {"units": {unit: dict(names) for unit, names in self.units.items()}, "refusals": list(self.refusals)}

    @classmethod
    def read(cls, fields: Fields) -> Placement:
        """From a document that anyone may have written; raises ``DataError``."""
        units = fields.table("units").each(lambda table, unit: table.table(unit).each(_count))
        return cls(units=units, refusals=fields.names("refusals"))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Placement:
        """Read back what ``to_json`` wrote."""
        return cls(units=data["units"], refusals=tuple(data["refusals"]))


def _count(fields: Fields, name: str) -> int:
    return fields.count(name)
