"""A graph while it is read from a file: which axis of each tensor its channels are on, and what is left to find out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.dead_channels.functions import Clip
from tinsmith.compress.dead_channels.graph import Graph
from tinsmith.compress.dead_channels.layers import PerChannel
from tinsmith.compress.dead_channels.nodes import (
    Concat,
    Elementwise,
    Node,
    Opaque,
    Pool,
    Product,
    Rearrangement,
    Regroup,
    Softmax,
    Source,
    Sum,
)
from tinsmith.compress.dead_channels.ranges import Ranges
from tinsmith.compress.structure.rules import FreezeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.functions import Function

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]
    Shape = tuple[int, ...]

__all__ = ["Draft", "FreezeError"]

# Stands in names of values that no file names: no file's names hold it.
_VIEW, _INNER = "\0axis", "\0before "


class Draft:
    """Nodes that have been read, and where the channels of each tensor are.

    A model's inputs, and what is made of them without telling channels apart, have no axis before something reads
    them along one: they are ``plain``.

    Args:
        largest_input: No number that goes into the model is larger in magnitude.
    """

    def __init__(self, largest_input: float) -> None:
        self.nodes: list[Node] = []
        self.axes: dict[str, int] = {}
        self.shapes: dict[str, Shape] = {}
        self._largest = largest_input
        self._plain: dict[str, tuple[float, float]] = {}
        self._views: dict[tuple[str, int], str] = {}

    def feed(self, name: str, shape: Sequence[int | None]) -> None:
        """An input of the model."""
        self._plain[name] = (-self._largest, self._largest)
        self.shapes[name] = _lengths(shape) or (1,)

    def knows(self, name: str) -> bool:
        """Whether a tensor is computed from the inputs, as far as has been read."""
        return name in self.shapes

    def is_plain(self, name: str) -> bool:
        """Whether no channels are told apart yet."""
        return name in self._plain

    def axis(self, name: str) -> int:
        """Of a tensor's channels; the last one for one that does not tell them apart."""
        return self.axes.get(name, len(self.shapes[name]) - 1)

    def along(self, name: str, axis: int) -> str:
        """A value of a tensor's channels on this axis.

        Raises:
            FreezeError: It has no such axis.
        """
        shape = self.shapes[name]
        axis = axis % len(shape) if shape else -1
        if axis < 0 or shape[axis] < 1:
            raise FreezeError("the length of its channel axis is not known")
        if self.axes.get(name) == axis:
            return name
        if (name, axis) not in self._views:
            self._views[name, axis] = self._view(name, axis, shape[axis])
        return self._views[name, axis]

    def width(self, value: str) -> int:
        """How many channels a value has."""
        tensor, _, axis = value.rpartition(_VIEW) if value not in self.axes else (value, "", str(self.axes[value]))
        return self.shapes[tensor][int(axis)]

    def add(self, node: Node, axis: int, shape: Sequence[int | None]) -> None:
        """A node whose output is a tensor with channels on an axis."""
        self.nodes.append(node)
        self.shapes[node.output] = _lengths(shape)
        self.axes[node.output] = axis % len(shape)

    def inner(self, node: Node) -> str:
        """A node whose output only the next one reads."""
        self.nodes.append(node)
        return node.output

    def back_to(self, count: int) -> None:
        """Forget the nodes after the first ``count``."""
        gone = {node.output for node in self.nodes[count:]}
        self.nodes = self.nodes[:count]
        self._views = {key: value for key, value in self._views.items() if value not in gone}

    def opaque(self, name: str, inputs: Iterable[str], outputs: Iterable[tuple[str, Sequence[int | None]]], reason: str,
               *, moves: bool = False) -> None:  # fmt: skip
        """An operator that is not followed.

        Args:
            name: Of the operator.
            inputs: Computed tensors that it reads.
            outputs: What it makes, with shapes.
            reason: Why.
            moves: Whether it only moves elements to other places.
        """
        read = tuple(self._any_view(tensor) for tensor in inputs if self.knows(tensor))
        kind = Rearrangement if moves and read else Opaque
        for number, (output, shape) in enumerate(outputs):
            lengths = _lengths(shape)
            width = max(lengths[-1], 1) if lengths else 1
            unique = f"{name}:{number}" if number else name
            self.nodes.append(kind(name=unique, inputs=read, output=output, width=width, reason=reason))
            self._plain.pop(output, None)
            self.shapes[output] = lengths or (1,)
            self.axes[output] = len(self.shapes[output]) - 1

    def graph(self, outputs: Iterable[str]) -> Graph:
        """All of it."""
        return Graph(nodes=tuple(self.nodes), outputs=frozenset(self._any_view(n) for n in outputs if self.knows(n)))

    # What operators of all formats have in common.

    def elementwise(self, name: str, taken: str, given: str, function: Function | None) -> None:
        """A function of each element; raises ``FreezeError`` where there is none that is known."""
        if function is None:
            raise FreezeError("its function is not one that is known")
        shape = self.shapes[taken]
        if self.is_plain(taken):
            low, high = self._plain[taken]
            ranges = function.ranges(Ranges.between([low], [high]))
            self._stay_plain(given, shape, (float(ranges.low[0]), float(ranges.high[0])))
            return
        self.add(Elementwise(name=name, inputs=(taken,), output=given, function=function), self.axes[taken], shape)

    def pool(self, name: str, taken: str, given: str, shape: Sequence[int | None], *, zeros: bool = False) -> None:
        """Values of the same channel; the axis stays where it is.

        Raises:
            FreezeError: The number of channels changes.
        """
        if self.is_plain(taken):
            low, high = self._plain[taken]
            self._stay_plain(given, _lengths(shape), (min(low, 0.0), max(high, 0.0)) if zeros else (low, high))
            return
        axis = self.axes[taken]
        if len(shape) <= axis or shape[axis] != self.shapes[taken][axis]:
            raise FreezeError("it changes the number of channels")
        self.add(Pool(name=name, inputs=(taken,), output=given, zeros=zeros), axis, shape)

    def reduce(self, name: str, taken: str, given: str, shape: Sequence[int | None], *, over: set[int]) -> None:
        """A mean or a maximum over some axes; raises ``FreezeError`` where over the channels.

        Args:
            name: Of the node.
            taken: What goes in.
            given: What comes out.
            shape: Of what comes out, with or without the axes.
            over: The axes, from 0.
        """
        if self.is_plain(taken):
            self._stay_plain(given, _lengths(shape), self._plain[taken])
            return
        axis = self.axes[taken]
        if axis in over:
            raise FreezeError("it adds up over the channels")
        if len(shape) < len(self.shapes[taken]):
            axis -= sum(at < axis for at in over)
        self.add(Pool(name=name, inputs=(taken,), output=given), axis, shape)

    def transpose(self, name: str, taken: str, given: str, order: Sequence[int]) -> None:
        """Axes change places."""
        shape = tuple(self.shapes[taken][i] for i in order)
        if self.is_plain(taken):
            self._stay_plain(given, shape, self._plain[taken])
            return
        self.add(Pool(name=name, inputs=(taken,), output=given), list(order).index(self.axes[taken]), shape)

    def reshape(self, name: str, taken: str, given: str, shape: Sequence[int | None]) -> int | None:
        """The same elements in another shape.

        Returns:
            The axis of the channels in the new one; None where they are not told apart.

        Raises:
            FreezeError: Channels are torn apart.
        """
        lengths = _lengths(shape)
        if self.is_plain(taken):
            self._stay_plain(given, lengths, self._plain[taken])
            return None
        before, axis = self.shapes[taken], self.axes[taken]
        if min(*before, *lengths, 1) < 1:
            raise FreezeError("it takes images of any size")
        for at, length in enumerate(lengths):
            if length == before[axis] and math.prod(lengths[:at]) == math.prod(before[:axis]):
                self.add(Pool(name=name, inputs=(taken,), output=given), at, lengths)
                return at
        source = _flattened(before, axis, lengths)
        self.add(Regroup(name=name, inputs=(taken,), output=given, source=source), len(lengths) - 1, lengths)
        return len(lengths) - 1

    def concat(self, name: str, taken: Sequence[str], given: str, axis: int, shape: Sequence[int | None]) -> None:
        """Tensors side by side.

        Raises:
            FreezeError: Not along their channels.
        """
        axis = axis % len(shape)
        if any(not self.is_plain(t) and self.axes[t] != axis for t in taken):
            raise FreezeError("it does not put channels side by side")
        self.add(Concat(name=name, inputs=tuple(self.along(t, axis) for t in taken), output=given), axis, shape)

    def combine(self, kind: type[Sum] | type[Product], name: str, taken: tuple[str, str], given: str,
                shape: Sequence[int | None], *, signs: tuple[int, ...] = (1, 1)) -> None:  # fmt: skip
        """Two computed tensors, element by element.

        Raises:
            FreezeError: They do not have their channels in the same place.
        """
        rank = len(shape)
        axes = {self.axes[t] - len(self.shapes[t]) for t in taken if not self.is_plain(t)} or {-1}
        if len(axes) > 1:
            raise FreezeError("its inputs have their channels on different axes")
        axis = rank + axes.pop()
        inputs = tuple(self.along(t, axis - rank) for t in taken)
        widths = {self.width(value) for value in inputs}
        if len(widths - {1}) > 1 or max(widths) != shape[axis]:
            raise FreezeError("its inputs have different numbers of channels")
        if kind is Sum:
            self.add(Sum(name=name, inputs=inputs, output=given, signs=signs), axis, shape)
        else:
            self.add(Product(name=name, inputs=inputs, output=given), axis, shape)

    def scaled(self, name: str, taken: str, given: str, scale: Floats, shift: Floats) -> bool:
        """A constant factor and a constant summand, each a single number or one a channel.

        Args:
            name: Of the node.
            taken: What goes in.
            given: What comes out.
            scale: In the shape in which it is broadcast.
            shift: In the shape in which it is broadcast.

        Returns:
            Whether channels are told apart, so that the constants go with them.

        Raises:
            FreezeError: A constant has other axes than that of the channels.
        """
        shape = self.shapes[taken]
        if max(scale.ndim, shift.ndim) > len(shape):
            raise FreezeError("its constant adds an axis")
        if self.is_plain(taken) and scale.size == shift.size == 1:
            ends = sorted(float(scale.ravel()[0]) * end + float(shift.ravel()[0]) for end in self._plain[taken])
            self._stay_plain(given, shape, (ends[0], ends[1]))
            return False
        axis = self.axes[taken] if not self.is_plain(taken) else _own_axis((scale, shift), len(shape))
        value = self.along(taken, axis)
        width = self.width(value)
        factors, summands = (_per_channel(part, axis, shape, width) for part in (scale, shift))
        node = PerChannel(name=name, inputs=(value,), output=given, summed=factors, absolute=np.abs(factors),
                          bias=summands)  # fmt: skip
        self.add(node, axis, shape)
        return True

    def cut_axis(self, given: str, lengths: Sequence[int]) -> int | None:
        """The axis of a broadcast constant that has one entry for each channel of what comes out; None if none has."""
        axis = self.axes[given] - len(self.shapes[given]) + len(lengths)
        return axis if axis >= 0 and lengths[axis] > 1 else None

    def softmax(self, name: str, taken: str, given: str, *, axis: int, steepness: float, logarithm: bool) -> None:
        """Shares of a whole, over the channels; raises ``FreezeError`` where over something else."""
        shape = self.shapes[taken]
        if axis % len(shape) != self.axis(taken):
            raise FreezeError("it adds up over other axes than the channels")
        value = self.along(taken, axis)
        node = Softmax(name=name, inputs=(value,), output=given, steepness=steepness, logarithm=logarithm)
        self.add(node, axis, shape)

    def activated(self, name: str, function: Function) -> None:
        """Put a function behind the node that was added last, under the name of its output."""
        if function == Clip():
            return
        last = self.nodes.pop()
        inner = replace(last, output=f"{last.output}{_INNER}{name}")
        self.nodes += [inner, Elementwise(name=f"{name} activation", inputs=(inner.output,), output=last.output,
                                          function=function)]  # fmt: skip

    def rename_last(self, name: str) -> None:
        """Give another name to the output of the node that was added last."""
        last = self.nodes.pop()
        self.axes[name], self.shapes[name] = self.axes.pop(last.output), self.shapes.pop(last.output)
        self.nodes.append(replace(last, output=name))

    def _stay_plain(self, name: str, shape: Shape, ends: tuple[float, float]) -> None:
        self._plain[name] = ends
        self.shapes[name] = shape

    def _any_view(self, name: str) -> str:
        """For those that read all of it."""
        if name in self.axes:
            return name
        axis = len(self.shapes[name]) - 1
        if (name, axis) not in self._views:
            self._views[name, axis] = self._view(name, axis, max(self.shapes[name][axis], 1))
        return self._views[name, axis]

    def _view(self, name: str, axis: int, width: int) -> str:
        value = f"{name}{_VIEW}{axis}"
        said = f"{name} along axis {axis}"
        if self.is_plain(name):
            low, high = self._plain[name]
            return self.inner(Source(name=said, inputs=(), output=value, width=width, low=low, high=high))
        reason = "it is read along another axis than that of its channels"
        return self.inner(Rearrangement(name=said, inputs=(name,), output=value, width=width, reason=reason))


def _lengths(shape: Sequence[int | None]) -> Shape:
    """A free batch counts as 1; another free axis has a length that is not known, 0."""
    return tuple((1 if at == 0 else 0) if n is None or n < 0 else int(n) for at, n in enumerate(shape))


def _flattened(before: Shape, axis: int, after: Shape) -> Places:
    """Where each place of the last axis comes from, when all axes from some one on become one."""
    for start in range(axis + 1):
        if math.prod(before[start:]) == after[-1] and math.prod(before[:start]) == math.prod(after[:-1]):
            inner = before[start:]
            return np.broadcast_to(_index(inner, axis - start), inner).reshape(-1).astype(np.int64)
    raise FreezeError("it moves channels to other places")


def _index(shape: Shape, axis: int) -> Places:
    lengths = [1] * len(shape)
    lengths[axis] = shape[axis]
    return np.arange(shape[axis]).reshape(lengths)


def _own_axis(constants: Iterable[Floats], rank: int) -> int:
    """The axis on which a constant has more than one element."""
    axes = {rank - c.ndim + at for c in constants for at, n in enumerate(c.shape) if n > 1}
    if len(axes) != 1:
        raise FreezeError("its constant has several axes")
    return axes.pop()


def _per_channel(constant: Floats, axis: int, shape: Shape, width: int) -> Floats:
    """A constant as one number a channel."""
    whole = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    if whole.size not in (1, whole.shape[axis]) or whole.shape[axis] not in (1, width):
        raise FreezeError("its constant differs within a channel")
    return np.broadcast_to(whole.reshape(-1), (width,)).astype(np.float64)
