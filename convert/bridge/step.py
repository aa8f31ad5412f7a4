"""One operation of Keras 3 that is being replayed, and the ways to add what stands for it to a tf_keras model."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.bridge.engines import op_layers, tensorflow, tf_keras

if TYPE_CHECKING:
    from tinsmith.convert.bridge.names import Names

__all__ = ["Step", "is_symbolic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation that is being replayed.

    Attributes:
        operation: Of Keras 3, with its settings as attributes.
        dtype: What it gives.
        names: Where the names of the new layers come from.
    """

    operation: Any
    dtype: str
    names: Names

    def called(self) -> str:
        """A name for the layer that stands for the operation."""
        return self.names.own(self.operation.name)

    def function(self, symbol: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function of TensorFlow, such as ``math.rsqrt``, as a layer."""
        function = attrgetter(symbol)(tensorflow())
        return op_layers().TFOpLambda(function, name=self.called())(*args, **kwargs)

    def layer(self, kind: str, inputs: Any, **settings: Any) -> Any:
        """Call a layer of tf_keras."""
        made = getattr(tf_keras().layers, kind)(name=self.called(), dtype=self.dtype, **settings)
        return made(inputs)

    def cast(self, value: Any, dtype: str) -> Any:
        """A tensor or a constant in another dtype."""
        if is_symbolic(value):
            return value if value.dtype.name == dtype else self.function("cast", value, dtype)
        return np.asarray(value).astype(dtype)


def is_symbolic(value: Any) -> bool:
    """Whether a value is a tensor of the model that is being built, not a constant."""
    return isinstance(value, tf_keras().__internal__.KerasTensor)
