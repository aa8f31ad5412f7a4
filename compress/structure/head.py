"""A new head: the layer that names the classes, for other classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from tinsmith.convert.trained import TrainedModel

__all__ = ["with_new_head"]

_WIDTHS = {"Dense": "units", "Conv1D": "filters", "Conv2D": "filters", "Conv3D": "filters"}
_HINT = "let the model end in a Dense layer or a 1x1 convolution with one score a class"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remake:
    """What to make anew."""

    classes: int
    dropout: float | None


def with_new_head(trained: TrainedModel, classes: int, *, dropout: float | None = None) -> TrainedModel:
    """Give a classifier other classes: its last layer with weights is made anew, and what follows it stays.

    A single sigmoid, which tells two classes apart, becomes a softmax; several stay sigmoids.

    Args:
        trained: Of Keras 3 or tf_keras, with one output; all layers but the last are shared with what is returned.
        classes: At least 2.
        dropout: Share of the features that a layer before the head drops while it trains; None for no such layer.

    Returns:
        A model whose head has weights drawn anew (Glorot's uniform distribution, zero biases), from the framework's
        present random state.

    Raises:
        UnsupportedOperatorError: The model does not end in a layer that could be made anew.
    """
    if len(trained.outputs) != 1:
        raise UnsupportedOperatorError(
            f"the model has {len(trained.outputs)} outputs, so it is not clear which one names the classes", hint=_HINT
        )
    keras = require(trained.framework, needed_for="making a new head")
    changed = _remade(keras, trained.native, _Remake(classes=classes, dropout=dropout))
    return from_keras(changed, trained.framework)  # type: ignore[arg-type]


def _remade(keras: Any, model: Any, remake: _Remake) -> Any:
    """The same graph up to the head, and the head and what follows it made anew."""
    after: list[Any] = []
    tensor = model.outputs[0]
    while True:
        layer, sources = _made_by(tensor)
        if not isinstance(layer, keras.layers.Layer) or len(sources) != 1 or "OpLambda" in type(layer).__name__:
            raise UnsupportedOperatorError(
                f"the model ends in {layer.name!r} ({type(layer).__name__}), behind which no single layer names the "
                "classes",
                hint=_HINT,
            )
        if hasattr(layer, "layers") or layer.weights:
            break
        after.insert(0, layer)
        tensor = sources[0]
    head, width = _head(keras, layer, remake)
    nested = hasattr(layer, "layers")
    answer = head(sources[0] if nested or remake.dropout is None else _dropped(keras, sources[0], remake.dropout))
    for following in after:
        answer = _resized(following, width, remake.classes)(answer)
    return keras.Model(model.inputs, answer, name=model.name)


def _made_by(tensor: Any) -> tuple[Any, list[Any]]:
    """The layer that a symbolic tensor comes from, and what went into it."""
    history = tensor._keras_history  # noqa: SLF001 - the only way from a tensor to its layer
    layer = history.operation if hasattr(history, "operation") else history.layer
    node = layer._inbound_nodes[history.node_index]  # noqa: SLF001 - as above
    return layer, list(node.keras_inputs if hasattr(node, "keras_inputs") else node.input_tensors)


def _head(keras: Any, layer: Any, remake: _Remake) -> tuple[Any, int]:
    """The layer with other classes, and how many the old one had."""
    if hasattr(layer, "layers"):
        # a nested model: its own last layer is the head
        return _remade(keras, layer, remake), int(layer.outputs[0].shape[-1])
    key = _WIDTHS.get(type(layer).__name__)
    if key is None:
        raise UnsupportedOperatorError(
            f"the model's last layer with weights is {layer.name!r} ({type(layer).__name__}), which is no classifier",
            hint=_HINT,
        )
    config = layer.get_config()
    width = int(config[key])
    config |= {key: remake.classes, "kernel_initializer": "glorot_uniform", "bias_initializer": "zeros"}
    return type(layer).from_config(_named_classes(config, width)), width


def _resized(layer: Any, width: int, classes: int) -> Any:
    """A layer behind the head, made anew for another number of classes."""
    config = layer.get_config()
    if "target_shape" in config and config["target_shape"][-1] == width:
        config["target_shape"] = (*config["target_shape"][:-1], classes)
    return type(layer).from_config(_named_classes(config, width))


def _named_classes(config: dict[str, Any], width: int) -> dict[str, Any]:
    """One number that says yes or no becomes one score a class."""
    return {**config, "activation": "softmax"} if width == 1 and config.get("activation") == "sigmoid" else config


def _dropped(keras: Any, features: Any, rate: float) -> Any:
    """The features behind a dropout, which takes the place of one that is there."""
    layer, sources = _made_by(features)
    if type(layer).__name__ == "Dropout":
        return type(layer)(rate, name=layer.name)(sources[0])
    return keras.layers.Dropout(rate, name="head_dropout")(features)
