"""Nodes with weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.dead_channels.nodes import Node, frozen_atoms, known, product
from tinsmith.compress.dead_channels.ranges import weighed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.ranges import Ranges
    from tinsmith.compress.structure.coupling import Coupling

    Atoms = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]

__all__ = ["Depthwise", "Linear", "PerChannel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(Node):
    """Every channel that comes out is a weighted sum over all that go in: convolutions and dense layers.

    Attributes:
        summed: Weights summed over the window, [out, in].
        absolute: Their magnitudes summed over the window, [out, in].
        bias: [out].
        padded: Whether zeros stand around what goes in.
        fixed: Why its channels can't go; empty if they can.
    """

    summed: Floats
    absolute: Floats
    bias: Floats
    padded: bool = False
    fixed: str = ""

    def seen(self, taken: Ranges) -> Ranges:
        """What the window sees."""
        return taken.with_zero() if self.padded else taken

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """Midpoints by the weights, radii by their magnitudes."""
        seen = self.seen(taken[0])
        return known(self.summed @ seen.center + self.bias, weighed(self.absolute, seen.radius))

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:  # noqa: ARG002
        """By the magnitudes."""
        return [weighed(self.absolute.T, given)]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:
        """Each channel is new."""
        if self.fixed:
            coupling.freeze(taken[0])
            return frozen_atoms(coupling, len(self.bias))
        return coupling.fresh(len(self.bias))

    def folded(self, taken: Ranges) -> tuple[Floats, Floats]:
        """What stands for a channel that is not there any more, and how far it may have been from that.

        Between zeros at the border, only zero can stand for it.

        Returns:
            The constant and the error, [in] each.
        """
        return (np.zeros_like(taken.center), taken.magnitude) if self.padded else (taken.center, taken.radius)

    def plus(self, change: Floats) -> Linear:
        """With something added to the bias."""
        return replace(self, bias=self.bias + change)

    def without(self, taken: Sequence[Places], given: Places) -> Linear:
        """The weights that stay."""
        at = np.ix_(given, taken[0])
        return replace(self, summed=self.summed[at], absolute=self.absolute[at], bias=self.bias[given])


@dataclass(frozen=True, slots=True, kw_only=True)
class PerChannel(Node):
    """A weighted sum over each channel by itself: scales, batch norm.

    Attributes:
        summed: Weights summed over the window, [out]; each input channel gives as many channels in a row.
        absolute: Their magnitudes summed, [out].
        bias: [out].
        padded: Whether zeros stand around what goes in.
        fixed: Why its channels can't go; empty if they can.
    """

    summed: Floats
    absolute: Floats
    bias: Floats
    padded: bool = False
    fixed: str = ""

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """Midpoints by the weights, radii by their magnitudes."""
        seen = taken[0].with_zero() if self.padded else taken[0]
        times = len(self.bias) // max(len(seen.center), 1)
        center, radius = (np.repeat(part, times) for part in (seen.center, seen.radius))
        endless = np.isinf(radius) & (self.absolute > 0)
        moved = np.where(endless, np.inf, self.absolute * np.where(np.isinf(radius), 0.0, radius))
        return known(self.summed * center + self.bias, moved)

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:
        """By the magnitudes."""
        each = product(self.absolute, given)
        return [each.reshape(len(taken[0].center), -1).sum(axis=1)]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:
        """A channel goes with the ones made of it."""
        if self.fixed:
            coupling.freeze(taken[0])
        return np.repeat(taken[0], len(self.bias) // max(len(taken[0]), 1))

    def without(self, taken: Sequence[Places], given: Places) -> PerChannel:  # noqa: ARG002
        """The weights that stay."""
        return replace(self, summed=self.summed[given], absolute=self.absolute[given], bias=self.bias[given])


@dataclass(frozen=True, slots=True, kw_only=True)
class Depthwise(PerChannel):
    """A convolution of each channel by itself."""
