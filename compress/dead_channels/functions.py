"""Functions of a single number, as activations apply them: their ranges and how steep they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.dead_channels.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["FUNCTIONS", "Clip", "Curve", "Function", "elu", "hard_sigmoid", "leaky_relu"]

# What float64 rounds away, as a share of a number.
_ROUNDING = 2.0**-52


@dataclass(frozen=True, slots=True)
class Clip:
    """Values held between two ends: ReLU, ReLU6, and the identity with none."""

    low: float = -np.inf
    high: float = np.inf

    def ranges(self, taken: Ranges) -> Ranges:
        """What comes out; exact."""
        whole = (taken.low >= self.low) & (taken.high <= self.high)
        low, high = (np.clip(end, self.low, self.high) for end in (taken.low, taken.high))
        return taken.where(whole, Ranges.between(low, high))

    def slopes(self, taken: Ranges) -> Floats:
        """The greatest slope in each range."""
        flat = (taken.high <= self.low) | (taken.low >= self.high)
        return np.where(flat, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A function that rises everywhere, or falls to one lowest point and rises from there.

    Attributes:
        apply: The function.
        slope: Its greatest slope anywhere.
        lowest: Where its lowest point is; None for one that rises everywhere.
    """

    apply: Callable[[Floats], Floats]
    slope: float
    lowest: float | None = None

    def ranges(self, taken: Ranges) -> Ranges:
        """What comes out; of a narrow range by the slope, as its ends can't be told apart."""
        with np.errstate(over="ignore", invalid="ignore"):
            ends = self.apply(taken.low), self.apply(taken.high)
            low, high = np.minimum(*ends), np.maximum(*ends)
            if self.lowest is not None:
                inside = (taken.low < self.lowest) & (taken.high > self.lowest)
                low = np.where(inside, self.apply(np.full_like(low, self.lowest)), low)
            around = Ranges(self.apply(taken.center), self.slope * taken.radius)
            lost = _ROUNDING * np.fmax(np.abs(low), np.abs(high))
        wide = Ranges.between(low, high)
        # a curve that nears its end has the same number at both ends long before it is flat
        return around.where(taken.narrow, Ranges(wide.center, np.fmax(wide.radius, lost)))

    def slopes(self, taken: Ranges) -> Floats:
        """The greatest slope anywhere, and none for a constant."""
        return np.where(taken.radius > 0, self.slope, 0.0)


Function = Clip | Curve


def leaky_relu(slope: float) -> Curve | None:
    """Of one slope below zero; None for a negative one, which falls there."""
    if not slope >= 0:
        return None
    return Curve(apply=lambda x: np.where(x > 0, x, slope * x), slope=max(1.0, slope))


def elu(alpha: float) -> Curve | None:
    """Exponential below zero; None for a negative ``alpha``."""
    if not alpha >= 0:
        return None
    return Curve(apply=lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), slope=max(1.0, alpha))


def hard_sigmoid(alpha: float, beta: float) -> Curve | None:
    """``clip(alpha * x + beta, 0, 1)``; None for a negative ``alpha``."""
    if not alpha >= 0:
        return None
    return Curve(apply=lambda x: np.clip(alpha * x + beta, 0, 1), slope=alpha)


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(x / 2))


def _times_sigmoid(x: Floats) -> Floats:
    return np.where(np.isneginf(x), 0.0, np.where(np.isneginf(x), 0.0, x) * _sigmoid(x))


def _hard_swish(x: Floats) -> Floats:
    gate = np.clip(x + 3, 0, 6) / 6
    return np.where(gate > 0, x * gate, 0.0)


FUNCTIONS: dict[str, Function] = {
    "identity": Clip(),
    "relu": Clip(0.0),
    "relu6": Clip(0.0, 6.0),
    "relu1": Clip(-1.0, 1.0),
    "sigmoid": Curve(apply=_sigmoid, slope=0.25),
    "tanh": Curve(apply=np.tanh, slope=1.0),
    "softplus": Curve(apply=lambda x: np.logaddexp(0, x), slope=1.0),
    "softsign": Curve(apply=lambda x: np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))), slope=1.0),
    # the lowest points are where the derivative is zero; slopes are rounded up
    "swish": Curve(apply=_times_sigmoid, slope=1.1, lowest=-1.2784645427610738),
    "hard-swish": Curve(apply=_hard_swish, slope=1.5, lowest=-1.5),
}
