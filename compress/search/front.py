"""What nothing else beats in everything, what is chosen of it, and what would have to give where nothing fits."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.compress.search.bounds import LossBound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.compress.search.bounds import Ask, Bound
    from tinsmith.compress.search.figures import Figures
    from tinsmith.compress.search.trial import Trial

__all__ = ["Loosening", "chosen_of", "front_of", "loosenings", "nearest_of", "objectives", "undecided"]


def objectives(figures: Figures, devices: Sequence[str]) -> tuple[float, ...]:
    """What is made small: log2 of the bytes that a device stores, the loss, and log2 of the time on each device.

    Logarithms, since a half is a half whether of a large or of a small model. What was not measured is infinite.
    """
    timed = (figures.on(device) for device in devices)
    times = (math.inf if one is None else math.log2(one.median_ms) for one in timed)
    return (math.log2(figures.flash_bytes), figures.loss, *times)


def front_of(trials: Sequence[Trial], devices: Sequence[str]) -> tuple[Trial, ...]:
    """The Pareto set: of what keeps all bounds, that which nothing else equals in everything and beats in something.

    Of two that are alike in everything, the earlier one stays. In the order of their bytes.
    """
    points = [(trial, objectives(trial.figures, devices)) for trial in trials if trial.kept and trial.figures]
    front: list[tuple[Trial, tuple[float, ...]]] = []
    for at, (trial, point) in enumerate(points):
        beaten = any(_beats(other, point) or (before < at and other == point)
                     for before, (_, other) in enumerate(points))  # fmt: skip
        if not beaten:
            front.append((trial, point))
    return tuple(trial for trial, _ in sorted(front, key=lambda one: (one[1], one[0].number)))


def chosen_of(front: Sequence[Trial], ask: Ask) -> Trial | None:
    """The one that a user wants: best in the first of answers, bytes and time that the user has not bounded.

    Who bounds the loss wants the smallest artifact that keeps it; who bounds bytes wants the best answers within them.
    Where all three are bounded, answers decide. None where nothing keeps the bounds.
    """
    if not front:
        return None
    device = ask.devices[0]

    def losses(trial: Trial) -> tuple[float, ...]:
        size, loss, time = objectives(_figures(trial), (device,))
        return {"answers": (loss, size, time), "bytes": (size, loss, time), "time": (time, loss, size)}[wanted]

    wanted = _unbounded(ask)
    return min(front, key=lambda trial: (losses(trial), trial.number))


def nearest_of(trials: Sequence[Trial]) -> Trial | None:
    """What misses the bounds by least, all together; None where no trial gave an artifact."""
    whole = [trial for trial in trials if trial.whole]
    return min(whole, key=lambda trial: (trial.lacking, trial.known_lacking, trial.number), default=None)


def undecided(trials: Sequence[Trial], ask: Ask) -> tuple[Trial, ...]:
    """What may be nearest, or miss one bound alone by least, where only a device can tell; empty where bounds are kept.

    By all that is known it is: its bytes and its answers. Its time or memory is bounded as well, and was not measured.
    """
    whole = [trial for trial in trials if trial.whole]
    if any(trial.kept for trial in whole):
        return ()
    alone = ([trial for trial in whole if _known_missed(trial) == [bound.name]] for bound in ask.bounds)
    first = (min(group, key=lambda trial: (trial.known_lacking, trial.number)) for group in (whole, *alone) if group)
    return tuple({trial.number: trial for trial in first if not math.isfinite(trial.lacking)}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Loosening:
    """One bound that would have to give, alone, for a trial to keep all of them.

    Attributes:
        bound: Its name, as the option is called.
        allowed: What was asked for.
        needed: What the trial reaches.
        trial: Its number.
        said: For people.
    """

    bound: str
    allowed: float
    needed: float
    trial: int
    said: str

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return asdict(self)


def loosenings(trials: Sequence[Trial], ask: Ask) -> tuple[Loosening, ...]:
    """For each bound: how far it alone would have to give, if that is enough; those that give least first."""
    found = []
    for bound in ask.bounds:
        alone = [trial for trial in trials if trial.whole and _misses_only(trial, bound)]
        if alone:
            best = min(alone, key=lambda trial: (trial.lacking, trial.number))
            found.append((best.lacking, _loosening(bound, best)))
    return tuple(one for _, one in sorted(found, key=lambda pair: pair[0]))


def _loosening(bound: Bound, trial: Trial) -> Loosening:
    needed = bound.reached(_figures(trial))
    assert needed is not None
    said = f"--{bound.name}: {bound.said(needed)} instead of {bound.said(bound.most)} (trial {trial.number})"
    return Loosening(bound=bound.name, allowed=bound.most, needed=needed, trial=trial.number, said=said)


def _misses_only(trial: Trial, bound: Bound) -> bool:
    return math.isfinite(trial.lacking) and _known_missed(trial) == [bound.name]


def _known_missed(trial: Trial) -> list[str]:
    return [one.bound for one in trial.standings if not one.kept and math.isfinite(one.lacking)]


def _unbounded(ask: Ask) -> str:
    if not any(isinstance(bound, LossBound) for bound in ask.bounds):
        return "answers"
    if not ask.files:
        return "bytes"
    return "time" if not ask.latencies else "answers"


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _figures(trial: Trial) -> Figures:
    assert trial.figures is not None
    return trial.figures
