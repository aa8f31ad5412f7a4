"""An .onnx file as a graph of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.dead_channels.cuts import Cut, Place
from tinsmith.compress.dead_channels.draft import Draft, FreezeError
from tinsmith.compress.dead_channels.functions import FUNCTIONS, Clip, elu, hard_sigmoid, leaky_relu
from tinsmith.compress.dead_channels.layers import Depthwise, Linear, PerChannel
from tinsmith.compress.dead_channels.nodes import Product, Sum

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.functions import Function
    from tinsmith.compress.dead_channels.graph import Graph
    from tinsmith.compress.dead_channels.onnx_nodes import Contents, Operator

    Array = NDArray[Any]

__all__ = ["OnnxReading"]

_BY_NAME = {
    "Identity": "identity",
    "Dropout": "identity",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "HardSwish": "hard-swish",
    "Swish": "swish",
}
_SHAPED: dict[str, Callable[[dict[str, Any]], Function | None]] = {
    "LeakyRelu": lambda s: leaky_relu(s.get("alpha", 0.01)),
    "Elu": lambda s: elu(s.get("alpha", 1.0)),
    "HardSigmoid": lambda s: hard_sigmoid(s.get("alpha", 0.2), s.get("beta", 0.5)),
}
# These put every element of their first input somewhere else, or leave it out; some put zeros between them.
_MOVING = frozenset(
    (  # noqa: SIM905 - one name a line would fill a screen
        "Slice Split Gather Tile Expand SpaceToDepth DepthToSpace Reshape Transpose Squeeze Unsqueeze Flatten"
    ).split()
)


class OnnxReading:
    """A graph, and where the file keeps what is to be cut.

    Attributes:
        draft: The graph; its tensors have the file's names.
        cuts: Constants with one entry a channel.
        targets: Shapes that name a number of channels; ``axis`` is the place in them.
        groups: Depthwise convolutions, by number, with the value that goes in: they say how many channels it has.
        layers: Operators with weights, by their node's name.
        factors: What a layer's stored bias is multiplied with, where that is not 1, by the node's name.
    """

    def __init__(self, contents: Contents, largest_input: float) -> None:
        self.draft = Draft(largest_input)
        self.cuts: list[Cut] = []
        self.targets: list[Cut] = []
        self.groups: dict[int, str] = {}
        self.layers: dict[str, Operator] = {}
        self.factors: dict[str, float] = {}
        self._contents = contents
        for name in contents.inputs:
            self.draft.feed(name, contents.shape(name))
        for operator in contents.operators():
            if contents.constant(operator.outputs[0]) is None:
                self._read(operator)

    def graph(self) -> Graph:
        """What was read."""
        return self.draft.graph(self._contents.outputs)

    def _read(self, operator: Operator) -> None:
        """Follow an operator, or keep all channels around it."""
        count = len(self.draft.nodes)
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
        self.draft.back_to(count)
        computed = [name for name in operator.inputs if self.draft.knows(name)]
        joins = operator.kind == "Concat" and len(computed) == len(operator.inputs)
        moves = joins or (operator.kind in _MOVING and computed == [operator.taken])
        given = [(name, self._contents.shape(name)) for name in operator.outputs if name]
        self.draft.opaque(operator.name, computed, given, reason, moves=moves)

    def _starts(self, operator: Operator) -> bool:
        """Whether it works on something that is computed; an addition may name its constant first."""
        either = 2 if operator.kind in ("Add", "Sub", "Mul", "Div") else 1
        return any(self.draft.knows(name) for name in operator.inputs[:either])

    def _known_shape(self, operator: Operator) -> tuple[int | None, ...]:
        shape = self._contents.shape(operator.given)
        if not shape:
            raise FreezeError("the shape of what comes out is not known")
        return shape

    def _channels_first(self, operator: Operator) -> None:
        if not self.draft.is_plain(operator.taken) and self.draft.axes[operator.taken] != 1:
            raise FreezeError("its channels are not on the second axis")

    def _fixed(self, operator: Operator) -> str:
        shared = self._contents.is_shared(operator.input(1))
        return "another operator reads the same weights" if shared else ""

    def _bias(self, operator: Operator, width: int) -> Array:
        """As one number a channel; it is cut on its last axis."""
        if not operator.input(2):
            return np.zeros(width)
        bias = self._contents.weights(operator, 2).astype(np.float64)
        if bias.size not in (1, width) or (bias.size > 1 and bias.shape[-1] != width):
            raise FreezeError("its bias differs from row to row")
        if bias.size > 1:
            self.cuts.append(Cut(Place(operator.number, 2), bias.ndim - 1, operator.given))
        return np.broadcast_to(bias.reshape(-1), (width,))

    def _cut(self, operator: Operator, axis: int, value: str, *, slot: int = 1) -> None:
        self.cuts.append(Cut(Place(operator.number, slot), axis, value))

    def convolution(self, operator: Operator) -> None:
        """Conv: weights are [out, in / groups, window...]."""
        value = self.draft.along(operator.taken, 1)
        width = self.draft.width(value)
        weights = self._contents.weights(operator).astype(np.float64)
        groups = int(operator.settings.get("group", 1))
        if weights.shape[1] * groups != width or len(weights) % groups:
            raise FreezeError("its weights do not fit what goes in")
        window = tuple(range(2, weights.ndim))
        summed, absolute = weights.sum(axis=window), np.abs(weights).sum(axis=window)
        depthwise = groups > 1 and groups == width
        fixed = self._fixed(operator)
        if groups > 1 and not depthwise:
            fixed = f"it is a convolution in {groups} groups"
            summed, absolute = (_blocks(part, groups) for part in (summed, absolute))
        kind = Depthwise if depthwise else Linear
        if depthwise:
            summed, absolute = summed[:, 0], absolute[:, 0]
        node = kind(
            name=operator.name, inputs=(value,), output=operator.given, summed=summed, absolute=absolute,
            bias=self._bias(operator, len(weights)), padded=_is_padded(operator, weights.shape[2:]), fixed=fixed,
        )  # fmt: skip
        shape = self._contents.shape(operator.given) or (None, len(weights), *(None for _ in window))
        self.draft.add(node, 1, shape)
        self._cut(operator, 0, operator.given)
        if depthwise:
            self.groups[operator.number] = value
        elif groups == 1:
            self._cut(operator, 1, value)
        self.layers[operator.name] = operator

    def transposed_convolution(self, operator: Operator) -> None:
        """ConvTranspose: weights are [in, out, window...], and no position is reached by all of the window."""
        value = self.draft.along(operator.taken, 1)
        weights = self._contents.weights(operator).astype(np.float64)
        if operator.settings.get("group", 1) != 1 or len(weights) != self.draft.width(value):
            raise FreezeError("its weights do not fit what goes in")
        window = tuple(range(2, weights.ndim))
        node = Linear(
            name=operator.name, inputs=(value,), output=operator.given, summed=weights.sum(axis=window).T,
            absolute=np.abs(weights).sum(axis=window).T, bias=self._bias(operator, weights.shape[1]), padded=True,
            fixed=self._fixed(operator),
        )  # fmt: skip
        shape = self._contents.shape(operator.given) or (None, weights.shape[1], *(None for _ in window))
        self.draft.add(node, 1, shape)
        self._cut(operator, 0, value)
        self._cut(operator, 1, operator.given)
        self.layers[operator.name] = operator

    def dense(self, operator: Operator) -> None:
        """Gemm and MatMul with a stored second factor, [in, out], or [out, in] with transB."""
        settings = operator.settings
        weights = self._contents.weights(operator).astype(np.float64) * settings.get("alpha", 1.0)
        if weights.ndim != 2 or settings.get("transA", 0):
            raise FreezeError("it is not a product with one matrix")
        turned = bool(settings.get("transB", 0))
        summed = weights if turned else weights.T
        rank = len(self.draft.shapes[operator.taken])
        value = self.draft.along(operator.taken, -1)
        if self.draft.width(value) != summed.shape[1]:
            raise FreezeError("its weights do not fit what goes in")
        factor = float(settings.get("beta", 1.0))
        if not factor:
            raise FreezeError("its bias counts for nothing, so that no constant fits in")
        bias = self._bias(operator, len(summed)) * factor if operator.kind == "Gemm" else np.zeros(len(summed))
        node = Linear(
            name=operator.name, inputs=(value,), output=operator.given, summed=summed, absolute=np.abs(summed),
            bias=bias, fixed=self._fixed(operator),
        )  # fmt: skip
        shape = self._contents.shape(operator.given) or (*(None for _ in range(rank - 1)), len(summed))
        self.draft.add(node, -1, shape)
        self._cut(operator, 1 if turned else 0, value)
        self._cut(operator, 0 if turned else 1, operator.given)
        self.layers[operator.name] = operator
        self.factors[operator.name] = factor

    def batch_norm(self, operator: Operator) -> None:
        """BatchNormalization with stored statistics."""
        if operator.settings.get("training_mode", 0):
            raise FreezeError("it measures its statistics while it runs")
        scale, shift, mean, variance = (self._contents.weights(operator, i).astype(np.float64) for i in range(1, 5))
        scale = scale / np.sqrt(variance + operator.settings.get("epsilon", 1e-5))
        value = self.draft.along(operator.taken, 1)
        if self.draft.width(value) != len(scale):
            raise FreezeError("its weights do not fit what goes in")
        node = PerChannel(
            name=operator.name, inputs=(value,), output=operator.given, summed=scale, absolute=np.abs(scale),
            bias=shift - mean * scale,
        )  # fmt: skip
        self.draft.add(node, 1, self.draft.shapes[operator.taken])
        for slot in range(1, 5):
            self._cut(operator, 0, operator.given, slot=slot)

    def arithmetic(self, operator: Operator) -> None:
        """Add, Sub, Mul and Div, of two computed tensors or with a constant."""
        computed = [slot for slot in (0, 1) if self.draft.knows(operator.inputs[slot])]
        if len(computed) == 2 and operator.kind != "Div":
            kind = Product if operator.kind == "Mul" else Sum
            signs = (1, -1) if operator.kind == "Sub" else (1, 1)
            pair = (operator.inputs[0], operator.inputs[1])
            self.draft.combine(kind, operator.name, pair, operator.given, self._known_shape(operator), signs=signs)
            return
        if len(computed) != 1 or (operator.kind == "Div" and computed == [1]):
            raise FreezeError("it divides by what is computed")
        at = computed[0]
        constant = self._contents.weights(operator, 1 - at)
        wide, one, none = constant.astype(np.float64), np.ones(()), np.zeros(())
        if operator.kind == "Div" and not wide.all():
            raise FreezeError("it divides by zero")
        scale = {"Mul": wide, "Div": 1 / (wide + (wide == 0)), "Add": one, "Sub": one if at == 0 else -one}[
            operator.kind
        ]
        shift = {"Add": wide, "Sub": -wide if at == 0 else wide}.get(operator.kind, none)
        if self.draft.scaled(operator.name, operator.inputs[at], operator.given, scale, shift):
            axis = self.draft.cut_axis(operator.given, constant.shape)
            if axis is not None:
                self._cut(operator, axis, operator.given, slot=1 - at)

    def function(self, operator: Operator) -> None:
        """Activations."""
        function: Function | None
        if operator.kind == "Clip":
            function = self._clip(operator)
        elif operator.kind in _SHAPED:
            function = _SHAPED[operator.kind](operator.settings)
        else:
            plain = operator.settings.get("alpha", 1.0) == 1.0
            function = FUNCTIONS[_BY_NAME[operator.kind]] if plain else None
        self.draft.elementwise(operator.name, operator.taken, operator.given, function)

    def _clip(self, operator: Operator) -> Clip:
        ends = [operator.settings.get("min", -np.inf), operator.settings.get("max", np.inf)]
        for slot in (1, 2):
            if operator.input(slot):
                ends[slot - 1] = float(self._contents.weights(operator, slot).ravel()[0])
        return Clip(*ends)

    def pooling(self, operator: Operator) -> None:
        """Means and maxima over windows, or over the whole image."""
        self._channels_first(operator)
        counted = bool(operator.settings.get("count_include_pad", 0))
        zeros = counted and _is_padded(operator, operator.settings.get("kernel_shape", ()))
        shape = self._contents.shape(operator.given) or _spread(self.draft.shapes[operator.taken])
        self.draft.pool(operator.name, operator.taken, operator.given, shape, zeros=zeros)

    def padding(self, operator: Operator) -> None:
        """Pad: with zeros, or with values from the same channel."""
        mode = operator.settings.get("mode", b"constant")
        pads = operator.settings.get("pads")
        pads = self._contents.constant(operator.input(1)) if pads is None else np.asarray(pads)
        value = self._contents.constant(operator.input(2)) if operator.input(2) else np.zeros(1)
        filled = value is None or operator.settings.get("value", value.ravel()[0]) != 0
        if pads is None or operator.input(3) or (mode == b"constant" and filled):
            raise FreezeError("it pads with something else than zeros, or by lengths that are computed")
        if self.draft.is_plain(operator.taken):
            self.draft.pool(operator.name, operator.taken, operator.given, self._known_shape(operator), zeros=True)
            return
        axis = self.draft.axes[operator.taken]
        if pads[axis] or pads[axis + len(pads) // 2]:
            raise FreezeError("it pads the channels")
        shape = self._known_shape(operator)
        self.draft.pool(operator.name, operator.taken, operator.given, shape, zeros=mode == b"constant")

    def resizing(self, operator: Operator) -> None:
        """Resize and Upsample: nearest and linear stay between what goes in."""
        self._channels_first(operator)
        frame = operator.settings.get("coordinate_transformation_mode", b"half_pixel")
        mode = operator.settings.get("mode", b"nearest")
        if mode not in (b"nearest", b"linear") or frame == b"tf_crop_and_resize" or operator.input(3):
            raise FreezeError("it may leave the range of what goes in, or names the number of channels")
        self.draft.pool(operator.name, operator.taken, operator.given, self._known_shape(operator))

    def reduction(self, operator: Operator) -> None:
        """Means and maxima over whole axes."""
        given = operator.settings.get("axes")
        axes = self._contents.constant(operator.input(1)) if given is None else np.asarray(given)
        if axes is None or not axes.size:
            raise FreezeError("it adds up over the channels, or over axes that are computed")
        over = {int(a) % len(self.draft.shapes[operator.taken]) for a in axes.ravel()}
        self.draft.reduce(operator.name, operator.taken, operator.given, self._known_shape(operator), over=over)

    def concatenation(self, operator: Operator) -> None:
        """Tensors side by side."""
        if not all(map(self.draft.knows, operator.inputs)):
            raise FreezeError("a constant is among its inputs")
        axis = int(operator.settings.get("axis", 1))
        shape = self._known_shape(operator)
        self.draft.concat(operator.name, operator.inputs, operator.given, axis, shape)

    def reshape(self, operator: Operator) -> None:
        """Reshape, Flatten, Squeeze and Unsqueeze."""
        target = self._contents.constant(operator.input(1)) if operator.kind == "Reshape" else None
        if operator.kind == "Reshape" and target is None:
            raise FreezeError("its shape is computed")
        before = self.draft.axis(operator.taken)
        axis = self.draft.reshape(operator.name, operator.taken, operator.given, self._known_shape(operator))
        if axis is None or target is None:
            return
        if target[axis] == 0 and axis != before:
            raise FreezeError("its shape names the channels by another axis")
        self.targets.append(Cut(Place(operator.number, 1), axis, operator.given))

    def transpose(self, operator: Operator) -> None:
        """Axes change places."""
        rank = len(self.draft.shapes[operator.taken])
        order = operator.settings.get("perm", range(rank)[::-1])
        self.draft.transpose(operator.name, operator.taken, operator.given, [int(i) for i in order])

    def softmax(self, operator: Operator) -> None:
        """Softmax and LogSoftmax; before opset 13 they add up over all axes from some one on."""
        old = self._contents.opset < 13
        if old and len(self.draft.shapes[operator.taken]) != 2:
            raise FreezeError("it adds up over several axes")
        axis = int(operator.settings.get("axis", 1 if old else -1))
        self.draft.softmax(operator.name, operator.taken, operator.given, axis=axis, steepness=1.0,
                           logarithm=operator.kind == "LogSoftmax")  # fmt: skip


def _blocks(weights: Array, groups: int) -> Array:
    """Weights of each group, [out, in / groups], in a matrix [out, in] with zeros beside them."""
    rows = len(weights) // groups
    whole = np.zeros((len(weights), weights.shape[1] * groups))
    for group in range(groups):
        at = slice(group * rows, (group + 1) * rows)
        whole[at, group * weights.shape[1] : (group + 1) * weights.shape[1]] = weights[at]
    return whole


def _is_padded(operator: Operator, window: Sequence[int]) -> bool:
    """Whether zeros may stand around what goes in."""
    auto = operator.settings.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        return any(n > 1 for n in window)
    return auto == b"NOTSET" and any(operator.settings.get("pads", ()))


def _spread(shape: Sequence[int]) -> tuple[int | None, ...]:
    return (*shape[:2], *(None for _ in shape[2:]))


_RULES: dict[str, Callable[[OnnxReading, Operator], None]] = {
    "Conv": OnnxReading.convolution,
    "ConvTranspose": OnnxReading.transposed_convolution,
    **dict.fromkeys(("Gemm", "MatMul"), OnnxReading.dense),
    "BatchNormalization": OnnxReading.batch_norm,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), OnnxReading.arithmetic),
    **dict.fromkeys((*_BY_NAME, *_SHAPED, "Clip"), OnnxReading.function),
    **dict.fromkeys(("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"), OnnxReading.pooling),
    "Pad": OnnxReading.padding,
    **dict.fromkeys(("Resize", "Upsample"), OnnxReading.resizing),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin"), OnnxReading.reduction),
    "Concat": OnnxReading.concatenation,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), OnnxReading.reshape),
    "Transpose": OnnxReading.transpose,
    **dict.fromkeys(("Softmax", "LogSoftmax"), OnnxReading.softmax),
}
