"""A narrower copy of a model, to be trained from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.compress.structure.allocation import by_ratio
from tinsmith.compress.structure.coupling import couple
from tinsmith.compress.structure.flattening import functional
from tinsmith.compress.structure.rebuild import rebuild
from tinsmith.compress.structure.spaces import spaces_of
from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from tinsmith.convert.trained import TrainedModel

__all__ = ["narrowed"]


def narrowed(model: TrainedModel, width: float) -> TrainedModel:
    """Copy a tf_keras model with fewer channels and new weights.

    Args:
        model: It is not changed.
        width: Share of each layer's channels that the copy has, above 0 and below 1.

    Raises:
        UnsupportedOperatorError: No layer can be made narrower.
    """
    keras = require("tf_keras", needed_for="narrowing a model")
    full = functional(model.native)
    coupling = couple(full)
    spaces = spaces_of(coupling)
    if not spaces:
        raise UnsupportedOperatorError(
            "no layer of this model can be made narrower", hint="name a student of your own: student: small.keras"
        )
    smaller = rebuild(full, coupling, by_ratio(spaces, {}, 1 - width))
    # a clone of the same configuration draws its weights anew
    return from_keras(keras.models.clone_model(smaller), "tf_keras")
