"""How much is measured: four levels of effort, and what a user sets beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.measuring.requests import Amount
from tinsmith.runtime.timing import runs_needed

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EFFORTS", "Effort", "Plan", "sustained"]

_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much.

    Attributes:
        name: As reports say it.
        processes: How many, at least five for an interval.
        amount: What each of them measures.
    """

    name: str
    processes: int
    amount: Amount

    @property
    def least_runs(self) -> int:
        """Of all processes together."""
        return self.processes * self.amount.runs

    @property
    def for_so_long(self) -> bool:
        """Whether time alone decides how many runs there will be."""
        return self.amount.runs == 1 and self.amount.least_s > 0

    def with_runs(self, runs: int) -> Self:
        """Exactly so many runs a process, however long they take."""
        return replace(self, amount=replace(self.amount, runs=runs, least_s=0.0, most_s=86_400.0))


def _effort(name: str, processes: int, percent: float, least_s: float, most_s: float, warm_s: float) -> Effort:
    """Enough runs for a percentile, over all processes."""
    runs = -(-runs_needed(percent) // processes)
    return Effort(
        name=name, processes=processes, amount=Amount(runs=runs, least_s=least_s, most_s=most_s, warm_s=warm_s)
    )


# The ladder of MLPerf's mobile app (rapid 6 s, quick 10 s, normal 60 s, full 600 s a task), spread over processes;
# the least runs support p90, p95, p99 and p99.9.
EFFORTS = {
    effort.name: effort
    for effort in (
        _effort("rapid", 5, 90, least_s=0.5, most_s=1.0, warm_s=0.5),
        _effort("quick", 5, 95, least_s=2.0, most_s=10.0, warm_s=2.0),
        _effort("normal", 10, 99, least_s=4.0, most_s=20.0, warm_s=2.0),
        _effort("full", 20, 99.9, least_s=30.0, most_s=120.0, warm_s=5.0),
    )
}


def sustained(duration_s: float) -> Effort:
    """One process a minute without a pause, so that each stands for its minute and a device that goes away loses one.

    Args:
        duration_s: At least five minutes: an interval takes five processes.

    Raises:
        UsageError: It is shorter.
    """
    minutes = round(duration_s / _MINUTE_S)
    if minutes < 5:
        raise UsageError(f"sustained takes 5 minutes or more, not {duration_s:g} s", hint="say --sustained 10m")
    # a minute holds the start of the process and its warm-up as well
    amount = Amount(runs=1, least_s=_MINUTE_S, most_s=_MINUTE_S, warm_s=0.5)
    return Effort(name=f"sustained {minutes}m", processes=minutes, amount=amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure.

    Attributes:
        effort: How much.
        engine: Its name; None takes the profile's for the format, else the format's default.
        accelerator: ``cpu``, or names in the order to try them.
        threads: CPU threads; None takes the profile's.
        seed: Of the random input.
        scenario: ``single-stream`` or ``offline``.
        operators: Whether one of the processes times each operator afterwards.
        time_limit_s: For loading, and for any single run.
    """

    effort: Effort = EFFORTS["quick"]
    engine: str | None = None
    accelerator: str = "cpu"
    threads: int | None = None
    seed: int = 0
    scenario: str = "single-stream"
    operators: bool = False
    time_limit_s: float = 60.0
