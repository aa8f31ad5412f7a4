"""Where Keras 3 loses a mask on the way, which tf_keras would heed.

When a MultiHeadAttention of Keras 3 runs, it takes the masks off the tensors that it is given, for all layers that are
computed after it too. So in a stack of encoder blocks only the first one heeds the padding. Nothing in the graph says
so: it shows only when the model runs. The copy must do the same, whether or not Keras meant it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.convert.bridge.engines import keras
from tinsmith.convert.bridge.graph import graph_of, nodes_of
from tinsmith.convert.bridge.samples import on_seeded_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

__all__ = ["uses_without_mask"]


def uses_without_mask(model: Any) -> frozenset[tuple[int, int]]:
    """Run the model once, and look which tensors carry no mask at the moment when they are used.

    Nested models count as one operation: what happens within them is not seen.

    Returns:
        Pairs of the ids of two symbolic tensors: the first one that a call gives, and one that it is given.
    """
    return on_seeded_inputs(model, lambda arrays: _observed(graph_of(model), arrays))[1]


def _observed(graph: Any, arrays: list[npt.NDArray[Any]]) -> frozenset[tuple[int, int]]:
    seen: list[list[Any]] = []
    tensors = [keras().ops.convert_to_tensor(array) for array in arrays]
    # The one place where Keras lets somebody watch the calls while a graph runs.
    graph._run_through_graph(tensors, operation_fn=lambda operation: _watched(operation, seen))  # noqa: SLF001
    found = set()
    for node, masks in zip(nodes_of(graph), seen, strict=True):
        given = keras().tree.flatten((node.arguments.args, node.arguments.kwargs))
        for tensor, mask in zip(given, masks, strict=True):
            if isinstance(tensor, keras().KerasTensor) and mask is None:
                found.add((id(node.outputs[0]), id(tensor)))
    return frozenset(found)


def _watched(operation: Any, seen: list[list[Any]]) -> Callable[..., Any]:
    """The operation, which first notes the mask of each of its arguments."""

    def call(*args: Any, **kwargs: Any) -> Any:
        seen.append([getattr(value, "_keras_mask", None) for value in keras().tree.flatten((args, kwargs))])
        return operation(*args, **kwargs)

    return call
