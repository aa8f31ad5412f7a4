"""What an earlier step made of single weights, and what keeps it while a later one trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.training.sparsity import prunable_weights
from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Held", "Zeros"]

# A pruned weight has at least so many zeros; a dense one hardly any.
_SPARSE = 0.2


@dataclass(frozen=True, kw_only=True)
class Zeros:
    """Where a model's weights are zero because they were pruned.

    Attributes:
        masks: By the layer's name and the weight's place in ``layer.weights``, true where it is zero.
    """

    masks: dict[str, dict[int, Any]]

    @classmethod
    def of(cls, model: Any, *, pruned: bool) -> Zeros:
        """Look at every weight that ``magnitude`` could have pruned.

        Args:
            model: Of tf_keras.
            pruned: Whether an earlier step did; each zero counts then. Else a fifth of a weight must be zero, so that
                a model that came sparse stays so.
        """
        found: dict[str, dict[int, Any]] = {}
        for layer in model.layers:
            places = [id(weight) for weight in layer.weights]
            for weight in prunable_weights(layer):
                where = weight.numpy() == 0
                if where.any() if pruned else where.mean() >= _SPARSE:
                    found.setdefault(layer.name, {})[places.index(id(weight))] = where
        return cls(masks=found)

    def held(self, weights_of: Callable[[str], Sequence[Any]], layers: Iterable[str]) -> Held:
        """Keep the zeros of some layers.

        Args:
            weights_of: The variables that are trained for a layer, by its name, in the order of its ``weights``.
            layers: Names of layers.
        """
        masks = {name: self.masks[name] for name in layers if name in self.masks}
        return Held(
            entries=tuple(
                (weights_of(name)[at], where, np.zeros(where.shape, np.float32))
                for name, of_layer in masks.items()
                for at, where in of_layer.items()
            )
        )

    def lost(self, model: Any) -> str | None:
        """A layer that is not zero any more somewhere where it was; None where all are kept."""
        for name, masks in self.masks.items():
            weights = model.get_layer(name).get_weights()
            if any((weights[at][where] != 0).any() for at, where in masks.items()):
                return name
        return None


@dataclass(frozen=True, kw_only=True)
class Held:
    """Numbers inside trained variables that stay what they are.

    Attributes:
        entries: A variable; which of its numbers stay, bool in its shape; what they are, in the same shape.
    """

    entries: tuple[tuple[Any, Any, Any], ...]

    @classmethod
    def whole(cls, variables: Iterable[Any]) -> Held:
        """Keep all of these variables as they are now."""
        return cls(entries=tuple((v, np.ones(v.shape, bool), v.numpy()) for v in variables))

    def __or__(self, other: Held) -> Held:
        return Held(entries=(*self.entries, *other.entries))

    def restore(self) -> None:
        """Bring them back: the optimizer has moved them."""
        tf = require("tensorflow", needed_for="training")
        for variable, where, numbers in self.entries:
            variable.assign(tf.where(where, tf.cast(numbers, variable.dtype), variable))
