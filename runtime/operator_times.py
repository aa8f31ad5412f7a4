"""How long each operator of a model takes, where its engine tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.engines import Engine
    from tinsmith.runtime.fields import Fields

__all__ = ["OperatorTime", "OperatorTimes", "Profiling", "profile_operators", "typical_ns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """One operator of the graph as the engine runs it.

    Attributes:
        name: Of the node; empty where it has none.
        operator: Such as ``Conv`` or ``CONV_2D``.
        unit: Where it ran: ``cpu``, ``xnnpack``, an accelerator.
        time_ns: A run; the mean of the middle half of all runs.
    """

    name: str
    operator: str
    unit: str
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTimes:
    """All operators in the order in which they run. Measured apart: telling the time of each costs time itself.

    Attributes:
        operators: None where the engine does not tell.
        why: Why not; empty where it does.
        runs: Over how many runs.
    """

    operators: tuple[OperatorTime, ...] | None
    why: str = ""
    runs: int = 0

    def to_json(self) -> dict[str, Any]:
        """The form that stands in reports and crosses to other processes."""
        told = None if self.operators is None else [
            {"name": o.name, "operator": o.operator, "unit": o.unit, "time_ns": o.time_ns} for o in self.operators
        ]  # fmt: skip
        return {"operators": told, "why": self.why, "runs": self.runs}

    @classmethod
    def read(cls, fields: Fields) -> OperatorTimes:
        """From a document that anyone may have written; raises ``DataError``."""
        told = None if fields.null("operators") else tuple(map(_operator, fields.many("operators")))
        return cls(operators=told, why=fields.word("why"), runs=fields.count("runs", least=0))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OperatorTimes:
        """Read back what ``to_json`` wrote."""
        told = data["operators"]
        operators = None if told is None else tuple(OperatorTime(**operator) for operator in told)
        return cls(operators=operators, why=data["why"], runs=data["runs"])


def _operator(fields: Fields) -> OperatorTime:
    words = {name: fields.word(name) for name in ("name", "operator", "unit")}
    return OperatorTime(time_ns=fields.count("time_ns", least=0), **words)


def typical_ns(times_us: Sequence[float]) -> int:
    """The mean of the middle half of microseconds: whole ones average out, and a run that was interrupted drops out."""
    ordered = sorted(times_us)
    quarter = len(ordered) // 4
    middle = ordered[quarter : len(ordered) - quarter]
    return round(1000 * sum(middle) / len(middle))


@runtime_checkable
class Profiling(Protocol):
    """An engine that tells how long each operator takes."""

    def operator_times(
        self, path: Path, threads: int, feeds: Sequence[NDArray[np.generic]], *, runs: int
    ) -> OperatorTimes:
        """Load the artifact once more with the engine's profiler on, and run it.

        Args:
            path: The artifact that this engine has open.
            threads: As it was opened with.
            feeds: As ``Engine.run`` takes them.
            runs: How often, at least 1.
        """
        ...


def profile_operators(
    path: Path, threads: int, engine: Engine, feeds: Sequence[NDArray[np.generic]], *, runs: int
) -> OperatorTimes:
    """Ask an engine that tells; says why where it does not."""
    if isinstance(engine, Profiling):
        return engine.operator_times(path, threads, feeds, runs=runs)
    return OperatorTimes(operators=None, why=f"the Python interface of {engine.name} has no profiler")
