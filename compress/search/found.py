"""What a search found, of the trials that there are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tinsmith.compress.search.front import chosen_of, front_of, loosenings, nearest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from tinsmith.compress.search.bounds import Ask
    from tinsmith.compress.search.front import Loosening
    from tinsmith.compress.search.trial import Trial
    from tinsmith.runtime.errors import DeviceError

__all__ = ["Found"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found.

    Attributes:
        trials: All of them, by number.
        front: The Pareto set, by bytes; empty where nothing keeps the bounds.
        chosen: Of these; None as above.
        nearest: What misses the bounds by least; None where no recipe could be carried out.
        loosenings: Bounds that would have to give, each alone; empty where something keeps all of them.
        ended: Why it went no further.
        lost: The device that went away, where that ended it.
    """

    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    chosen: Trial | None
    nearest: Trial | None
    loosenings: tuple[Loosening, ...]
    ended: str
    lost: DeviceError | None = None

    @classmethod
    def of(cls, trials: Sequence[Trial], ask: Ask, ended: str, lost: DeviceError | None = None) -> Self:
        """What trials come to."""
        front = front_of(trials, ask.devices)
        return cls(
            trials=tuple(trials),
            front=front,
            chosen=chosen_of(front, ask),
            nearest=nearest_of(trials),
            loosenings=() if front else loosenings(trials, ask),
            ended=ended,
            lost=lost,
        )

    def without(self, failed: Trial, remark: str, ask: Ask) -> Self:
        """The same, where a trial turns out to have failed."""
        trials = [replace(one, state="failed", remark=remark) if one is failed else one for one in self.trials]
        return self.of(trials, ask, self.ended, self.lost)
