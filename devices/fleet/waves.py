"""Waves: which devices of a rollout come when, and how many failures end it.

The threshold is that of Eclipse hawkBit's deployment groups: it counts within one wave, so that a canary of one device
is strict by the same rule as a wave of a hundred.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Share", "Size", "Step", "Wave", "exceeds", "plan_waves", "read_percent", "read_steps"]

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")
_STEPS_HINT = "write shares of all devices, 10%,50%,100%, or how many each wave has, 5,20"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Devices that are flashed before the next ones begin.

    Attributes:
        title: ``canary`` or ``wave 2``.
        devices: Their names.
    """

    title: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A wave after which so much of all devices, the canary among them, has had its turn.

    Attributes:
        percent: Above 0, up to 100.
    """

    percent: float

    def end(self, done: int, total: int) -> int:
        """How many have had their turn after it; a started device counts whole."""
        return max(done, math.ceil(self.percent * total / 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A wave of so many devices.

    Attributes:
        devices: 1 or more.
    """

    devices: int

    def end(self, done: int, total: int) -> int:
        """How many have had their turn after it."""
        return min(total, done + self.devices)


Step = Share | Size


def plan_waves(devices: Sequence[str], *, canary: Sequence[str], steps: Sequence[Step]) -> tuple[Wave, ...]:
    """Put every device into one wave.

    Args:
        devices: All of them, each once, in their order.
        canary: Those of them that come first; may be none.
        steps: The waves behind the canary. What is left after the last step is one more wave.

    Returns:
        Waves that together hold each device once; none of them is empty.
    """
    first = [device for device in devices if device in set(canary)]
    rest = [device for device in devices if device not in set(canary)]
    waves = [Wave(title="canary", devices=tuple(first))] if first else []
    done = len(first)
    for step in (*steps, Share(percent=100)):
        end = step.end(done, len(devices))
        if done < end:
            number = len(waves) + (0 if first else 1)
            waves.append(Wave(title=f"wave {number}", devices=tuple(rest[done - len(first) : end - len(first)])))
        done = end
    return tuple(waves)


def exceeds(failed: int, of: int, *, percent: float) -> bool:
    """Whether so many failed devices in a wave are more than a share of it."""
    return failed * 100 > percent * of


def read_steps(text: str) -> tuple[Step, ...]:
    """Read waves as ``--waves`` takes them.

    Raises:
        UsageError: One of them is neither a share nor a number, or the shares fall.
    """
    steps = tuple(_step(word.strip()) for word in text.split(","))
    shares = [step.percent for step in steps if isinstance(step, Share)]
    if shares != sorted(shares):
        raise UsageError(f"the waves {text!r} fall: each share counts those before it", hint=_STEPS_HINT)
    return steps


def read_percent(text: str) -> float:
    """Read a share such as 10%, from 0 to 100.

    Raises:
        UsageError: It is none.
    """
    found = _PERCENT.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise UsageError(f"{text!r} is no share", hint="write it in percent, such as 10%")
    return float(found[1])


def _step(word: str) -> Step:
    if re.fullmatch(r"\d{1,6}", word) and int(word):
        return Size(devices=int(word))
    try:
        percent = read_percent(word)
    except UsageError:
        percent = 0.0
    if not percent:
        raise UsageError(f"{word!r} is no wave", hint=_STEPS_HINT)
    return Share(percent=percent)
