"""The smaller model: the same layers with fewer channels, and the weights of those that stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from tinsmith.compress.structure.rules import Side, channel_axes
from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from tinsmith.compress.structure.coupling import Channels, Coupling

    Positions = NDArray[np.int64]

__all__ = ["rebuild"]


def rebuild(
    model: Any, coupling: Coupling, dropped: Collection[int], biases: Mapping[str, NDArray[Any]] | None = None
) -> Any:
    """Make a tf_keras model without some channels.

    Args:
        model: A functional model; it is not changed.
        coupling: Of its channels.
        dropped: Roots of the channels that go; none of them frozen, and of each layer's channels one stays at least.
        biases: A new bias of some layers, by name, with one number a channel before any goes.

    Returns:
        A new model; each weight that stays has its old value.
    """
    keras = require("tf_keras", needed_for="taking a model apart")
    kept = {name: _Kept(coupling, channels, dropped) for name, channels in coupling.layers.items()}
    config = model.get_config()
    for entry in config["layers"]:
        entry.pop("build_config", None)
        if entry["name"] in kept:
            _resize(entry["config"], kept[entry["name"]])
        if entry["name"] in (biases or {}):
            entry["config"]["use_bias"] = True
    smaller = keras.Model.from_config(config)
    for layer in smaller.layers:
        source = model.get_layer(layer.name)
        weights = source.get_weights()
        smaller_weights = [kept[layer.name].of(w, a) for w, a in zip(weights, source.weights, strict=True)]
        if layer.name in (biases or {}):
            # the bias comes behind the kernel
            smaller_weights[1:2] = [(biases or {})[layer.name][kept[layer.name].places["given"]]]
        layer.set_weights(smaller_weights)
    return smaller


class _Kept:
    """Which places on a layer's channel axes stay."""

    def __init__(self, coupling: Coupling, channels: Channels, dropped: Collection[int]) -> None:
        gone = np.array(sorted(dropped), dtype=np.int64)
        self.kind = type(channels.layer).__name__
        atoms = {"taken": channels.taken, "given": channels.given, "heads": channels.heads}
        self.places: dict[Side, Positions] = {
            side: np.flatnonzero(~np.isin(coupling.roots(atoms[side]), gone)) for side in get_args(Side)
        }
        self._whole = {side: len(self.places[side]) == len(atoms[side]) for side in get_args(Side)}

    def of(self, array: NDArray[Any], weight: Any) -> NDArray[Any]:
        """The part of one weight that stays."""
        for axis, side in channel_axes(self.kind, weight.name, array.ndim):
            array = array if self._whole[side] else np.take(array, self.places[side], axis=axis)
        return array


def _resize(config: dict[str, Any], kept: _Kept) -> None:
    """Say the new numbers of channels in a layer's configuration."""
    for key in ("filters", "units"):
        if key in config:
            config[key] = len(kept.places["given"])
    if "num_heads" in config and len(kept.places["heads"]):
        config["num_heads"] = len(kept.places["heads"])
    # -1 finds its own length, in a shared layer another one each time
    if kept.kind == "Reshape" and config["target_shape"][-1] != -1:
        config["target_shape"] = (*config["target_shape"][:-1], len(kept.places["given"]))
