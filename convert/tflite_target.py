"""Trained model to TFLite, through a SavedModel of constants."""

from __future__ import annotations

import contextlib
import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import frozen_function
from tinsmith.runtime.errors import UnsupportedOperatorError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.convert.trained import TrainedModel

__all__ = ["savedmodel_of", "trained_to_tflite"]

_SIGNATURE = "serving_default"


def trained_to_tflite(trained: TrainedModel, *, batch: int | None) -> bytes:
    """Convert to a float32 .tflite with the model's own input and output names.

    Only builtin operators are used: a file that needs Flex would not load on a board.

    Args:
        trained: From ``load_trained``.
        batch: Fixes the batch axis at this length; None leaves it free.

    Raises:
        UnsupportedOperatorError: TFLite has no builtin for an operator, or can't keep the batch axis free.
    """
    tf = require("tensorflow", needed_for="TFLite out")
    with savedmodel_of(trained, batch=batch) as folder:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        try:
            content: bytes = converter.convert()
        except Exception as error:  # the converter's errors share no public base
            raise _unsupported(error, batch=batch) from error
    return content


@contextlib.contextmanager
def savedmodel_of(trained: TrainedModel, *, batch: int | None) -> Iterator[Path]:
    """A temp folder with the hub format, which both the converter and its own quantizer start from."""
    with tempfile.TemporaryDirectory(prefix="tinsmith-") as folder:
        _write_savedmodel(trained, Path(folder), batch=batch)
        yield Path(folder)


def _write_savedmodel(trained: TrainedModel, folder: Path, *, batch: int | None) -> None:
    """Write the hub format: a SavedModel with one signature, and constants instead of variables."""
    tf = require("tensorflow", needed_for="converting a model")
    constant, signature = frozen_function(trained, batch=batch)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        concrete = tf.function(constant).get_concrete_function(**signature)
        tf.saved_model.save(tf.Module(), str(folder), signatures={_SIGNATURE: concrete}, options=options)


def _unsupported(error: Exception, *, batch: int | None) -> UnsupportedOperatorError:
    text = str(error)
    if "element_shape" in text and batch is None:
        return UnsupportedOperatorError(
            "TFLite can't run a recurrent layer (LSTM, GRU, RNN) with a free batch axis",
            hint="fix it: --batch 1, or in a recipe `- kind: convert` with `batch: 1`",
        )
    named = sorted(set(re.findall(r"tf\.[A-Z]\w+", text)))
    said = ", ".join(named) if named else first_line(error)[:300]
    return UnsupportedOperatorError(
        f"TFLite has no builtin operator for {said}",
        hint="replace the layer that uses it, or convert to .onnx instead",
    )
