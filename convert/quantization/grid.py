"""Grids of whole numbers that lie evenly around 0, and which of them suits a channel's weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["FOUR_BITS", "Grid"]

_LEAST = np.finfo(np.float32).tiny


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Integers from ``-steps`` to ``steps``, times a scale that each channel has of its own.

    Attributes:
        steps: To either side of 0.
        ends: Where the grid may end, as shares of a channel's largest weight; what lies beyond is cut off. With few
            steps it pays to cut off a little (Banner et al. 2019, arXiv:1810.05723, section 3), with many it does not.
            The whole share, 1, is always among them, so that weights which lie on a grid are found there again.
    """

    steps: int
    ends: tuple[float, ...] = (1.0,)

    def scales(self, weights: Floats, end: float = 1.0) -> Floats:
        """The scale of each channel, [..., 1], at one of the ``ends``.

        Args:
            weights: [..., weights of a channel].
            end: Share of the largest weight.
        """
        return np.asarray(np.maximum(np.abs(weights).max(axis=-1, keepdims=True) * end / self.steps, _LEAST))

    def place(self, wanted: Floats, scales: Floats) -> Floats:
        """The nearest values that the grid has; shapes broadcast."""
        return np.asarray(np.clip(np.rint(wanted / scales), -self.steps, self.steps) * scales)

    def best_scales(self, weights: Floats) -> Floats:
        """The scales, [..., 1], on which rounding each weight by itself costs least, squared and summed."""
        best = self.scales(weights)
        least = self._cost(weights, best)
        for end in self.ends:
            scales = self.scales(weights, end)
            cost = self._cost(weights, scales)
            best, least = np.where(cost < least, scales, best), np.minimum(cost, least)
        return best

    def _cost(self, weights: Floats, scales: Floats) -> Floats:
        return np.asarray(((weights - self.place(weights, scales)) ** 2).sum(axis=-1, keepdims=True))


# -8 is left out, as ai-edge-quantizer does: a grid that has it is not even around 0.
FOUR_BITS = Grid(steps=7, ends=tuple(share / 20 for share in range(20, 8, -1)))
