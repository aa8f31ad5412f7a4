"""tfmot's weight clustering around a model, layer by layer, in a form that 8 bits can keep.

Integers have one scale a channel, and batch norm is folded into the weights before: both would tear shared values
apart. So each channel's weights are first brought to a largest magnitude of 1, with the factor put into the batch norm
behind; then all channels share one codebook, and a scale a channel maps it to the same few integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.training.held import Zeros
from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.compress.training.held import Held
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Clustering", "level_channels"]

_NEEDED_FOR = "weight clustering"


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """A model whose layers share values while it trains.

    Attributes:
        wrapped: The model to train; it shares the layers of the one it was made from.
        shared: Places of the weights in ``layer.weights`` that are clustered, by the layer's name.
        left_alone: Why another layer with weights is not, by its name.
        zeros: Where weights were zero.
    """

    wrapped: TrainedModel
    shared: dict[str, tuple[int, ...]]
    left_alone: dict[str, str]
    zeros: Zeros

    @classmethod
    def of(cls, model: TrainedModel, *, clusters: int, skip: Sequence[str], pruned: bool) -> Clustering:
        """Wrap every layer that tfmot can cluster.

        Args:
            model: Of tf_keras; its channels are levelled in place, and its layers become part of the wrapped model.
            clusters: Values a layer, at least 3.
            skip: Names of layers to leave alone.
            pruned: Whether an earlier step has pruned the model; see ``Zeros``.

        Raises:
            UnsupportedOperatorError: tfmot knows none of the layers.
        """
        tfmot = require("tensorflow_model_optimization", needed_for=_NEEDED_FOR).clustering.keras
        keras = require("tf_keras", needed_for=_NEEDED_FOR)
        level_channels(model.native)
        zeros = Zeros.of(model.native, pruned=pruned)
        left_alone: dict[str, str] = {}
        shared: dict[str, tuple[int, ...]] = {}

        def wrap(layer: Any) -> Any:
            if not layer.trainable_weights or type(layer).__name__ == "BatchNormalization":
                return layer
            wrapper = _wrapped(tfmot, layer, clusters, sparse=layer.name in zeros.masks)
            weights = [] if wrapper is None else [weight for _, weight in layer.get_clusterable_weights()]
            why = _why_not(layer, weights, clusters, skip)
            if why:
                left_alone[layer.name] = why
                return layer
            places = [id(weight) for weight in layer.weights]
            shared[layer.name] = tuple(places.index(id(weight)) for weight in weights)
            return wrapper

        wrapped = keras.models.clone_model(model.native, clone_function=wrap)
        if not shared:
            raise UnsupportedOperatorError(
                f"there is nothing to cluster: {'; '.join(left_alone.values()) or 'no layer has weights'}",
                hint="clusters works on convolutions, dense, recurrent and embedding layers with twice as many weights",
            )
        trained = from_keras(wrapped, "tf_keras")
        return cls(wrapped=trained, shared=shared, left_alone=left_alone, zeros=zeros)

    def held(self) -> Held:
        """Zeros of layers that are trained as they are; tfmot keeps those of the others."""
        return self.zeros.held(lambda name: self.wrapped.native.get_layer(name).weights, self.left_alone)

    def stripped(self) -> TrainedModel:
        """The model without the wrappers."""
        tfmot = require("tensorflow_model_optimization", needed_for=_NEEDED_FOR).clustering.keras
        return from_keras(tfmot.strip_clustering(self.wrapped.native), "tf_keras")

    def distinct_values(self, stripped: TrainedModel) -> dict[str, int]:
        """How many values each clustered layer holds, by its name; of several weights, the most."""
        weights = {name: stripped.native.get_layer(name).get_weights() for name in self.shared}
        return {name: max(len(np.unique(weights[name][at])) for at in places) for name, places in self.shared.items()}

    def lost_zeros(self, stripped: TrainedModel) -> str | None:
        """A layer that was zero somewhere where it is not any more; None where all are kept."""
        return self.zeros.lost(stripped.native)


def level_channels(model: Any) -> None:
    """Bring each output channel of a convolution in front of a batch norm to a largest weight of 1, in place.

    The model computes the same: the statistics and the scale of the batch norm take the factor, and a negative scale's
    sign goes into the weights.
    """
    for norm in model.layers:
        before = _levelled_by(norm)
        if before is None:
            continue
        kernel = before.kernel.numpy().astype(np.float64)
        size = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0)
        gamma = norm.gamma.numpy().astype(np.float64) if norm.scale else np.ones(len(size))
        factor = np.where(size > 0, size, 1.0) * np.where(gamma < 0, -1.0, 1.0)
        mean, variance = (w.numpy().astype(np.float64) for w in (norm.moving_mean, norm.moving_variance))
        shrunk = variance / factor**2
        before.kernel.assign(kernel / factor)
        if before.use_bias:
            before.bias.assign(before.bias.numpy() / factor)
        norm.moving_mean.assign(mean / factor)
        norm.moving_variance.assign(shrunk)
        if norm.scale:
            # epsilon does not shrink with the variance
            norm.gamma.assign(gamma * factor * np.sqrt(shrunk + norm.epsilon) / np.sqrt(variance + norm.epsilon))


def _levelled_by(norm: Any) -> Any:
    """The convolution whose channels a batch norm can level; None where there is none."""
    if type(norm).__name__ != "BatchNormalization" or len(norm.inbound_nodes) != 1 or not norm.scale:
        return None
    before = norm.input._keras_history.layer  # noqa: SLF001 - how Keras says where a tensor comes from
    plain = type(before).__name__ in ("Conv1D", "Conv2D", "Dense") and len(before.inbound_nodes) == 1
    alone = len(before.outbound_nodes) == 1 and before.activation.__name__ == "linear"
    return before if plain and alone else None


def _wrapped(tfmot: Any, layer: Any, clusters: int, *, sparse: bool) -> Any:
    """The wrapper of tfmot, which lets the layer say what can be shared; None where tfmot does not know the layer."""
    if hasattr(layer, "layers"):  # a model in the place of a layer
        return None
    try:
        return tfmot.cluster_weights(
            layer,
            number_of_clusters=clusters,
            # evenly spaced: as accurate as k-means++ on levelled channels, and zips a tenth better
            cluster_centroids_init=tfmot.CentroidInitialization.LINEAR,
            preserve_sparsity=sparse,
        )
    except ValueError:
        return None


def _why_not(layer: Any, weights: Sequence[Any], clusters: int, skip: Sequence[str]) -> str | None:
    if layer.name in skip:
        return "skipped by the recipe"
    if not weights:
        return f"tfmot shares no weight of {type(layer).__name__}"
    smallest = min(int(np.prod(weight.shape)) for weight in weights)
    return f"{smallest} weights for {clusters} values" if smallest < 2 * clusters else None
