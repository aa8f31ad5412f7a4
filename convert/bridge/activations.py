"""Keras 3's activation functions in tf_keras: the same function, or layers of tf_keras that compute it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.convert.bridge.engines import op_layers, tensorflow, tf_keras
from tinsmith.convert.bridge.obstacles import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.convert.bridge.names import Names

__all__ = ["as_function", "as_layers", "name_of"]

# Functions that both know, by their names in Keras 3. `hard_sigmoid` is missing: Keras 2 has another one under this
# name (0.2 x + 0.5 where Keras 3 has x / 6 + 0.5).
_SHARED = {
    "celu": "elu",  # at its default alpha of 1, the only one that a name can stand for
    "elu": "elu",
    "exponential": "exponential",
    "gelu": "gelu",
    "linear": "linear",
    "mish": "mish",
    "relu": "relu",
    "selu": "selu",
    "sigmoid": "sigmoid",
    "silu": "swish",
    "softmax": "softmax",
    "softplus": "softplus",
    "softsign": "softsign",
    "swish": "swish",
    "tanh": "tanh",
}


def name_of(layer: Any, key: str) -> str:
    """The name of the function that a layer applies.

    Raises:
        RefusalError: The function is not one of Keras.
    """
    function = getattr(layer, key)
    if getattr(function, "__module__", "") != "keras.src.activations.activations":
        named = getattr(function, "__name__", type(function).__name__)
        raise RefusalError(f"applies the activation function {named}, which is not one of Keras")
    return str(function.__name__)


def as_function(name: str) -> str | None:
    """The name under which tf_keras knows the same function, or None where it doesn't."""
    return _SHARED.get(name)


def as_layers(name: str, *, called: str, names: Names, dtype: str) -> Callable[[Any], Any]:
    """Layers of tf_keras that compute an activation function which tf_keras lacks.

    Args:
        name: The function's name in Keras 3.
        called: The name of the layer that stands for it.
        names: Where the names of further layers come from.
        dtype: The name of the layers' dtype policy.

    Raises:
        RefusalError: No layers are known for it.
    """
    if name in _SHARED:
        layer: Callable[[Any], Any] = tf_keras().layers.Activation(_SHARED[name], name=called, dtype=dtype)
        return layer
    if name not in _BUILDERS:
        raise RefusalError(f"applies the activation function {name}, which tf_keras does not have")
    return _BUILDERS[name](called, names, dtype)


def _relu6(called: str, _: Names, dtype: str) -> Callable[[Any], Any]:
    layer: Callable[[Any], Any] = tf_keras().layers.ReLU(max_value=6.0, name=called, dtype=dtype)
    return layer


def _leaky_relu(called: str, _: Names, dtype: str) -> Callable[[Any], Any]:
    layer: Callable[[Any], Any] = tf_keras().layers.LeakyReLU(alpha=0.2, name=called, dtype=dtype)
    return layer


def _hard_sigmoid(called: str, names: Names, dtype: str) -> Callable[[Any], Any]:
    layers = tf_keras().layers
    shift = layers.Rescaling(1.0, offset=3.0, name=names.further(f"{called}_shift"), dtype=dtype)
    clip = layers.ReLU(max_value=6.0, name=names.further(f"{called}_clip"), dtype=dtype)
    scale = layers.Rescaling(1.0 / 6.0, name=called, dtype=dtype)
    return lambda x: scale(clip(shift(x)))


def _hard_silu(called: str, names: Names, dtype: str) -> Callable[[Any], Any]:
    gate = _hard_sigmoid(names.further(f"{called}_gate"), names, dtype)
    product = tf_keras().layers.Multiply(name=called, dtype=dtype)
    return lambda x: product([x, gate(x)])


def _hard_tanh(called: str, _: Names, __: str) -> Callable[[Any], Any]:
    clip = op_layers().TFOpLambda(tensorflow().clip_by_value, name=called)
    return lambda x: clip(x, -1.0, 1.0)


def _log_softmax(called: str, _: Names, __: str) -> Callable[[Any], Any]:
    layer: Callable[[Any], Any] = op_layers().TFOpLambda(tensorflow().nn.log_softmax, name=called)
    return layer


def _log_sigmoid(called: str, _: Names, __: str) -> Callable[[Any], Any]:
    layer: Callable[[Any], Any] = op_layers().TFOpLambda(tensorflow().math.log_sigmoid, name=called)
    return layer


_BUILDERS: dict[str, Callable[[str, Names, str], Callable[[Any], Any]]] = {
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _hard_silu,
    "hard_tanh": _hard_tanh,
    "leaky_relu": _leaky_relu,
    "log_sigmoid": _log_sigmoid,
    "log_softmax": _log_softmax,
    "relu6": _relu6,
}
