"""Learning from a teacher's inner layers as well as from its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.convert.trained import TrainedModel

__all__ = ["FeatureTaps", "tap"]


@dataclass(frozen=True, kw_only=True)
class FeatureTaps:
    """Attention transfer (Zagoruyko & Komodakis 2017): where in the image a layer is active, whatever its width.

    Attributes:
        student: The student with the layers' outputs behind its answers; it shares the student's variables.
        teacher: The same of the teacher.
        weight: Of this part of the loss.
    """

    student: TrainedModel
    teacher: TrainedModel
    weight: float

    def __call__(self, maps: Sequence[Any], taught: Sequence[Any]) -> Any:
        """The loss of one batch, a scalar tensor.

        Args:
            maps: The student's layers, [n, ..., channels] each.
            taught: The teacher's, with the same axes but for the channels.
        """
        tf = require("tensorflow", needed_for="training")
        parts = [
            tf.reduce_mean(tf.reduce_sum(tf.square(_attention(one) - _attention(other)), axis=-1))
            for one, other in zip(maps, taught, strict=True)
        ]
        return self.weight * sum(parts) / len(parts)


def tap(student: TrainedModel, teacher: TrainedModel, layers: Sequence[str], weight: float) -> FeatureTaps:
    """Tap layers that both models have.

    Args:
        student: Learns.
        teacher: Is learned from.
        layers: Names of layers in both models; their outputs agree in all axes but the channels.
        weight: Of this part of the loss.

    Raises:
        UsageError: A model has no such layer or uses it more than once, the shapes don't fit, or there are no positions
            in them.
    """
    for name in layers:
        ours, theirs = (_output(model, name).shape for model in (student, teacher))
        if tuple(ours[1:-1]) != tuple(theirs[1:-1]):
            raise UsageError(
                f"layer {name!r} gives {list(ours)} in the student and {list(theirs)} in the teacher",
                hint="name layers that differ in their channels only",
            )
        if len(ours) < 3:
            # at a single position every attention map is 1, and nothing is left to learn
            raise UsageError(
                f"layer {name!r} gives {list(ours)}, in which no positions are told apart",
                hint="name convolutions and what comes behind them, before images are pooled or flattened",
            )
    return FeatureTaps(student=_tapped(student, layers), teacher=_tapped(teacher, layers), weight=weight)


def _output(model: TrainedModel, name: str) -> Any:
    if name not in [layer.name for layer in model.native.layers]:
        names = ", ".join(layer.name for layer in model.native.layers)
        raise UsageError(f"there is no layer {name!r} to learn from", hint=f"the layers are {names}")
    used = [node for depth in model.native._nodes_by_depth.values() for node in depth if _user(node).name == name]  # noqa: SLF001 - the nodes have no public name
    if len(used) != 1:
        raise UsageError(
            f"the model uses layer {name!r} {len(used)} times, and each use has an attention map of its own",
            hint="name layers that are used once, such as those right behind it",
        )
    return used[0].outputs


def _user(node: Any) -> Any:
    """The layer of a node: Keras 3 calls it an operation."""
    return node.layer if hasattr(node, "layer") else node.operation


def _tapped(model: TrainedModel, layers: Sequence[str]) -> TrainedModel:
    keras = require(model.framework, needed_for="training")
    outputs = [*model.native.outputs, *(_output(model, name) for name in layers)]
    framework: Any = model.framework
    return from_keras(keras.Model(model.native.inputs, outputs), framework)


def _attention(feature: Any) -> Any:
    """A layer's energy at each position, as a vector of length 1."""
    tf = require("tensorflow", needed_for="training")
    energy = tf.reduce_mean(tf.square(feature), axis=-1)
    return tf.math.l2_normalize(tf.reshape(energy, [tf.shape(energy)[0], -1]), axis=-1)
