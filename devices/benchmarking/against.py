"""A measurement against another one: the ratio with its interval, and whether it shows a regression.

Two models that took turns are compared turn by turn: what slows the device down for a while slows both. An earlier
result was taken under conditions of its own, so its margin is wider, and where either was disturbed nobody judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.intervals import LEAST_PROCESSES, bootstrap, bootstrap_apart
from tinsmith.runtime.timing import median
from tinsmith.runtime.verdict import STABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.runtime.intervals import Interval
    from tinsmith.runtime.measurement import Measurement

__all__ = ["ALIKE", "FASTER", "REFUSED", "SLOWER", "UNJUDGED", "Comparison", "compare_apart", "compare_in_turns"]

SLOWER, FASTER, ALIKE, UNJUDGED, REFUSED = "slower", "faster", "no difference shown", "not judged", "refused"
_IN_TURNS, _APART = 0.02, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A measurement against another.

    Attributes:
        artifact: The file's name.
        device: Its name.
        against: The name of the other artifact's file.
        taken_at: When the other was measured; empty where both took turns.
        state: ``slower``, ``faster``, ``no difference shown``, ``not judged`` or ``refused``.
        ratio: Time of a run over that of the other; None where they can't be compared.
        interval: Where it lies with 95 % confidence.
        margin: Slower is what the whole interval lies beyond, such as 0.02 for 2 %.
        why: Why nobody judges, or why they can't be compared.
    """

    artifact: str
    device: str
    against: str
    taken_at: str
    state: str
    ratio: float | None
    interval: Interval | None
    margin: float
    why: str = ""

    @property
    def exit_code(self) -> int:
        """1 for a regression, 2 where they can't be compared; noise is neither."""
        return {SLOWER: 1, REFUSED: 2}.get(self.state, 0)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "artifact": self.artifact,
            "device": self.device,
            "against": self.against,
            "against_taken_at": self.taken_at or None,
            "state": self.state,
            "ratio": self.ratio,
            "ratio_interval": None if self.interval is None else [self.interval.low, self.interval.high],
            "margin": self.margin,
            "why": self.why,
        }


def compare_in_turns(one: Measurement, other: Measurement) -> Comparison:
    """Compare two that were measured in turns, by the ratio of each turn."""
    ratios = [mine / its for mine, its in zip(_times(one), _times(other), strict=False)]  # one may have ended early
    interval = bootstrap(ratios, median)
    state, why = _state(interval, _IN_TURNS, len(ratios), _emulated(one))
    return Comparison(
        artifact=one.artifact,
        device=one.device,
        against=other.artifact,
        taken_at="",
        state=state,
        ratio=median(ratios),
        interval=interval,
        margin=_IN_TURNS,
        why=why,
    )


def compare_apart(one: Measurement, other: Measurement) -> Comparison:
    """Compare with an earlier one, process by process of each; refused where they are of different kinds."""
    unlike = _unlike(one, other)
    interval = None if unlike else bootstrap_apart(_times(one), _times(other), _ratio)
    fewest = min(len(one.processes), len(other.processes))
    state, why = _state(interval, _APART, fewest, _emulated(one) or _disturbed(one, other))
    return Comparison(
        artifact=one.artifact,
        device=one.device,
        against=other.artifact,
        taken_at=other.taken_at,
        state=state,
        ratio=None if unlike else _ratio(_times(one), _times(other)),
        interval=interval,
        margin=_APART,
        why=unlike or why,
    )


def _times(measurement: Measurement) -> list[float]:
    """Of a run, by process: its median, or offline, where one after another counts, its mean."""
    if measurement.scenario == "offline":
        return [process.query_ns / process.runs / 1e6 for process in measurement.processes]
    return measurement.process_medians_ms


def _ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    return median(ones) / median(others)


def _state(interval: Interval | None, margin: float, processes: int, doubt: str) -> tuple[str, str]:
    """And why nobody judges."""
    if interval is None:
        return REFUSED, f"{processes} process(es) can be compared, and an interval takes {LEAST_PROCESSES}"
    if doubt:
        return UNJUDGED, doubt
    if interval.low > 1 + margin:
        return SLOWER, ""
    return (FASTER if interval.high < 1 / (1 + margin) else ALIKE), ""


def _emulated(measurement: Measurement) -> str:
    return "the CPU is emulated, and the time of that says nothing of a device" if measurement.emulated else ""


def _disturbed(one: Measurement, other: Measurement) -> str:
    """Why either is worth too little; a model that took turns with it would have been disturbed alike."""
    for measurement, which in ((one, "this measurement"), (other, f"the one of {other.taken_at}")):
        verdict = measurement.verdict
        if verdict.state != STABLE:
            said = f"{which} is {verdict.state}: {verdict.reasons[0]}"
            return f"{said}; --against MODEL takes turns, and all suffer alike"
    return ""


def _unlike(one: Measurement, other: Measurement) -> str:
    """What keeps two from being compared; the engine's version and the system may differ: they are what regresses."""
    facts = ("profile", "engine", "accelerator", "threads", "scenario")
    pairs = [(fact, getattr(one, fact), getattr(other, fact)) for fact in facts]
    pairs += [(fact, one.environment.get(fact), other.environment.get(fact)) for fact in ("cpu", "cores", "machine")]
    return "; ".join(f"{fact} was {was}, and is {now}" for fact, now, was in pairs if now != was)
