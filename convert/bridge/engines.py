"""The three frameworks that the bridge stands on, each imported when it is first needed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require

__all__ = ["keras", "numpy_of", "op_layers", "tensorflow", "tf_keras"]

if TYPE_CHECKING:
    import numpy.typing as npt

_NEEDED_FOR = "the bridge from Keras 3 to tf_keras"


def keras() -> Any:
    """Keras 3, where the source model comes from."""
    return require("keras", needed_for=_NEEDED_FOR)


def tf_keras() -> Any:
    """Keras 2, where the model goes."""
    return require("tf_keras", needed_for=_NEEDED_FOR)


def tensorflow() -> Any:
    """TensorFlow, whose functions stand in for Keras 3's operations."""
    return require("tensorflow", needed_for=_NEEDED_FOR)


def op_layers() -> Any:
    """The layers into which tf_keras wraps a TensorFlow function that is called on a symbolic tensor.

    tf_keras makes them by itself, but then numbers their names through the whole process. Made by hand they take
    the names of the source, so that the same model has the same names each time.
    """
    return require("tf_keras.src.layers", needed_for=_NEEDED_FOR)


def numpy_of(value: Any) -> npt.NDArray[Any]:
    """The numbers in a variable or a tensor of Keras 3, whichever backend holds them."""
    with warnings.catch_warnings():
        # NumPy 2 warns about the way in which variables of TensorFlow hand out their numbers; they hand them out.
        warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
        array: npt.NDArray[Any] = keras().ops.convert_to_numpy(value)
    return array
