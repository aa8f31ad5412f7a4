"""A float model as equalization sees it, whatever its format: layers, and what stands between two of them.

Where a channel of a tensor goes is followed with an array of its numbers: shaped as the tensor, with 1 for each axis
along which the number stays the same. What a reader can't place stands nowhere here, and stops the search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from tinsmith.convert.equalization.windows import Window

    Numbers = NDArray[np.intp]

__all__ = [
    "Blocked",
    "Dropped",
    "Graph",
    "Layer",
    "Link",
    "Positions",
    "Reshaped",
    "Step",
    "Transposed",
    "Way",
    "along",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """A convolution or a dense layer.

    Attributes:
        name: Of the first tensor that it computes.
        taken: The tensor that goes in.
        given: The tensor that comes out, bias and fused activation included.
        axis: Of the channels, in both.
        weights: float32, of any layout.
        reads: For each weight the channel of ``taken`` that it is multiplied with; broadcasts to ``weights``.
        gives: For each weight the channel of ``given`` that it adds to; broadcasts to ``weights``.
        bias: float32, one a channel of ``given``; None where there is none.
        blocked: Why its outputs can't be scaled; empty where they can.
        shared: Whether other operators use its weights or bias.
        window: How it moves over its input; None where that is not known.
    """

    name: str
    taken: str
    given: str
    axis: int
    weights: NDArray[np.float32] = field(repr=False)
    reads: Numbers = field(repr=False)
    gives: Numbers = field(repr=False)
    bias: NDArray[np.float32] | None = field(default=None, repr=False)
    blocked: str = ""
    shared: bool = False
    window: Window | None = None

    @property
    def channels(self) -> int:
        """How many come out."""
        return int(self.gives.max()) + 1

    @property
    def width(self) -> int:
        """How many go in."""
        return int(self.reads.max()) + 1

    @property
    def groups(self) -> int:
        """Of channels that do not mix."""
        inputs = 1 if self.window is None else self.weights.shape[self.window.order[-1]]
        return max(1, self.width // inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Works channel by channel, and mixes positions along some axes: pooling, padding; activations along none.

    Attributes:
        axes: Those axes.
    """

    axes: tuple[int, ...] = ()

    def follow(self, numbers: Numbers) -> Numbers | None:
        """Where the channels are behind it; None where it mixes them."""
        return numbers if _same_along(numbers, self.axes) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Works channel by channel, and leaves axes out: a mean over positions.

    Attributes:
        axes: Those axes.
    """

    axes: tuple[int, ...]

    def follow(self, numbers: Numbers) -> Numbers | None:
        """Where the channels are behind it; None where it mixes them."""
        return np.squeeze(numbers, self.axes) if _same_along(numbers, self.axes) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transposed:
    """Another order of axes.

    Attributes:
        order: As NumPy takes it.
    """

    order: tuple[int, ...]

    def follow(self, numbers: Numbers) -> Numbers | None:
        """Where the channels are behind it."""
        return numbers.transpose(self.order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshaped:
    """The same values in another shape.

    Attributes:
        before: With 1 for a free batch axis; 0 where a length is not known.
        after: The same.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    def follow(self, numbers: Numbers) -> Numbers | None:
        """Where the channels are behind it; None where a length is not known."""
        if 0 in self.before or 0 in self.after or np.prod(self.before) != np.prod(self.after):
            return None
        return _brief(np.broadcast_to(numbers, self.before).reshape(self.after))


Step = Positions | Dropped | Transposed | Reshaped


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """An operator that gives twice as much for twice as much, channel by channel.

    Attributes:
        kind: The format's name of it.
        taken: The tensor that goes in.
        given: The tensor that comes out.
        step: What becomes of the channels.
    """

    kind: str
    taken: str
    given: str
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The layers of a model and the ways between them.

    Attributes:
        layers: In the order in which they run.
        ways: By what they take.
        readers: For each tensor the kinds of all operators that read it.
        ends: Tensors that users get.
        shapes: Of tensors, with 1 for a free batch axis and 0 for lengths that are not known.
    """

    layers: tuple[Layer, ...]
    ways: Mapping[str, Way]
    readers: Mapping[str, tuple[str, ...]]
    ends: frozenset[str]
    shapes: Mapping[str, tuple[int, ...]]

    def links(self) -> Iterator[Link | Blocked]:
        """For each layer the one that reads it, or why none can be scaled with it."""
        consumers = {layer.taken: layer for layer in self.layers}
        for layer in self.layers:
            yield self._link(layer, consumers)

    def behind(self, layer: Layer) -> str:
        """The tensor behind a layer's activation, where that is an operator of its own; else the layer's own."""
        way = self.ways.get(layer.given)
        alone = way is not None and way.step == Positions() and not self._reason(layer.given)
        return way.given if way is not None and alone else layer.given

    def _link(self, layer: Layer, consumers: Mapping[str, Layer]) -> Link | Blocked:
        value, between, seen = layer.given, [layer.given], layer.given
        numbers = self._numbers(layer)
        reason = self._own_reason(layer) or self._reason(value)
        while not reason and value not in consumers:
            way = self.ways.get(value)
            if way is None:
                return Blocked(layer=layer.name, reason=f"{self.readers[value][0]} reads it")
            followed = way.step.follow(numbers)
            if followed is None:
                return Blocked(layer=layer.name, reason=f"{way.kind} mixes its channels")
            seen = way.given if way.step == Positions() and seen == value else seen
            value, numbers = way.given, followed
            between.append(value)
            reason = self._reason(value)
        return (
            Blocked(layer=layer.name, reason=reason)
            if reason
            else self._joined(layer, consumers[value], numbers, between, seen)
        )

    def _own_reason(self, layer: Layer) -> str:
        return "another operator uses its weights too" if layer.shared else layer.blocked

    def _reason(self, value: str) -> str:
        """Why a tensor can't be scaled, as far as its readers tell."""
        readers = self.readers.get(value, ())
        if value in self.ends:
            return "it is an output of the model"
        if not readers:
            return "nothing reads it"
        return f"{len(readers)} operators read it: {', '.join(sorted(readers))}" if len(readers) > 1 else ""

    def _numbers(self, layer: Layer) -> Numbers:
        rank = len(self.shapes.get(layer.given, ())) or 2
        return along(layer.axis % rank, rank, np.arange(layer.channels))

    def _joined(self, layer: Layer, consumer: Layer, numbers: Numbers, between: list[str], seen: str) -> Link | Blocked:
        channels = self._arriving(consumer, numbers)
        if consumer.shared:
            return Blocked(layer=layer.name, reason=f"another operator uses the weights of {consumer.name!r} too")
        if channels is None:
            return Blocked(layer=layer.name, reason=f"{consumer.name!r} mixes its channels")
        return Link(producer=layer, consumer=consumer, between=tuple(between), channels=channels, seen=seen)

    def _arriving(self, consumer: Layer, numbers: Numbers) -> Numbers | None:
        """For each channel that goes into a layer, the one that it was; None where that depends on the position."""
        axis, width = consumer.axis % numbers.ndim, consumer.width
        if numbers.shape[axis] != width or not _same_along(numbers, tuple(set(range(numbers.ndim)) - {axis})):
            shape = self.shapes.get(consumer.taken, ())
            if 0 in shape or not shape or np.prod(shape) % width:
                return None
            numbers = np.broadcast_to(numbers, shape)
        rows = np.moveaxis(numbers, axis, -1).reshape(-1, width)
        return rows[0] if (rows == rows[0]).all() else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Link:
    """Two layers whose channels can be scaled against each other.

    Attributes:
        producer: Its outputs can be divided by something.
        consumer: Its inputs can be multiplied with it.
        between: The tensors that get other values by it, the producer's first.
        channels: For each channel that the consumer reads, the producer's channel that it is.
        seen: The last of ``between`` that is shaped like the producer's output: behind its activation.
    """

    producer: Layer
    consumer: Layer
    between: tuple[str, ...]
    channels: Numbers = field(repr=False)
    seen: str

    @property
    def reads(self) -> Numbers:
        """For each weight of the consumer the producer's channel that it is multiplied with."""
        return self.channels[self.consumer.reads]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A layer whose outputs stay as they are.

    Attributes:
        layer: Its name.
        reason: Why, for people.
    """

    layer: str
    reason: str


def along(axis: int, rank: int, numbers: Numbers) -> Numbers:
    """Numbers that change along one axis only."""
    return numbers.reshape([-1 if n == axis else 1 for n in range(rank)])


def _same_along(numbers: Numbers, axes: tuple[int, ...]) -> bool:
    return all(numbers.shape[axis] == 1 for axis in axes)


def _brief(numbers: Numbers) -> Numbers:
    """With 1 for each axis along which the numbers stay the same."""
    for axis in range(numbers.ndim):
        first = numbers.take([0], axis)
        numbers = first if (numbers == first).all() else numbers
    return numbers
