"""The way over the bridge: rebuild, carry the weights over, compare."""

from __future__ import annotations

import logging
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tinsmith.convert.bridge.comparison import verify
from tinsmith.convert.bridge.engines import keras
from tinsmith.convert.bridge.obstacles import unsupported
from tinsmith.convert.bridge.rebuild import rebuild
from tinsmith.convert.bridge.weights import carry_over
from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["to_tf_keras"]

logger = logging.getLogger(__name__)


def to_tf_keras(model: Any) -> Any:
    """Make a model of tf_keras (Keras 2) that computes what a model of Keras 3 does.

    Layers, weights, names and the trainable marks cross; how the model was compiled does not. A sequential model
    comes out as a functional one. An activation that tf_keras lacks follows its layer as a layer of its own.

    Args:
        model: A functional or sequential ``keras.Model``; it is not changed.

    Returns:
        A ``tf_keras.Model`` whose outputs on seeded inputs were compared with those of ``model``: they differ by at
        most 1e-5 of the largest number in the output, or of 1.

    Raises:
        UnsupportedOperatorError: Layers can't cross; each of them is named, with the reason.
        VerificationError: The outputs differ, or the model can't be run on seeded inputs.
        TypeError: ``model`` is not a model of Keras 3.
    """
    if not isinstance(model, keras().Model):
        raise TypeError(f"not a model of Keras 3: {type(model).__module__}.{type(model).__name__}")
    with _kept_randomness():
        rebuilt = rebuild(model)
        misfits = carry_over(rebuilt.weighted)
        if misfits:
            raise unsupported(misfits)
        found = verify(model, rebuilt)
    logger.info("%s crossed to tf_keras: %d layers, outputs differ by %.2g", model.name, len(rebuilt.traces), found)
    return rebuilt.model


@contextmanager
def _kept_randomness() -> Iterator[None]:
    """Put the random states back that tf_keras draws the seeds of new layers from."""
    backend = require("tf_keras.src.backend", needed_for="the bridge from Keras 3 to tf_keras")
    # Set by tf_keras.utils.set_random_seed; else the seeds come from Python's generator.
    own = getattr(getattr(backend, "_SEED_GENERATOR", None), "generator", None)
    states = random.getstate(), own.getstate() if own else None
    try:
        yield
    finally:
        random.setstate(states[0])
        if own:
            own.setstate(states[1])
