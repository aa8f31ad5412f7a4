"""Refit the layers behind removed channels, so that they give what they gave before: least squares, no training.

After He, Zhang & Sun 2017, Channel Pruning for Accelerating Very Deep Neural Networks: each convolution's weights are
fitted on the smaller model's own activations to the outputs of the full model, layer by layer from the input on, so
that a later layer also makes up for what an earlier one lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.structure.windows import row_pairs
from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from tinsmith.convert.data import Batch
    from tinsmith.convert.trained import TrainedModel

    Matrix = NDArray[np.float64]

__all__ = ["reconstruct"]

# Pull towards the weights that were kept, relative to the mean power of an input: enough for channels that never fire.
_RIDGE = 1e-3
_REFITTED = ("Conv1D", "Conv2D", "Dense")


def reconstruct(
    full: TrainedModel,
    small: TrainedModel,
    kept: Callable[[str], NDArray[np.int64]],
    batches: Callable[[], Iterable[Batch]],
) -> list[str]:
    """Refit the weights of the smaller model in place.

    Args:
        full: The model before.
        small: The same without some channels; its layers have the same names.
        kept: Which output channels of a layer stayed, by its name.
        batches: The same samples each time; no label is read.

    Returns:
        Names of the layers that were refitted, in order.
    """
    refitted = []
    for layer in small.native.layers:
        before = full.native.get_layer(layer.name)
        if type(layer).__name__ not in _REFITTED or len(layer.inbound_nodes) != 1 or _same(before, layer):
            continue
        if getattr(layer, "groups", 1) == 1:
            _refit(full, small, layer, kept(layer.name), batches())
            refitted.append(layer.name)
    return refitted


def _same(before: Any, after: Any) -> bool:
    return bool(before.kernel.shape[-2] == after.kernel.shape[-2])


def _refit(full: TrainedModel, small: TrainedModel, layer: Any, kept: Any, batches: Iterable[Batch]) -> None:
    tf = require("tensorflow", needed_for="refitting weights")
    keras = require("tf_keras", needed_for="refitting weights")
    before = full.native.get_layer(layer.name)
    sources = [keras.Model(model.native.inputs, at.input) for model, at in ((full, before), (small, layer))]
    names = [spec.name for spec in full.inputs]
    target = before.kernel.numpy().astype(np.float64).reshape(-1, before.kernel.shape[-1])[:, kept]
    totals: list[Any] = []
    for batch in batches:
        feeds = [tf.constant(batch.feeds[name]) for name in names]
        for wide, given in row_pairs(before, *(source(feeds) for source in sources)):
            wanted = wide @ target
            parts = [given.sum(axis=0), wanted.sum(axis=0), given.T @ given, given.T @ wanted, len(given)]
            totals = [total + part for total, part in zip(totals, parts, strict=True)] if totals else parts
    _solve(layer, before, kept, totals)


def _solve(layer: Any, before: Any, kept: Any, totals: list[Matrix]) -> None:
    """Least squares with an intercept where the layer has a bias, pulled towards the weights that were kept."""
    given_sum, wanted_sum, square, cross, count = totals
    if layer.use_bias:
        square = square - np.outer(given_sum, given_sum) / count
        cross = cross - np.outer(given_sum, wanted_sum) / count
    start = layer.kernel.numpy().astype(np.float64).reshape(square.shape[0], -1)
    ridge = _RIDGE * max(float(np.trace(square)) / len(square), 1e-12)
    weights = np.linalg.solve(square + ridge * np.eye(len(square)), cross + ridge * start)
    layer.kernel.assign(weights.reshape(layer.kernel.shape).astype(np.float32))
    if layer.use_bias:
        offset = (wanted_sum - given_sum @ weights) / count
        layer.bias.assign((before.bias.numpy().astype(np.float64)[kept] + offset).astype(np.float32))
