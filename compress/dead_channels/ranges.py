"""Ranges of channels: what values they can take, over all inputs and positions.

Midpoint and radius rather than two ends (Rump, "Fast and parallel interval arithmetic", 1999): a channel that moves by
1e-30 around 1 keeps its radius, while both of its ends would be rounded to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Ranges", "weighed"]

# A radius this much smaller than its center would be lost in the difference of both ends.
_SMALL = 1e-6


@dataclass(frozen=True, slots=True)
class Ranges:
    """A range a channel.

    Attributes:
        center: float64, [channels].
        radius: float64, [channels]; infinite where nothing is known, and ``center`` is 0 there.
    """

    center: Floats
    radius: Floats

    @classmethod
    def between(cls, low: Any, high: Any) -> Ranges:
        """From both ends, [channels] each."""
        low, high = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
        known = np.isfinite(low) & np.isfinite(high)
        center = np.where(known, low, 0.0) / 2 + np.where(known, high, 0.0) / 2
        radius = np.where(known, high, 0.0) / 2 - np.where(known, low, 0.0) / 2
        return cls(center, np.where(known, radius, np.inf))

    @classmethod
    def unknown(cls, channels: int) -> Ranges:
        """Anything."""
        return cls(np.zeros(channels), np.full(channels, np.inf))

    @classmethod
    def together(cls, parts: Sequence[Ranges]) -> Ranges:
        """Channels side by side."""
        return cls(np.concatenate([p.center for p in parts]), np.concatenate([p.radius for p in parts]))

    @property
    def low(self) -> Floats:
        """The least value of each channel."""
        return self.center - self.radius

    @property
    def high(self) -> Floats:
        """The greatest value of each channel."""
        return self.center + self.radius

    @property
    def magnitude(self) -> Floats:
        """The greatest distance from zero."""
        return np.abs(self.center) + self.radius

    @property
    def narrow(self) -> NDArray[np.bool_]:
        """Where both ends can't be told apart well enough to be worked with."""
        mask: NDArray[np.bool_] = self.radius <= _SMALL * np.abs(self.center)
        return mask

    def __getitem__(self, places: Any) -> Ranges:
        return Ranges(self.center[places], self.radius[places])

    def with_zero(self) -> Ranges:
        """What a window sees that reaches beyond the border, where zeros stand."""
        inside = np.abs(self.center) <= self.radius
        return self.where(inside, Ranges.between(np.minimum(self.low, 0.0), np.maximum(self.high, 0.0)))

    def where(self, keep: NDArray[np.bool_], other: Ranges) -> Ranges:
        """These ranges where ``keep`` holds, the other ones elsewhere."""
        return Ranges(np.where(keep, self.center, other.center), np.where(keep, self.radius, other.radius))

    def hull(self) -> tuple[float, float]:
        """The least and the greatest value of all channels."""
        return float(self.low.min(initial=np.inf)), float(self.high.max(initial=-np.inf))


def weighed(weights: Floats, values: Floats) -> Floats:
    """A product of magnitudes in which nothing times infinity is nothing.

    Args:
        weights: [out, in], not negative.
        values: [in], not negative.

    Returns:
        [out].
    """
    endless = ~np.isfinite(values)
    total = weights @ np.where(endless, 0.0, values)
    return np.where((weights[:, endless] > 0).any(axis=1), np.inf, total)
