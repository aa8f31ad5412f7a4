"""How much a channel matters, told from weights or from gradients; only the order within a space is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tinsmith.compress.structure.rules import channel_axes
from tinsmith.compress.training.losses import truth_loss
from tinsmith.compress.training.truth import head_for, truth_of
from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tinsmith.compress.structure.coupling import Coupling
    from tinsmith.compress.training.losses import Head
    from tinsmith.convert.data import Batch
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Importance", "importances"]

Importance = Literal["l1", "bn-scale", "taylor"]


def importances(
    kind: Importance, coupling: Coupling, model: TrainedModel, batches: Callable[[], Iterable[Batch]]
) -> dict[int, float]:
    """Score every group of tied channels.

    Args:
        kind: ``l1``: mean magnitude of the weights that make it (Li et al. 2017); ``bn-scale``: magnitude of the
            batch-norm scale behind it (Liu et al. 2017), as ``l1`` where there is none; ``taylor``: squared sum of
            weight times gradient (Molchanov et al. 2019), which needs labels.
        coupling: Of the model's channels.
        model: The tf_keras model.
        batches: Labelled samples, for ``taylor``.

    Returns:
        A score a root; more is more important.
    """
    if kind == "taylor":
        return _taylor(coupling, model, batches())
    scores = _summed(coupling, lambda weight: np.abs(weight.numpy()), _makes)
    if kind == "bn-scale":
        scores |= _summed(coupling, lambda weight: np.abs(weight.numpy()), _scales)
    return scores


def _makes(kind: str, name: str) -> bool:
    return kind != "BatchNormalization" and name.endswith("kernel:0")


def _scales(kind: str, name: str) -> bool:
    return kind == "BatchNormalization" and name.endswith("gamma:0")


def _summed(coupling: Coupling, value: Callable[[Any], Any], counts: Callable[[str, str], bool]) -> dict[int, float]:
    """Mean value of a root's slices of each weight, over the weight's mean, summed over the weights."""
    scores: dict[int, float] = {}
    for channels in coupling.followed.values():
        kind = type(channels.layer).__name__
        for weight in channels.layer.weights:
            if not counts(kind, weight.name):
                continue
            for axis, side in channel_axes(kind, weight.name, len(weight.shape)):
                if side == "taken" and "depthwise" not in weight.name:
                    continue
                atoms = {"taken": channels.taken, "given": channels.given, "heads": channels.heads}[side]
                each = np.mean(value(weight), axis=tuple(i for i in range(len(weight.shape)) if i != axis))
                for root, score in zip(coupling.roots(atoms), each / max(float(each.mean()), 1e-12), strict=True):
                    scores[int(root)] = scores.get(int(root), 0.0) + float(score)
    return scores


def _taylor(coupling: Coupling, model: TrainedModel, batches: Iterable[Batch]) -> dict[int, float]:
    weights = model.native.trainable_variables
    moved = _weight_times_gradient(model, weights, batches)
    by_name: Mapping[str, Any] = {weight.name: total for weight, total in zip(weights, moved, strict=True)}
    scores: dict[int, float] = {}
    for channels in coupling.followed.values():
        kind = type(channels.layer).__name__
        for weight in channels.layer.weights:
            if weight.name not in by_name:
                continue
            for axis, side in channel_axes(kind, weight.name, len(weight.shape)):
                if side == "taken" and "depthwise" not in weight.name:
                    continue
                atoms = {"taken": channels.taken, "given": channels.given, "heads": channels.heads}[side]
                each = np.sum(by_name[weight.name], axis=tuple(i for i in range(len(weight.shape)) if i != axis))
                for root, score in zip(coupling.roots(atoms), each, strict=True):
                    scores[int(root)] = scores.get(int(root), 0.0) + float(score)
    return {root: score**2 for root, score in scores.items()}


def _weight_times_gradient(model: TrainedModel, weights: list[Any], batches: Iterable[Batch]) -> list[Any]:
    tf = require("tensorflow", needed_for="measuring gradients")

    def gradients(feeds: dict[str, Any], truth: Any, head: Head) -> Any:
        with tf.GradientTape() as tape:
            (answers,) = model.function(feeds).values()
            loss = truth_loss(head, answers, truth)
        # embeddings have sparse gradients, and what is not used for the answers has none
        found = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in found]

    compiled = tf.function(gradients, reduce_retracing=True, autograph=False)
    totals = [np.zeros(weight.shape) for weight in weights]
    for batch in batches:
        feeds = {spec.name: tf.constant(batch.feeds[spec.name], dtype=spec.dtype) for spec in model.inputs}
        head = head_for(model, batch)
        truth = truth_of(head, batch)
        for at, (weight, gradient) in enumerate(zip(weights, compiled(feeds, truth, head), strict=True)):
            totals[at] += weight.numpy() * gradient.numpy()
    return totals
