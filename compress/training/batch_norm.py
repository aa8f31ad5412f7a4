"""Batch-norm statistics measured again: what the layers really see, not what they saw while the weights still moved.

Wu & Johnson 2021, Rethinking "Batch" in BatchNorm, call it precise batch norm: statistics of large batches, pooled over
samples with one weight each, instead of a moving average over the last steps of a training.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.trained import TrainedModel

__all__ = ["batch_norms", "recalibrate"]

_BATCH = 256
_BATCH_NORMS = ("BatchNormalization", "SyncBatchNormalization")


def batch_norms(model: Any) -> list[Any]:
    """The model's batch-norm layers in a fixed order: nested and wrapped ones too."""
    return [layer for layer in _flat(model) if type(layer).__name__ in _BATCH_NORMS]


def recalibrate(model: TrainedModel, dataset: Dataset, *, seed: int = 0, layers: Sequence[Any] | None = None) -> int:
    """Measure the statistics of batch-norm layers on samples, in place; no weight changes and no label is read.

    Args:
        model: Of Keras 3 or tf_keras.
        dataset: Samples like those the model was trained on; seen in a mixed order, in batches of 256.
        seed: Of the order, so that no batch holds one class alone.
        layers: Which of ``batch_norms(model.native)``; None for all.

    Returns:
        How many layers there were; nothing is run for 0.
    """
    layers = batch_norms(model.native) if layers is None else layers
    if not layers:
        return 0
    tf = require("tensorflow", needed_for="measuring batch-norm statistics")
    forward = tf.function(lambda feeds: model.function(feeds, training=True), reduce_retracing=True, autograph=False)
    means = [np.zeros(layer.moving_mean.shape) for layer in layers]
    squares = [np.zeros(layer.moving_mean.shape) for layer in layers]
    seen = 0
    with _as_measured(layers), _without_chance(model.native):
        for batch in dataset.mixed_batches(_BATCH, seed=seed, epoch=0):
            forward({spec.name: tf.constant(batch.feeds[spec.name], dtype=spec.dtype) for spec in model.inputs})
            count = len(next(iter(batch.feeds.values())))
            seen += count
            for at, layer in enumerate(layers):
                mean = layer.moving_mean.numpy().astype(np.float64)
                means[at] += count * mean
                squares[at] += count * (layer.moving_variance.numpy().astype(np.float64) + mean**2)
    for layer, mean_sum, square_sum in zip(layers, means, squares, strict=True):
        mean = mean_sum / seen
        layer.moving_mean.assign(mean.astype(np.float32))
        layer.moving_variance.assign(np.maximum(square_sum / seen - mean**2, 0).astype(np.float32))
    return len(layers)


@contextlib.contextmanager
def _as_measured(layers: Sequence[Any]) -> Iterator[None]:
    """Let each layer's moving statistics be those of the last batch alone, frozen layers included."""
    before = [(layer.momentum, layer.trainable) for layer in layers]
    try:
        for layer in layers:
            layer.momentum, layer.trainable = 0.0, True
        yield
    finally:
        for layer, (momentum, trainable) in zip(layers, before, strict=True):
            layer.momentum, layer.trainable = momentum, trainable


@contextlib.contextmanager
def _without_chance(model: Any) -> Iterator[None]:
    """Switch dropout off: the statistics are for inference, which drops nothing."""
    dropouts = [layer for layer in _flat(model) if hasattr(layer, "rate") and "Dropout" in type(layer).__name__]
    rates = [layer.rate for layer in dropouts]
    try:
        for layer in dropouts:
            layer.rate = 0.0
        yield
    finally:
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate


def _flat(model: Any) -> Iterator[Any]:
    """Every layer, with those inside nested models and wrappers."""
    inside = [model.layer] if hasattr(model, "layer") else getattr(model, "layers", ())
    for layer in inside:
        yield layer
        yield from _flat(layer)
