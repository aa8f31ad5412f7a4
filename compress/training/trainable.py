"""Models in the form that passes train and take apart: tf_keras, whatever Keras wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.loading import load_trained
from tinsmith.convert.model import Model
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.convert.trained import TrainedModel

__all__ = ["load_trainable", "save_trainable"]


def load_trainable(model: Model, *, allow_unsafe: bool = False) -> TrainedModel:
    """Load a Keras model as one of tf_keras; Keras 3 models cross the bridge.

    Raises:
        ModelLoadError: The file is damaged, or is no Keras model.
        UnsupportedOperatorError: Layers can't cross; each of them is named, with the reason.
    """
    trained = load_trained(model, allow_unsafe=allow_unsafe)
    if trained.framework == "tf_keras":
        return trained
    from tinsmith.convert.bridge import to_tf_keras

    return from_keras(to_tf_keras(trained.native), "tf_keras")


def save_trainable(model: Any, path: Path) -> Model:
    """Write a tf_keras model as a .keras file, whole or not at all; raises ``OutputError``."""
    require("tf_keras", needed_for="saving a Keras model")
    with staged_file(path) as staged:
        named = staged.with_name(f"{staged.name}.keras")
        model.save(named, save_format="keras")
        named.replace(staged)
    return Model(path=path, format="keras")
