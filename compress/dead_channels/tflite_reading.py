"""A .tflite file as a graph of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.dead_channels.cuts import Cut, Place
from tinsmith.compress.dead_channels.draft import Draft, FreezeError
from tinsmith.compress.dead_channels.functions import FUNCTIONS, elu, leaky_relu
from tinsmith.compress.dead_channels.layers import Depthwise, Linear
from tinsmith.compress.dead_channels.nodes import Product, Sum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.graph import Graph
    from tinsmith.compress.dead_channels.tflite_nodes import Contents, Operator

    Array = NDArray[Any]

__all__ = ["TfliteReading"]

_SAME = 0
# ActivationFunctionType
_FUSED = {0: "identity", 1: "relu", 2: "relu1", 3: "relu6", 4: "tanh"}
_BY_NAME = {
    "RELU": "relu",
    "RELU6": "relu6",
    "RELU_N1_TO_1": "relu1",
    "LOGISTIC": "sigmoid",
    "TANH": "tanh",
    "HARD_SWISH": "hard-swish",
}
_RESHAPING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
_SAMPLING = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "MIRROR_PAD")
# These put every element that goes in somewhere else, or leave it out; some put zeros between them.
_MOVING = frozenset(
    (  # noqa: SIM905 - one name a line would fill a screen
        "SLICE STRIDED_SLICE SPLIT SPLIT_V UNPACK GATHER TILE BROADCAST_TO SPACE_TO_DEPTH DEPTH_TO_SPACE RESHAPE "
        "SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND TRANSPOSE SQUEEZE EXPAND_DIMS REVERSE_V2 PAD"
    ).split()
)


class TfliteReading:
    """A graph, and where the file keeps what is to be cut.

    Attributes:
        draft: The graph; its tensors are named by their numbers.
        cuts: Constants with one entry a channel.
        targets: Constants that name a number of channels: the shapes that reshapes make; ``axis`` is the place in them.
        layers: Numbers of the operators with weights, by their node's name.
    """

    def __init__(self, contents: Contents, largest_input: float) -> None:
        self.draft = Draft(largest_input)
        self.cuts: list[Cut] = []
        self.targets: list[Cut] = []
        self.layers: dict[str, int] = {}
        self._contents = contents
        for index in contents.inputs:
            self.draft.feed(str(index), contents.shape(index))
        for operator in contents.operators():
            self._read(operator)

    def graph(self) -> Graph:
        """What was read."""
        return self.draft.graph(str(index) for index in self._contents.outputs)

    def _read(self, operator: Operator) -> None:
        """Follow an operator, or keep all channels around it."""
        draft, count = self.draft, len(self.draft.nodes)
        reason = f"what {operator.kind} does with channels is not known"
        follow = _RULES.get(operator.kind)
        if follow is not None and not self._starts(operator):
            reason = "it starts from a constant"
        elif follow is not None:
            try:
                follow(self, operator)
            except FreezeError as error:
                reason = str(error)
            else:
                return
        draft.back_to(count)
        computed = [str(i) for i in operator.inputs if draft.knows(str(i))]
        joins = operator.kind in ("CONCATENATION", "PACK") and len(computed) == len(operator.inputs)
        data = operator.inputs[operator.kind == "SPLIT" : 2]
        moves = joins or (operator.kind in _MOVING and computed == [str(data[0])])
        given = [(str(i), self._contents.shape(i)) for i in operator.outputs]
        draft.opaque(operator.name, computed, given, reason, moves=moves)

    def _starts(self, operator: Operator) -> bool:
        """Whether it works on something that is computed; an addition may name its constant first."""
        either = 2 if operator.kind in ("ADD", "SUB", "MUL") else 1
        return any(self.draft.knows(str(index)) for index in operator.inputs[:either])

    def _fixed(self, operator: Operator) -> str:
        shared = self._contents.is_shared(operator.inputs[1])
        return "another operator reads the same weights" if shared else ""

    def _bias(self, operator: Operator, width: int) -> Array:
        if len(operator.inputs) <= 2 or operator.inputs[2] < 0:
            return np.zeros(width)
        bias = self._contents.weights(operator, 2)
        self.cuts.append(Cut(Place(operator.number, 2), 0, operator.given))
        return bias.astype(np.float64)

    def _activate(self, operator: Operator) -> None:
        code = operator.options.fusedActivationFunction
        if code not in _FUSED:
            raise FreezeError("its activation is not one that is known")
        self.draft.activated(operator.name, FUNCTIONS[_FUSED[code]])

    def _linear(self, operator: Operator, value: str, weights: Array, *, padded: bool) -> None:
        """Weights are [out, window..., in]."""
        if weights.shape[-1] != self.draft.width(value):
            raise FreezeError("its weights do not fit what goes in")
        axes = tuple(range(1, weights.ndim - 1))
        wide = weights.astype(np.float64)
        node = Linear(
            name=operator.name, inputs=(value,), output=operator.given, summed=wide.sum(axis=axes),
            absolute=np.abs(wide).sum(axis=axes), bias=self._bias(operator, len(weights)), padded=padded,
            fixed=self._fixed(operator),
        )  # fmt: skip
        self.draft.add(node, -1, self._contents.shape(operator.outputs[0]))
        self._activate(operator)
        self.cuts += [Cut(Place(operator.number, 1), 0, operator.given),
                      Cut(Place(operator.number, 1), weights.ndim - 1, value)]  # fmt: skip
        self.layers[operator.name] = operator.number

    def convolution(self, operator: Operator) -> None:
        """CONV_2D."""
        value = self.draft.along(operator.taken, -1)
        weights = self._contents.weights(operator)
        self._linear(operator, value, weights, padded=self._is_padded(operator, weights.shape[1:3]))

    def dense(self, operator: Operator) -> None:
        """FULLY_CONNECTED; what goes in is flattened as far as the weights are long."""
        weights = self._contents.weights(operator)
        shape = self.draft.shapes[operator.taken]
        if operator.options.weightsFormat:
            raise FreezeError("its weights are shuffled")
        if shape[-1] == weights.shape[1]:
            self._linear(operator, self.draft.along(operator.taken, -1), weights, padded=False)
            return
        flat = f"{operator.taken}#{operator.name}"
        self.draft.reshape(flat, operator.taken, flat, (-1, weights.shape[1]))
        self._linear(operator, self.draft.along(flat, -1), weights, padded=False)

    def depthwise(self, operator: Operator) -> None:
        """DEPTHWISE_CONV_2D: weights are [1, rows, columns, out]."""
        value = self.draft.along(operator.taken, -1)
        weights = self._contents.weights(operator).astype(np.float64)
        if weights.shape[-1] % self.draft.width(value):
            raise FreezeError("its weights do not fit what goes in")
        node = Depthwise(
            name=operator.name, inputs=(value,), output=operator.given, summed=weights.sum(axis=(0, 1, 2)),
            absolute=np.abs(weights).sum(axis=(0, 1, 2)), bias=self._bias(operator, weights.shape[-1]),
            padded=self._is_padded(operator, weights.shape[1:3]), fixed=self._fixed(operator),
        )  # fmt: skip
        self.draft.add(node, -1, self._contents.shape(operator.outputs[0]))
        self._activate(operator)
        self.cuts.append(Cut(Place(operator.number, 1), 3, operator.given))

    def _is_padded(self, operator: Operator, window: Iterable[int]) -> bool:
        """Whether zeros stand around the image; where its size is not known, any window may reach beyond it."""
        options = operator.options
        if options.padding != _SAME:
            return False
        strides = (options.strideH, options.strideW)
        dilations = (options.dilationHFactor, options.dilationWFactor)
        for length, size, stride, dilation in zip(
            self.draft.shapes[operator.taken][1:3], window, strides, dilations, strict=True
        ):
            reach = (size - 1) * dilation + 1
            if reach > 1 and (length < 1 or (-(-length // stride) - 1) * stride + reach > length):
                return True
        return False

    def arithmetic(self, operator: Operator) -> None:
        """ADD, SUB and MUL, of two computed tensors or with a constant."""
        computed = [slot for slot in (0, 1) if self.draft.knows(str(operator.inputs[slot]))]
        shape = self._contents.shape(operator.outputs[0])
        if len(computed) == 2:
            pair = (operator.taken, str(operator.inputs[1]))
            kind = Product if operator.kind == "MUL" else Sum
            signs = (1, -1) if operator.kind == "SUB" else (1, 1)
            self.draft.combine(kind, operator.name, pair, operator.given, shape, signs=signs)
            self._activate(operator)
            return
        at = computed[0]
        constant = self._contents.weights(operator, 1 - at).astype(np.float64)
        one, none = np.ones(()), np.zeros(())
        scale, shift = {
            "MUL": (constant, none),
            "ADD": (one, constant),
            "SUB": (one, -constant) if at == 0 else (-one, constant),
        }[operator.kind]
        self._scaled(operator, at, scale, shift)

    def _scaled(self, operator: Operator, at: int, scale: Array, shift: Array) -> None:
        taken = str(operator.inputs[at])
        apart = self.draft.scaled(operator.name, taken, operator.given, scale, shift)
        if not apart and operator.options.fusedActivationFunction:
            raise FreezeError("it holds values between ends before channels are told apart")
        if not apart:
            return
        self._activate(operator)
        axis = self.draft.cut_axis(operator.given, self._contents.weights(operator, 1 - at).shape)
        if axis is not None:
            self.cuts.append(Cut(Place(operator.number, 1 - at), axis, operator.given))

    def function(self, operator: Operator) -> None:
        """Activations."""
        kind, options = operator.kind, operator.options
        function = {"LEAKY_RELU": lambda: leaky_relu(float(options.alpha)), "ELU": lambda: elu(1.0)}.get(
            kind, lambda: FUNCTIONS[_BY_NAME[kind]]
        )()
        self.draft.elementwise(operator.name, operator.taken, operator.given, function)

    def sampling(self, operator: Operator) -> None:
        """Pooling and resizing: padding does not count."""
        if not self.draft.is_plain(operator.taken) and self.draft.axes[operator.taken] != 3:
            raise FreezeError("its channels are not on the last axis")
        pools = operator.kind.endswith("POOL_2D")
        if pools and self.draft.is_plain(operator.taken) and operator.options.fusedActivationFunction:
            raise FreezeError("it holds values between ends before channels are told apart")
        self.draft.pool(operator.name, operator.taken, operator.given, self._contents.shape(operator.outputs[0]))
        if pools and not self.draft.is_plain(operator.given):
            self._activate(operator)

    def padding(self, operator: Operator) -> None:
        """PAD, with zeros."""
        shape = self._contents.shape(operator.outputs[0])
        self.draft.pool(operator.name, operator.taken, operator.given, shape, zeros=True)

    def mean(self, operator: Operator) -> None:
        """MEAN, and other reductions whose result lies among what goes in."""
        axes = self._contents.constant(operator.inputs[1])
        if axes is None:
            raise FreezeError("its axes are computed")
        over = {int(a) % len(self.draft.shapes[operator.taken]) for a in axes.ravel()}
        shape = self._contents.shape(operator.outputs[0])
        self.draft.reduce(operator.name, operator.taken, operator.given, shape, over=over)

    def reshape(self, operator: Operator) -> None:
        """The same elements in another shape; its target may be a constant, an option, or both."""
        if (
            operator.kind == "RESHAPE"
            and len(operator.inputs) > 1
            and self._contents.constant(operator.inputs[1]) is None
        ):
            raise FreezeError("its shape is computed")
        shape = self._contents.shape(operator.outputs[0])
        axis = self.draft.reshape(operator.name, operator.taken, operator.given, shape)
        if axis is not None and operator.kind == "RESHAPE":
            self.targets.append(Cut(Place(operator.number, 1), axis, operator.given))

    def transpose(self, operator: Operator) -> None:
        """Axes change places."""
        order = self._contents.constant(operator.inputs[1])
        if order is None:
            raise FreezeError("its order is computed")
        self.draft.transpose(operator.name, operator.taken, operator.given, [int(i) for i in order])

    def concatenation(self, operator: Operator) -> None:
        """Tensors side by side."""
        values = [str(i) for i in operator.inputs]
        if not all(map(self.draft.knows, values)):
            raise FreezeError("a constant is among its inputs")
        shape = self._contents.shape(operator.outputs[0])
        self.draft.concat(operator.name, values, operator.given, operator.options.axis, shape)
        self._activate(operator)

    def softmax(self, operator: Operator) -> None:
        """SOFTMAX and LOG_SOFTMAX over the last axis."""
        logarithm = operator.kind == "LOG_SOFTMAX"
        steepness = 1.0 if logarithm else float(operator.options.beta)
        self.draft.softmax(operator.name, operator.taken, operator.given, axis=-1, steepness=steepness,
                           logarithm=logarithm)  # fmt: skip


_RULES: dict[str, Callable[[TfliteReading, Operator], None]] = {
    "CONV_2D": TfliteReading.convolution,
    "DEPTHWISE_CONV_2D": TfliteReading.depthwise,
    "FULLY_CONNECTED": TfliteReading.dense,
    **dict.fromkeys(("ADD", "SUB", "MUL"), TfliteReading.arithmetic),
    **dict.fromkeys((*_BY_NAME, "LEAKY_RELU", "ELU"), TfliteReading.function),
    **dict.fromkeys(_SAMPLING, TfliteReading.sampling),
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN"), TfliteReading.mean),
    **dict.fromkeys(_RESHAPING, TfliteReading.reshape),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX"), TfliteReading.softmax),
    "PAD": TfliteReading.padding,
    "TRANSPOSE": TfliteReading.transpose,
    "CONCATENATION": TfliteReading.concatenation,
}
