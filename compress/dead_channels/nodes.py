"""What the analysis knows of operators: what each does with ranges, with errors, and with channels.

Each kind says four things: the ranges that come out, how far an error of what goes in can move what comes out, which
channels can only go together, and what is left of it without some of them. Errors are the greatest difference at any
position, one a channel; gains are their weight in the sum of all errors of the outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.dead_channels.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.functions import Function
    from tinsmith.compress.structure.coupling import Coupling

    Atoms = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]

__all__ = [
    "Concat",
    "Elementwise",
    "Node",
    "Opaque",
    "Pool",
    "Product",
    "Rearrangement",
    "Regroup",
    "Softmax",
    "Source",
    "Sum",
    "frozen_atoms",
    "known",
    "product",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(ABC):
    """One operator.

    Attributes:
        name: Unique in its graph.
        inputs: Names of the values that go in; constants are not among them.
        output: Name of the value that comes out.
    """

    name: str
    inputs: tuple[str, ...]
    output: str

    @abstractmethod
    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """What comes out of what goes in."""

    @abstractmethod
    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:
        """The gain of each input's channels, [channels] each, from that of the output's."""

    @abstractmethod
    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:
        """The output's atoms; ties and freezes those that can't go by themselves."""

    def without(self, taken: Sequence[Places], given: Places) -> Node:  # noqa: ARG002 - for those that hold weights
        """What is left when only these places of each input and of the output stay."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Node):
    """A model's input, or a constant."""

    width: int
    low: float
    high: float

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:  # noqa: ARG002
        """As assumed."""
        return Ranges.between(np.full(self.width, self.low), np.full(self.width, self.high))

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:  # noqa: ARG002
        """Nothing goes in."""
        return []

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:  # noqa: ARG002
        """What users feed stays as it is."""
        return frozen_atoms(coupling, self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elementwise(Node):
    """A function of each element."""

    function: Function

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """As the function says."""
        return self.function.ranges(taken[0])

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:
        """By its slope in each range: what is left of the model stays in the ranges of the whole one."""
        return [product(self.function.slopes(taken[0]), given)]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:  # noqa: ARG002
        """The same channels."""
        return taken[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Node):
    """What comes out lies between values of the same channel: pooling, means, resizing, padding, transposing.

    Attributes:
        zeros: Whether zeros are among those values.
    """

    zeros: bool = False

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """The same, with zero where there are zeros."""
        return taken[0].with_zero() if self.zeros else taken[0]

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:  # noqa: ARG002
        """The same."""
        return [given]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:  # noqa: ARG002
        """The same channels."""
        return taken[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum(Node):
    """A sum or a difference of values, channel by channel.

    Attributes:
        signs: 1 or -1 an input.
    """

    signs: tuple[int, ...]

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """Midpoints add with their signs, radii without."""
        center = sum((sign * r.center for sign, r in zip(self.signs, taken, strict=True)), np.zeros(1))
        return known(center, sum((r.radius for r in taken), np.zeros(1)))

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:
        """Each input's error counts in full."""
        return [_spread(given, r) for r in taken]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:
        """Channels at the same place go together; a single one is spread over all others, and stays."""
        return _tied(coupling, taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Node):
    """Values multiplied with each other, channel by channel."""

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """The ends of all products of ends; of two narrow ranges by their midpoints and radii."""
        one, other = taken
        ends = [product(a, b) for a in (one.low, one.high) for b in (other.low, other.high)]
        aside = product(np.abs(one.center), other.radius) + product(one.radius, other.magnitude)
        around = Ranges(one.center * other.center, aside)
        return around.where(one.narrow & other.narrow, Ranges.between(np.min(ends, axis=0), np.max(ends, axis=0)))

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:
        """Each error counts by how large the other factor gets."""
        factors = (taken[1].magnitude, taken[0].magnitude)
        return [
            _spread(product(np.broadcast_to(f, given.shape), given), r) for f, r in zip(factors, taken, strict=True)
        ]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:
        """As a sum."""
        return _tied(coupling, taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Node):
    """Channels side by side."""

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """Side by side."""
        return Ranges.together(taken)

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:
        """Cut where they meet."""
        return np.split(given, np.cumsum([len(r.center) for r in taken])[:-1])

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:  # noqa: ARG002
        """Side by side."""
        return np.concatenate(taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regroup(Node):
    """Positions become channels: flattening.

    Attributes:
        source: The input channel that each output channel comes from, [out].
    """

    source: Places

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """Those of the channels they come from."""
        return taken[0][self.source]

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:
        """Summed over the positions of a channel."""
        gain = np.zeros(len(taken[0].center))
        np.add.at(gain, self.source, given)
        return [gain]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:  # noqa: ARG002
        """A channel goes with all of its positions."""
        return taken[0][self.source]

    def without(self, taken: Sequence[Places], given: Places) -> Regroup:
        """The places that stay, counted anew."""
        return replace(self, source=np.searchsorted(taken[0], self.source[given]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Node):
    """Shares of a whole; every channel moves all others, so all stay.

    Attributes:
        steepness: What its inputs are multiplied with.
        logarithm: Whether the logarithm of the shares comes out.
    """

    steepness: float = 1.0
    logarithm: bool = False

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """Shares lie between 0 and 1."""
        width = len(taken[0].center)
        return Ranges.unknown(width) if self.logarithm else Ranges.between(np.zeros(width), np.ones(width))

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:
        """Columns of the Jacobian p_i (1 - p_i), -p_i p_j sum to 1/2 at most; of the logarithm's, with n, to n."""
        most = float(given.max(initial=0.0)) * abs(self.steepness)
        return [np.full(len(taken[0].center), most * (len(given) if self.logarithm else 0.5))]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:
        """All of them stay."""
        coupling.freeze(taken[0])
        return taken[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rearrangement(Node):
    """Every element that comes out is one that goes in, or zero, in a place that is not followed.

    Attributes:
        width: Channels that come out.
        reason: Why it is not followed.
    """

    width: int
    reason: str

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:
        """All of them."""
        ends = [r.hull() for r in taken]
        low, high = min(0.0, *(e[0] for e in ends)), max(0.0, *(e[1] for e in ends))
        return Ranges.between(np.full(self.width, low), np.full(self.width, high))

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:
        """An error may come out anywhere."""
        return [np.full(len(r.center), given.sum()) for r in taken]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:
        """All of them stay."""
        for atoms in taken:
            coupling.freeze(atoms)
        return frozen_atoms(coupling, self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque(Node):
    """An operator that may do anything: what goes in must not move at all.

    Attributes:
        width: Channels that come out.
        reason: Why it is not followed.
    """

    width: int
    reason: str

    def ranges(self, taken: Sequence[Ranges]) -> Ranges:  # noqa: ARG002
        """Anything."""
        return Ranges.unknown(self.width)

    def gains(self, given: Floats, taken: Sequence[Ranges]) -> list[Floats]:  # noqa: ARG002
        """Without end."""
        return [np.full(len(r.center), np.inf) for r in taken]

    def couple(self, coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:
        """All of them stay."""
        for atoms in taken:
            coupling.freeze(atoms)
        return frozen_atoms(coupling, self.width)


def frozen_atoms(coupling: Coupling, width: int) -> Atoms:
    """New ones that stay."""
    atoms = coupling.fresh(width)
    coupling.freeze(atoms)
    return atoms


def _tied(coupling: Coupling, taken: Sequence[Atoms]) -> Atoms:
    widest = max(taken, key=len)
    for atoms in taken:
        if len(atoms) == len(widest):
            coupling.tie(widest, atoms)
        else:
            coupling.freeze(atoms)
    return widest


def _spread(gain: Floats, taken: Ranges) -> Floats:
    """Back to an input of one channel, which is spread over all that come out."""
    return gain if len(taken.center) == len(gain) else np.full(len(taken.center), gain.sum())


def product(one: Floats, other: Floats) -> Floats:
    """A product in which nothing times infinity is nothing."""
    with np.errstate(invalid="ignore"):
        return np.where((one == 0) | (other == 0), 0.0, one * other)


def known(center: Floats, radius: Floats) -> Ranges:
    """Ranges whose midpoint is 0 where the radius is infinite."""
    return Ranges(np.where(np.isfinite(radius), center, 0.0), radius)
