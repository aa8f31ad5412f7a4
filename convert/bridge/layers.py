"""One layer of Keras 3 and what stands in for it in tf_keras: a rule for all, and a table of those that differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.bridge.activations import as_function, as_layers, name_of
from tinsmith.convert.bridge.config import dtype_of, partner_class, translated
from tinsmith.convert.bridge.engines import keras, numpy_of, tf_keras
from tinsmith.convert.bridge.obstacles import RefusalError
from tinsmith.runtime.errors import first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.convert.bridge.names import Names

__all__ = ["Twin", "twin_of"]

_CODE_HINT = "rebuild the model with layers of Keras in its place; what it computes is code, not configuration"
_LOOKUP_HINT = "cut it off the model and do it in the preprocessing: a device gets numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """What stands in for one layer.

    Attributes:
        layer: The layer of tf_keras.
        after: An activation that tf_keras only has as layers of their own, applied to what ``layer`` gives.
        weighted: Pairs of a layer of the source and the layer of tf_keras that takes its weights.
    """

    layer: Any
    after: Callable[[Any], Any] | None = None
    weighted: tuple[tuple[Any, Any], ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do in tf_keras what a call of the layer did."""
        outputs = self.layer(*args, **kwargs)
        return outputs if self.after is None else self.after(outputs)


def twin_of(layer: Any, names: Names) -> Twin:
    """Make what stands in for a layer; its weights follow once it is built.

    Raises:
        RefusalError: The layer can't cross.
    """
    kind = type(layer)
    if kind.__module__.startswith("keras.src.") and kind.__name__ in _RULES:
        return _RULES[kind.__name__](layer, names)
    return _plain(layer, names)


def _plain(
    layer: Any, names: Names, *, renamed: dict[str, str] | None = None, extra: dict[str, Any] | None = None
) -> Twin:
    """The general rule: the class of the same name, made from the same configuration."""
    kind = partner_class(layer)
    _refuse_channels_first(layer)
    settings, after = {"name": names.own(layer.name)}, None
    if hasattr(layer, "activation"):
        settings["activation"], after = _split_activation(layer, settings["name"], names)
    target = _made(kind, translated(layer, kind, renamed=renamed) | settings | (extra or {}))
    return Twin(layer=target, after=after, weighted=((layer, target),))


def _made(kind: Any, config: dict[str, Any]) -> Any:
    try:
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise RefusalError(f"is refused by tf_keras: {first_line(error)}") from error


def _refuse_channels_first(layer: Any) -> None:
    """Keras 3 turns the axes on a CPU where it must; tf_keras and TFLite don't."""
    windowed = hasattr(layer, "kernel_size") or hasattr(layer, "pool_size")
    if windowed and getattr(layer, "data_format", None) == "channels_first":
        raise RefusalError("has the channels first", hint="build the model with data_format='channels_last'")


def _split_activation(layer: Any, called: str, names: Names) -> tuple[str, Callable[[Any], Any] | None]:
    """The activation that tf_keras applies within the layer, and the layers that follow it for any other one."""
    if isinstance(layer.activation, keras().layers.Layer):
        return "linear", _weightless(layer.activation, names)
    name = name_of(layer, "activation")
    known = as_function(name)
    if known:
        return known, None
    return "linear", as_layers(name, called=names.further(f"{called}_{name}"), names=names, dtype=dtype_of(layer))


def _weightless(activation: Any, names: Names) -> Twin:
    if activation.weights:
        raise RefusalError(f"holds the layer {activation.name} with weights of its own as its activation")
    return twin_of(activation, names)


def _activation(layer: Any, names: Names) -> Twin:
    if isinstance(layer.activation, keras().layers.Layer):
        return _weightless(layer.activation, names)
    called = names.own(layer.name)
    made = as_layers(name_of(layer, "activation"), called=called, names=names, dtype=dtype_of(layer))
    return Twin(layer=made)


def _leaky_relu(layer: Any, names: Names) -> Twin:
    return _plain(layer, names, renamed={"negative_slope": "alpha"})


def _batch_normalization(layer: Any, names: Names) -> Twin:
    """Not fused, as in Keras 3: the fused kernel rounds otherwise, which shows after the fifty of a MobileNetV2."""
    return _plain(layer, names, extra={"fused": False})


def _normalization(layer: Any, names: Names) -> Twin:
    """Mean and variance go into the configuration: neither framework counts them among the weights to be trained."""
    if layer.mean is None:
        raise RefusalError("has not been adapted to data", hint="call its adapt() first")
    config = {
        "name": names.own(layer.name),
        "dtype": dtype_of(layer),
        "trainable": layer.trainable,
        "axis": layer.axis,
        "mean": numpy_of(layer.mean).reshape(-1).tolist(),
        "variance": numpy_of(layer.variance).reshape(-1).tolist(),
        "invert": layer.invert,
    }
    return Twin(layer=_made(tf_keras().layers.Normalization, config))


def _recurrent(layer: Any, names: Names) -> Twin:
    """Layers with gates: their activations sit inside the loop, where no layer can follow them."""
    if getattr(layer, "stateful", False):
        raise RefusalError("keeps its state from one call to the next", hint="build it with stateful=False")
    kind = partner_class(layer)
    keys = [key for key in ("activation", "recurrent_activation") if hasattr(layer, key)]
    activations = {key: _inner_activation(layer, key) for key in keys}
    target = _made(kind, translated(layer, kind) | activations | {"name": names.own(layer.name)})
    return Twin(layer=target, weighted=((layer, target),))


def _inner_activation(layer: Any, key: str) -> str:
    name = name_of(layer, key)
    known = as_function(name)
    if known is None:
        raise RefusalError(f"has {key}={name} in its loop, which tf_keras does not have")
    return known


def _time_distributed(layer: Any, names: Names) -> Twin:
    inner = _inner(layer.layer, names)
    config = {"name": names.own(layer.name), "dtype": dtype_of(layer), "trainable": layer.trainable}
    target = tf_keras().layers.TimeDistributed(inner.layer, **config)
    # An activation works on each number, or along the last axis: it may as well follow the loop over the steps.
    return Twin(layer=target, after=inner.after, weighted=inner.weighted)


def _bidirectional(layer: Any, names: Names) -> Twin:
    forward, backward = _inner(layer.forward_layer, names), _inner(layer.backward_layer, names)
    config = {"name": names.own(layer.name), "dtype": dtype_of(layer), "trainable": layer.trainable}
    target = tf_keras().layers.Bidirectional(
        forward.layer, merge_mode=layer.merge_mode, backward_layer=backward.layer, **config
    )
    # tf_keras works on a copy of the forward layer, so that the one given to it never gets weights.
    pairs = ((layer.forward_layer, target.forward_layer), (layer.backward_layer, target.backward_layer))
    return Twin(layer=target, weighted=pairs)


def _rnn(layer: Any, names: Names) -> Twin:
    """The loop around any cell: all settings of its own stand in the configuration beside the cell."""
    if layer.stateful:
        raise RefusalError("keeps its state from one call to the next", hint="build it with stateful=False")
    cell = _inner(layer.cell, names).layer
    keys = ("return_sequences", "return_state", "go_backwards", "unroll", "zero_output_for_mask")
    config = {key: getattr(layer, key) for key in keys}
    config |= {"name": names.own(layer.name), "dtype": dtype_of(layer), "trainable": layer.trainable}
    target = _made(tf_keras().layers.RNN, config | {"cell": cell})
    return Twin(layer=target, weighted=((layer, target),))


def _stacked_cells(layer: Any, names: Names) -> Twin:
    cells = [_inner(cell, names).layer for cell in layer.cells]
    return Twin(layer=tf_keras().layers.StackedRNNCells(cells, name=names.own(layer.name), dtype=dtype_of(layer)))


def _inner(layer: Any, names: Names) -> Twin:
    """The twin of a layer within a layer, whose name the reason must say."""
    if isinstance(layer, keras().Model):
        raise RefusalError(f"wraps the model {layer.name}", hint="wrap the model's layers one by one")
    try:
        return twin_of(layer, names)
    except RefusalError as error:
        reason = f"wraps {layer.name} ({type(layer).__name__}), which {error.reason}"
        raise RefusalError(reason, hint=error.hint) from error


def _lambda(_: Any, __: Names) -> Twin:
    raise RefusalError("runs Python code of its author, which can't be translated", hint=_CODE_HINT)


def _lookup(_: Any, __: Names) -> Twin:
    raise RefusalError("looks words up in a table that can't be carried over", hint=_LOOKUP_HINT)


_RULES: dict[str, Callable[[Any, Names], Twin]] = {
    "Activation": _activation,
    "BatchNormalization": _batch_normalization,
    "Bidirectional": _bidirectional,
    "ConvLSTM1D": _recurrent,
    "ConvLSTM2D": _recurrent,
    "ConvLSTM3D": _recurrent,
    "GRU": _recurrent,
    "GRUCell": _recurrent,
    "IntegerLookup": _lookup,
    "LSTM": _recurrent,
    "LSTMCell": _recurrent,
    "Lambda": _lambda,
    "LeakyReLU": _leaky_relu,
    "Normalization": _normalization,
    "RNN": _rnn,
    "SimpleRNN": _recurrent,
    "SimpleRNNCell": _recurrent,
    "StackedRNNCells": _stacked_cells,
    "StringLookup": _lookup,
    "TextVectorization": _lookup,
    "TimeDistributed": _time_distributed,
}
