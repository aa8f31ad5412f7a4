"""A tf_keras model as a graph of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.dead_channels.draft import Draft, FreezeError
from tinsmith.compress.dead_channels.functions import FUNCTIONS, Clip, elu, hard_sigmoid, leaky_relu
from tinsmith.compress.dead_channels.layers import Depthwise, Linear, PerChannel
from tinsmith.compress.dead_channels.nodes import Product, Sum
from tinsmith.compress.structure.coupling import calls_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.functions import Function
    from tinsmith.compress.dead_channels.graph import Graph
    from tinsmith.compress.structure.coupling import Call

    Array = NDArray[Any]

__all__ = ["KerasReading"]

_BY_NAME = {
    "linear": "identity",
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softplus": "softplus",
    "softsign": "softsign",
    "swish": "swish",
    "silu": "swish",
}


class KerasReading:
    """A graph whose nodes have the names of layers.

    Attributes:
        draft: The graph; see ``value`` for the names of its values.
        values: The first output of each layer's first use, by the layer's name.
    """

    def __init__(self, model: Any, largest_input: float) -> None:
        self.draft = Draft(largest_input)
        self.values: dict[str, str] = {}
        self._model = model
        for tensor in model.inputs:
            history = tensor._keras_history  # noqa: SLF001 - how Keras says where a tensor comes from
            self.draft.feed(_value(history.layer.name, 0, 0), tuple(tensor.shape))
        calls = list(calls_of(model))
        names = [call.layer.name for call in calls]
        self._shared = {name for name in names if names.count(name) > 1}
        for call in calls:
            self._read(call)

    def graph(self) -> Graph:
        """What was read."""
        histories = [tensor._keras_history for tensor in self._model.outputs]  # noqa: SLF001 - as above
        return self.draft.graph(_value(h.layer.name, h.node_index, h.tensor_index) for h in histories)

    def _read(self, call: Call) -> None:
        """Follow a layer, or keep all channels around it."""
        kind, count = type(call.layer).__name__, len(self.draft.nodes)
        reason = f"what a {kind} does with channels is not known"
        follow = _RULES.get(kind)
        if follow is not None:
            try:
                self._check(call.layer)
                follow(self, _Use(call))
            except FreezeError as error:
                reason = str(error)
            else:
                self._note(call)
                return
        self.draft.back_to(count)
        given = [(_value(call.layer.name, call.use, at), shape) for at, shape in enumerate(call.given)]
        self.draft.opaque(_Use(call).name, [_value(*source) for source in call.sources], given, reason)
        self._note(call)

    def _note(self, call: Call) -> None:
        value = _value(call.layer.name, call.use, 0)
        if value in self.draft.axes:
            self.values.setdefault(call.layer.name, value)

    def _check(self, layer: Any) -> None:
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise FreezeError("its channels are not on the last axis")
        if layer.compute_dtype != "float32":
            raise FreezeError(f"it computes in {layer.compute_dtype}")

    def _fixed(self, layer: Any) -> str:
        return "it is used in several places" if layer.name in self._shared else ""

    def _activate(self, use: _Use, activation: Any) -> None:
        name = getattr(activation, "__name__", "")
        if name in ("softmax", "log_softmax"):
            self._share_out(use, logarithm=name == "log_softmax")
            return
        function = _activation(name)
        if function is None:
            raise FreezeError("its activation is not one that is known")
        self.draft.activated(use.name, function)

    def _share_out(self, use: _Use, *, logarithm: bool) -> None:
        """Put a softmax behind the node that was added last."""
        inner = f"{use.given} before softmax"
        self.draft.rename_last(inner)
        name = f"{use.name} softmax"
        self.draft.softmax(name, inner, use.given, axis=-1, steepness=1.0, logarithm=logarithm)

    def convolution(self, use: _Use) -> None:
        """Convolutions and dense layers: kernels are [window..., in, out]."""
        layer = use.layer
        kernel = _array(layer.kernel)
        fixed = self._fixed(layer)
        if getattr(layer, "groups", 1) != 1:
            raise FreezeError(f"it is a convolution in {layer.groups} groups")
        value = self.draft.along(use.taken, -1)
        window = tuple(range(kernel.ndim - 2))
        node = Linear(
            name=use.name, inputs=(value,), output=use.given, summed=kernel.sum(axis=window).T,
            absolute=np.abs(kernel).sum(axis=window).T, bias=_bias(layer, kernel.shape[-1]),
            padded=_is_padded(layer, self.draft.shapes[use.taken]), fixed=fixed,
        )  # fmt: skip
        self.draft.add(node, -1, use.shape)
        self._activate(use, layer.activation)

    def transposed_convolution(self, use: _Use) -> None:
        """Kernels are [window..., out, in], and no position is reached by all of the window."""
        kernel = _array(use.layer.kernel)
        window = tuple(range(kernel.ndim - 2))
        node = Linear(
            name=use.name, inputs=(self.draft.along(use.taken, -1),), output=use.given, summed=kernel.sum(axis=window),
            absolute=np.abs(kernel).sum(axis=window), bias=_bias(use.layer, kernel.shape[-2]), padded=True,
            fixed=self._fixed(use.layer),
        )  # fmt: skip
        self.draft.add(node, -1, use.shape)
        self._activate(use, use.layer.activation)

    def depthwise(self, use: _Use) -> None:
        """Kernels are [window..., in, multiplier]."""
        layer = use.layer
        kernel = _array(layer.depthwise_kernel)
        window = tuple(range(kernel.ndim - 2))
        node = Depthwise(
            name=use.name, inputs=(self.draft.along(use.taken, -1),), output=use.given,
            summed=kernel.sum(axis=window).ravel(), absolute=np.abs(kernel).sum(axis=window).ravel(),
            bias=_bias(layer, kernel.shape[-2] * kernel.shape[-1]),
            padded=_is_padded(layer, self.draft.shapes[use.taken]), fixed=self._fixed(layer),
        )  # fmt: skip
        self.draft.add(node, -1, use.shape)
        self._activate(use, layer.activation)

    def batch_norm(self, use: _Use) -> None:
        """With the statistics of training."""
        layer = use.layer
        axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
        if axis not in (-1, len(use.shape) - 1):
            raise FreezeError("its channels are not on the last axis")
        mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
        scale = (_array(layer.gamma) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
        shift = (_array(layer.beta) if layer.center else 0.0) - mean * scale
        node = PerChannel(
            name=use.name, inputs=(self.draft.along(use.taken, -1),), output=use.given, summed=scale,
            absolute=np.abs(scale), bias=shift, fixed=self._fixed(layer),
        )  # fmt: skip
        self.draft.add(node, -1, use.shape)

    def function(self, use: _Use) -> None:
        """Activations with a layer of their own, and layers that do nothing after training."""
        layer, kind = use.layer, type(use.layer).__name__
        if kind == "Activation" and getattr(layer.activation, "__name__", "") in ("softmax", "log_softmax"):
            logarithm = layer.activation.__name__ == "log_softmax"
            self.draft.softmax(use.name, use.taken, use.given, axis=-1, steepness=1.0, logarithm=logarithm)
            return
        function = _FUNCTIONS[kind](layer) if kind in _FUNCTIONS else Clip()
        self.draft.elementwise(use.name, use.taken, use.given, function)

    def softmax(self, use: _Use) -> None:
        """The layer; ``Activation`` has it too."""
        if not isinstance(use.layer.axis, int):
            raise FreezeError("it adds up over several axes")
        axis = use.layer.axis
        self.draft.softmax(use.name, use.taken, use.given, axis=axis, steepness=1.0, logarithm=False)

    def rescaling(self, use: _Use) -> None:
        """One factor and one summand, or one a channel."""
        scale, offset = (np.asarray(part, np.float64) for part in (use.layer.scale, use.layer.offset))
        self.draft.scaled(use.name, use.taken, use.given, scale, offset)

    def sampling(self, use: _Use) -> None:
        """Pooling, cropping and repeating: padding does not count."""
        if getattr(use.layer, "interpolation", "nearest") not in ("nearest", "bilinear"):
            raise FreezeError("it may leave the range of what goes in")
        if not self.draft.is_plain(use.taken) and self.draft.axis(use.taken) != len(use.shape) - 1:
            raise FreezeError("its channels are not on the last axis")
        zeros = type(use.layer).__name__.startswith("ZeroPadding")
        self.draft.pool(use.name, use.taken, use.given, use.shape, zeros=zeros)

    def global_pooling(self, use: _Use) -> None:
        """Means and maxima over the whole image."""
        over = set(range(1, len(self.draft.shapes[use.taken]) - 1))
        self.draft.reduce(use.name, use.taken, use.given, use.shape, over=over)

    def reshape(self, use: _Use) -> None:
        """Flatten and Reshape."""
        self.draft.reshape(use.name, use.taken, use.given, use.shape)

    def concatenation(self, use: _Use) -> None:
        """Tensors side by side."""
        self.draft.concat(use.name, use.inputs, use.given, use.layer.axis, use.shape)

    def combination(self, use: _Use) -> None:
        """Add, Subtract and Multiply, of two tensors at a time."""
        kind = Product if type(use.layer).__name__ == "Multiply" else Sum
        signs = (1, -1) if type(use.layer).__name__ == "Subtract" else (1, 1)
        so_far = use.inputs[0]
        for number, other in enumerate(use.inputs[1:], start=1):
            last = number == len(use.inputs) - 1
            given = use.given if last else f"{use.given} of {number + 1}"
            name = use.name if last else f"{use.name} of {number + 1}"
            self.draft.combine(kind, name, (so_far, other), given, use.shape, signs=signs)
            so_far = given


class _Use:
    """One use of a layer, and what it is called."""

    def __init__(self, call: Call) -> None:
        self.layer = call.layer
        self.name = call.layer.name if not call.use else f"{call.layer.name}:{call.use}"
        self.inputs = [_value(*source) for source in call.sources]
        self.given = _value(call.layer.name, call.use, 0)
        self._at = call.use

    @property
    def taken(self) -> str:
        """The only input.

        Raises:
            FreezeError: There are several.
        """
        if len(self.inputs) != 1:
            raise FreezeError("it has several inputs")
        return self.inputs[0]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Of what comes out."""
        shape: tuple[int | None, ...] = self.layer.get_output_shape_at(self._at)
        return shape


def _value(layer: str, use: int, output: int) -> str:
    return f"{layer}\0{use}\0{output}"


def _array(weight: Any) -> NDArray[np.float64]:
    return np.asarray(weight.numpy(), np.float64)


def _bias(layer: Any, width: int) -> NDArray[np.float64]:
    return _array(layer.bias) if layer.use_bias else np.zeros(width)


def _is_padded(layer: Any, shape: tuple[int, ...]) -> bool:
    """Whether zeros stand around the image; where its size is not known, any window may reach beyond it."""
    padding = getattr(layer, "padding", "valid")
    if padding == "valid":
        return False
    windows = zip(shape[1:-1], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    for length, size, stride, dilation in windows:
        reach = (size - 1) * dilation + 1
        known = length > 0 and padding == "same"
        if reach > 1 and not (known and (-(-length // stride) - 1) * stride + reach <= length):
            return True
    return False


def _activation(name: str) -> Function | None:
    if name == "hard_sigmoid":
        return hard_sigmoid(0.2, 0.5)
    if name == "elu":
        return elu(1.0)
    return FUNCTIONS[_BY_NAME[name]] if name in _BY_NAME else None


def _relu(layer: Any) -> Function | None:
    slope, threshold = float(layer.negative_slope or 0.0), float(layer.threshold or 0.0)
    if threshold:
        return None
    highest = np.inf if layer.max_value is None else float(layer.max_value)
    if slope:
        return leaky_relu(slope) if layer.max_value is None else None
    return Clip(0.0, highest)


_FUNCTIONS: dict[str, Callable[[Any], Function | None]] = {
    "Activation": lambda layer: _activation(getattr(layer.activation, "__name__", "")),
    "ReLU": _relu,
    "LeakyReLU": lambda layer: leaky_relu(float(layer.alpha)),
    "ELU": lambda layer: elu(float(layer.alpha)),
}
_SILENT = ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D", "SpatialDropout2D")
_SAMPLING = (
    "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "Cropping1D", "Cropping2D", "MaxPooling1D",
    "MaxPooling2D", "MaxPooling3D", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
)  # fmt: skip
_GLOBAL = ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D")
_RULES: dict[str, Callable[[KerasReading, _Use], None]] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Dense"), KerasReading.convolution),
    "Conv2DTranspose": KerasReading.transposed_convolution,
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), KerasReading.depthwise),
    "BatchNormalization": KerasReading.batch_norm,
    **dict.fromkeys((*_FUNCTIONS, *_SILENT), KerasReading.function),
    "Softmax": KerasReading.softmax,
    "Rescaling": KerasReading.rescaling,
    **dict.fromkeys(_SAMPLING, KerasReading.sampling),
    **dict.fromkeys(_GLOBAL, KerasReading.global_pooling),
    **dict.fromkeys(("Flatten", "Reshape"), KerasReading.reshape),
    "Concatenate": KerasReading.concatenation,
    **dict.fromkeys(("Add", "Subtract", "Multiply"), KerasReading.combination),
}
