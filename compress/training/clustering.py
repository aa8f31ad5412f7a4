"""tfmot's weight clustering around a model, layer by layer, in a form that 8 bits can keep.

Integers have one scale a channel, and batch norm is folded into the weights before: both would tear shared values
apart. So each channel's weights are first brought to a largest magnitude of 1, with the factor put into the batch norm
behind; then all channels share one codebook, and a scale a channel maps it to the same few integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.convert.trained import TrainedModel

__all__ = ["Clustering", "level_channels"]

_NEEDED_FOR = "weight clustering"
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
# A pruned layer has at least so many zeros; a dense one hardly any.
_SPARSE = 0.2


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """A model whose layers share values while it trains.

    Attributes:
        wrapped: The model to train; it shares the layers of the one it was made from.
        layers: Names of the layers that are clustered.
        left_alone: Why another layer with weights is not, by its name.
        zeros: Where a sparse layer's kernel was zero, by its name.
    """

    wrapped: TrainedModel
    layers: tuple[str, ...]
    left_alone: dict[str, str]
    zeros: dict[str, Any]

    @classmethod
    def of(cls, model: TrainedModel, *, clusters: int, skip: Sequence[str]) -> Clustering:
        """Wrap every layer that tfmot can cluster.

        Args:
            model: Of tf_keras; its channels are levelled in place, and its layers become part of the wrapped model.
            clusters: Values a layer, at least 3.
            skip: Names of layers to leave alone.

        Raises:
            UnsupportedOperatorError: tfmot knows none of the layers.
        """
        tfmot = require("tensorflow_model_optimization", needed_for=_NEEDED_FOR).clustering.keras
        keras = require("tf_keras", needed_for=_NEEDED_FOR)
        level_channels(model.native)
        left_alone: dict[str, str] = {}
        zeros: dict[str, Any] = {}

        def wrap(layer: Any) -> Any:
            kernel = _kernel(layer)
            if kernel is None:
                return layer
            why = _why_not(layer, kernel, clusters, skip)
            if why:
                left_alone[layer.name] = why
                return layer
            sparse = float(np.mean(kernel == 0)) >= _SPARSE
            if sparse:
                zeros[layer.name] = kernel == 0
            try:
                return tfmot.cluster_weights(
                    layer,
                    number_of_clusters=clusters,
                    # evenly spaced: as accurate as k-means++ on levelled channels, and zips a tenth better
                    cluster_centroids_init=tfmot.CentroidInitialization.LINEAR,
                    preserve_sparsity=sparse,
                )
            except ValueError:
                left_alone[layer.name] = f"tfmot does not know {type(layer).__name__}"
                return layer

        wrapped = keras.models.clone_model(model.native, clone_function=wrap)
        layers = tuple(layer.layer.name for layer in wrapped.layers if hasattr(layer, "cluster_centroids"))
        if not layers:
            raise UnsupportedOperatorError(
                f"there is nothing to cluster: {'; '.join(left_alone.values()) or 'no layer has weights'}",
                hint="clusters works on convolutions and dense layers with more weights than clusters",
            )
        return cls(wrapped=from_keras(wrapped, "tf_keras"), layers=layers, left_alone=left_alone, zeros=zeros)

    def stripped(self) -> TrainedModel:
        """The model without the wrappers."""
        tfmot = require("tensorflow_model_optimization", needed_for=_NEEDED_FOR).clustering.keras
        return from_keras(tfmot.strip_clustering(self.wrapped.native), "tf_keras")

    def distinct_values(self, stripped: TrainedModel) -> dict[str, int]:
        """How many values each clustered layer holds, by its name."""
        return {name: len(np.unique(_kernel(stripped.native.get_layer(name)))) for name in self.layers}

    def lost_zeros(self, stripped: TrainedModel) -> str | None:
        """A layer that was zero somewhere where it is not any more; None where all are kept."""
        for name, where in self.zeros.items():
            if (_kernel(stripped.native.get_layer(name))[where] != 0).any():
                return name
        return None


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


def _kernel(layer: Any) -> Any:
    weight = next((getattr(layer, name) for name in _KERNELS if getattr(layer, name, None) is not None), None)
    return None if weight is None else weight.numpy()


def _why_not(layer: Any, kernel: Any, clusters: int, skip: Sequence[str]) -> str | None:
    if layer.name in skip:
        return "skipped by the recipe"
    if "Depthwise" in type(layer).__name__:
        return "a depthwise kernel is too small to share"
    return f"{kernel.size} weights for {clusters} values" if kernel.size < 2 * clusters else None
