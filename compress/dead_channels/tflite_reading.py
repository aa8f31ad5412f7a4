"""A .tflite file as a graph of channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.dead_channels.cuts import Cut, Place
from tinsmith.compress.dead_channels.draft import Draft, FreezeError
from tinsmith.compress.dead_channels.functions import FUNCTIONS, elu, leaky_relu
from tinsmith.compress.dead_channels.layers import Linear, PerChannel
from tinsmith.compress.dead_channels.nodes import Product, Sum
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.graph import Graph

    Array = NDArray[Any]

__all__ = ["Reading", "read_graph"]

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
        "SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND TRANSPOSE SQUEEZE EXPAND_DIMS PACK CONCATENATION REVERSE_V2 PAD"
    ).split()
)


def read_graph(model: Any, name: str, largest_input: float) -> Reading:
    """Read a ``ModelT``; operators of its inner graphs are not followed.

    Raises:
        UnsupportedOperatorError: It is quantized.
    """
    schema = require("ai_edge_litert.schema_py_generated", needed_for="reading .tflite files")
    _refuse_quantized(model, name, schema)
    return Reading(model, schema, largest_input)


def _refuse_quantized(model: Any, name: str, schema: Any) -> None:
    kinds = schema.TensorType
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors or []):
        grid = tensor.quantization
        scaled = grid is not None and grid.scale is not None and len(grid.scale) > 0
        if tensor.type == kinds.FLOAT16 or (scaled and tensor.type != kinds.FLOAT32):
            raise UnsupportedOperatorError(
                f"{name} is quantized, and dead-channels folds constants into biases of float32",
                hint="start from the float model, and put dead-channels before quantize",
            )


@dataclass(frozen=True, slots=True)
class _Operator:
    """One operator, and what it is called.

    Attributes:
        number: In its graph.
        kind: TFLite's name of it.
        options: Its ``...OptionsT``; None where it has none.
        inputs: Numbers of tensors; -1 for one that was left out.
        outputs: Numbers of tensors.
    """

    number: int
    kind: str
    options: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """For people; unique."""
        return f"{self.kind} {self.number}"

    @property
    def taken(self) -> str:
        """The value that goes in first."""
        return str(self.inputs[0])

    @property
    def given(self) -> str:
        """The value that comes out."""
        return str(self.outputs[0])


class Reading:
    """A graph, and where the file keeps what is to be cut.

    Attributes:
        draft: The graph; its tensors are named by their numbers.
        cuts: Constants with one entry a channel.
        targets: Constants that name a number of channels: the shapes that reshapes make; ``axis`` is the place in them.
        layers: Numbers of the operators with weights, by their node's name.
    """

    def __init__(self, model: Any, schema: Any, largest_input: float) -> None:
        self.draft = Draft(largest_input)
        self.cuts: list[Cut] = []
        self.targets: list[Cut] = []
        self.layers: dict[str, int] = {}
        self._model, self._graph, self._float32 = model, model.subgraphs[0], schema.TensorType.FLOAT32
        self._kinds = {code: kind for kind, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        self._shared = _shared_buffers(model)
        for index in self._graph.inputs:
            self.draft.feed(str(index), self._shape(int(index)))
        for number, operator in enumerate(self._graph.operators):
            self._read(self._operator(number, operator))

    def graph(self) -> Graph:
        """What was read."""
        named = {entry.tensorIndex for s in self._model.signatureDefs or [] for entry in s.outputs or []
                 if s.subgraphIndex == 0}  # fmt: skip
        return self.draft.graph(sorted({str(index) for index in (*self._graph.outputs, *named)}))

    def stored(self, place: Place) -> Array:
        """The constant that an operator reads."""
        array = self._constant(int(self._graph.operators[place.operator].inputs[place.slot]))
        assert array is not None
        return array

    def _operator(self, number: int, operator: Any) -> _Operator:
        code = self._model.operatorCodes[operator.opcodeIndex]
        return _Operator(
            number,
            self._kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM"),
            operator.builtinOptions,
            tuple(int(i) for i in operator.inputs if operator.inputs is not None),
            tuple(int(i) for i in operator.outputs if operator.outputs is not None),
        )

    def _read(self, operator: _Operator) -> None:
        """Follow an operator, or keep all channels around it."""
        draft, count = self.draft, len(self.draft.nodes)
        reason = f"what {operator.kind} does with channels is not known"
        follow = _RULES.get(operator.kind)
        if follow is not None and operator.inputs:
            try:
                follow(self, operator)
            except FreezeError as error:
                reason = str(error)
            else:
                return
        draft.back_to(count)
        draft.opaque(
            operator.name,
            [str(i) for i in operator.inputs],
            [(str(i), self._shape(i)) for i in operator.outputs],
            reason,
            moves=operator.kind in _MOVING,
        )

    def _shape(self, index: int) -> tuple[int, ...]:
        """A free axis is -1."""
        tensor = self._graph.tensors[index]
        lengths = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
        return () if lengths is None else tuple(int(n) for n in lengths)

    def _constant(self, index: int) -> Array | None:
        """What is stored in a tensor; None for one that is computed, or not plainly stored."""
        if index < 0:
            return None
        tensor = self._graph.tensors[index]
        data = self._model.buffers[tensor.buffer].data
        if data is None or not len(data) or tensor.sparsity is not None or tensor.isVariable:
            return None
        kind = np.float32 if tensor.type == self._float32 else np.int32
        return np.frombuffer(data.tobytes(), kind).reshape(() if tensor.shape is None else tensor.shape)

    def _weights(self, operator: _Operator, slot: int = 1) -> Array:
        array = self._constant(operator.inputs[slot])
        if array is None or array.dtype != np.float32:
            raise FreezeError("its weights are not stored as float32")
        return array

    def _fixed(self, operator: _Operator) -> str:
        shared = self._graph.tensors[operator.inputs[1]].buffer in self._shared
        return "another operator reads the same weights" if shared else ""

    def _bias(self, operator: _Operator, width: int) -> Array:
        if len(operator.inputs) <= 2 or operator.inputs[2] < 0:
            return np.zeros(width)
        bias = self._weights(operator, 2)
        self.cuts.append(Cut(Place(operator.number, 2), 0, operator.given))
        return bias.astype(np.float64)

    def _activate(self, operator: _Operator) -> None:
        code = operator.options.fusedActivationFunction
        if code not in _FUSED:
            raise FreezeError("its activation is not one that is known")
        self.draft.activated(operator.name, FUNCTIONS[_FUSED[code]])

    def _linear(self, operator: _Operator, value: str, weights: Array, *, padded: bool) -> None:
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
        self.draft.add(node, -1, self._shape(operator.outputs[0]))
        self._activate(operator)
        self.cuts += [Cut(Place(operator.number, 1), 0, operator.given),
                      Cut(Place(operator.number, 1), weights.ndim - 1, value)]  # fmt: skip
        self.layers[operator.name] = operator.number

    def convolution(self, operator: _Operator) -> None:
        """CONV_2D."""
        value = self.draft.along(operator.taken, -1)
        weights = self._weights(operator)
        self._linear(operator, value, weights, padded=self._is_padded(operator, weights.shape[1:3]))

    def dense(self, operator: _Operator) -> None:
        """FULLY_CONNECTED; what goes in is flattened as far as the weights are long."""
        weights = self._weights(operator)
        shape = self.draft.shapes[operator.taken]
        if operator.options.weightsFormat:
            raise FreezeError("its weights are shuffled")
        if shape[-1] == weights.shape[1]:
            self._linear(operator, self.draft.along(operator.taken, -1), weights, padded=False)
            return
        flat = f"{operator.taken}#{operator.name}"
        self.draft.reshape(flat, operator.taken, flat, (-1, weights.shape[1]))
        self._linear(operator, self.draft.along(flat, -1), weights, padded=False)

    def depthwise(self, operator: _Operator) -> None:
        """DEPTHWISE_CONV_2D: weights are [1, rows, columns, out]."""
        value = self.draft.along(operator.taken, -1)
        weights = self._weights(operator).astype(np.float64)
        if weights.shape[-1] % self.draft.width(value):
            raise FreezeError("its weights do not fit what goes in")
        node = PerChannel(
            name=operator.name, inputs=(value,), output=operator.given, summed=weights.sum(axis=(0, 1, 2)),
            absolute=np.abs(weights).sum(axis=(0, 1, 2)), bias=self._bias(operator, weights.shape[-1]),
            padded=self._is_padded(operator, weights.shape[1:3]), fixed=self._fixed(operator),
        )  # fmt: skip
        self.draft.add(node, -1, self._shape(operator.outputs[0]))
        self._activate(operator)
        self.cuts.append(Cut(Place(operator.number, 1), 3, operator.given))

    def _is_padded(self, operator: _Operator, window: Iterable[int]) -> bool:
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

    def arithmetic(self, operator: _Operator) -> None:
        """ADD, SUB and MUL, of two computed tensors or with a constant."""
        computed = [slot for slot in (0, 1) if self.draft.knows(str(operator.inputs[slot]))]
        shape = self._shape(operator.outputs[0])
        if len(computed) == 2:
            pair = (operator.taken, str(operator.inputs[1]))
            kind = Product if operator.kind == "MUL" else Sum
            signs = (1, -1) if operator.kind == "SUB" else (1, 1)
            self.draft.combine(kind, operator.name, pair, operator.given, shape, signs=signs)
            self._activate(operator)
            return
        at = computed[0]
        constant = self._weights(operator, 1 - at).astype(np.float64)
        one, none = np.ones(()), np.zeros(())
        scale, shift = {
            "MUL": (constant, none),
            "ADD": (one, constant),
            "SUB": (one, -constant) if at == 0 else (-one, constant),
        }[operator.kind]
        self._scaled(operator, at, scale, shift)

    def _scaled(self, operator: _Operator, at: int, scale: Array, shift: Array) -> None:
        taken = str(operator.inputs[at])
        apart = self.draft.scaled(operator.name, taken, operator.given, scale, shift)
        if not apart and operator.options.fusedActivationFunction:
            raise FreezeError("it holds values between ends before channels are told apart")
        if not apart:
            return
        self._activate(operator)
        axis = self.draft.axes[operator.given] - len(self.draft.shapes[taken])
        constant = self._weights(operator, 1 - at)
        if constant.ndim >= -axis and constant.shape[axis] > 1:
            self.cuts.append(Cut(Place(operator.number, 1 - at), constant.ndim + axis, operator.given))

    def function(self, operator: _Operator) -> None:
        """Activations."""
        kind, options = operator.kind, operator.options
        function = {"LEAKY_RELU": lambda: leaky_relu(float(options.alpha)), "ELU": lambda: elu(1.0)}.get(
            kind, lambda: FUNCTIONS[_BY_NAME[kind]]
        )()
        self.draft.elementwise(operator.name, operator.taken, operator.given, function)

    def sampling(self, operator: _Operator) -> None:
        """Pooling and resizing: padding does not count."""
        self.draft.pool(operator.name, operator.taken, operator.given, self._shape(operator.outputs[0]))
        if operator.kind.endswith("POOL_2D") and not self.draft.is_plain(operator.given):
            self._activate(operator)

    def padding(self, operator: _Operator) -> None:
        """PAD, with zeros."""
        shape = self._shape(operator.outputs[0])
        self.draft.pool(operator.name, operator.taken, operator.given, shape, zeros=True)

    def mean(self, operator: _Operator) -> None:
        """MEAN, and other reductions whose result lies among what goes in."""
        axes = self._constant(operator.inputs[1])
        if axes is None:
            raise FreezeError("its axes are computed")
        over = {int(a) % len(self.draft.shapes[operator.taken]) for a in axes.ravel()}
        shape = self._shape(operator.outputs[0])
        self.draft.reduce(operator.name, operator.taken, operator.given, shape, over=over)

    def reshape(self, operator: _Operator) -> None:
        """The same elements in another shape; its target may be a constant, an option, or both."""
        if operator.kind == "RESHAPE" and len(operator.inputs) > 1 and self._constant(operator.inputs[1]) is None:
            raise FreezeError("its shape is computed")
        shape = self._shape(operator.outputs[0])
        axis = self.draft.reshape(operator.name, operator.taken, operator.given, shape)
        if axis is not None and operator.kind == "RESHAPE":
            self.targets.append(Cut(Place(operator.number, 1), axis, operator.given))

    def transpose(self, operator: _Operator) -> None:
        """Axes change places."""
        order = self._constant(operator.inputs[1])
        if order is None:
            raise FreezeError("its order is computed")
        self.draft.transpose(operator.name, operator.taken, operator.given, [int(i) for i in order])

    def concatenation(self, operator: _Operator) -> None:
        """Tensors side by side."""
        values = [str(i) for i in operator.inputs]
        if not all(map(self.draft.knows, values)):
            raise FreezeError("a constant is among its inputs")
        shape = self._shape(operator.outputs[0])
        self.draft.concat(operator.name, values, operator.given, operator.options.axis, shape)
        self._activate(operator)

    def softmax(self, operator: _Operator) -> None:
        """SOFTMAX and LOG_SOFTMAX over the last axis."""
        logarithm = operator.kind == "LOG_SOFTMAX"
        steepness = 1.0 if logarithm else float(operator.options.beta)
        self.draft.softmax(operator.name, operator.taken, operator.given, axis=-1, steepness=steepness,
                           logarithm=logarithm)  # fmt: skip


def _shared_buffers(model: Any) -> set[int]:
    """Buffers that several operators read, or one in several places."""
    seen: set[int] = set()
    shared: set[int] = set()
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            for index in (int(i) for i in operator.inputs if i >= 0):
                buffer = graph.tensors[index].buffer
                (shared if buffer in seen else seen).add(buffer)
    return shared


_RULES: dict[str, Callable[[Reading, _Operator], None]] = {
    "CONV_2D": Reading.convolution,
    "DEPTHWISE_CONV_2D": Reading.depthwise,
    "FULLY_CONNECTED": Reading.dense,
    **dict.fromkeys(("ADD", "SUB", "MUL"), Reading.arithmetic),
    **dict.fromkeys((*_BY_NAME, "LEAKY_RELU", "ELU"), Reading.function),
    **dict.fromkeys(_SAMPLING, Reading.sampling),
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN"), Reading.mean),
    **dict.fromkeys(_RESHAPING, Reading.reshape),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX"), Reading.softmax),
    "PAD": Reading.padding,
    "TRANSPOSE": Reading.transpose,
    "CONCATENATION": Reading.concatenation,
}
