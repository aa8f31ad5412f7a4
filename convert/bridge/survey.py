"""Meeting every layer of a model before anything is built, so that all that can't cross is known at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinsmith.convert.bridge import operations
from tinsmith.convert.bridge.engines import keras
from tinsmith.convert.bridge.graph import calls_of, graph_of, is_model
from tinsmith.convert.bridge.layers import Twin, twin_of
from tinsmith.convert.bridge.names import Names
from tinsmith.convert.bridge.obstacles import Obstacle, RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Survey", "survey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What stands in for the layers of a model and of those within it.

    Layers and models are known by their identity, because what is shared in the source must be shared in the copy,
    also between a model and those within it.

    Attributes:
        twins: What stands in for a layer, by the layer's id.
        names: The names in a model, by the model's id.
        obstacles: Everything that can't cross.
    """

    twins: dict[int, Twin] = field(default_factory=dict)
    names: dict[int, Names] = field(default_factory=dict)
    obstacles: list[Obstacle] = field(default_factory=list)

    def has_masks(self) -> bool:
        """Whether a layer of the model, or of one within it, makes a mask."""
        layers = (twin.layer for twin in self.twins.values())
        return any(getattr(layer, "mask_zero", False) or type(layer).__name__ == "Masking" for layer in layers)

    def weighted(self) -> tuple[tuple[Any, Any], ...]:
        """Pairs of a layer of the source and the layer of tf_keras that takes its weights."""
        return tuple(pair for twin in self.twins.values() for pair in twin.weighted)


def survey(model: Any) -> Survey:
    """Make what stands in for each layer of the model and of those within it."""
    found, met = Survey(), {id(model)}
    _survey(model, found, met)
    return found


def _survey(model: Any, found: Survey, met: set[int]) -> None:
    try:
        graph = graph_of(model)
    except RefusalError as refusal:
        found.obstacles.append(Obstacle.of(model, refusal))
        return
    names = found.names[id(model)] = Names(operation.name for operation in graph.operations)
    for tensor in graph.inputs:
        _attempt(_check_input, tensor._keras_history.operation, found)  # noqa: SLF001 - the only way to its layer
    for call in calls_of(graph):
        if id(call.operation) not in met:
            met.add(id(call.operation))
            _meet(call.operation, names, found, met)


def _meet(operation: Any, names: Names, found: Survey, met: set[int]) -> None:
    if is_model(operation):
        _survey(operation, found, met)
    elif isinstance(operation, keras().layers.Layer):
        _attempt(lambda layer: found.twins.update({id(layer): twin_of(layer, names)}), operation, found)
    else:
        _attempt(operations.check, operation, found)


def _attempt(action: Callable[[Any], None], operation: Any, found: Survey) -> None:
    try:
        action(operation)
    except RefusalError as refusal:
        found.obstacles.append(Obstacle.of(operation, refusal))


def _check_input(layer: Any) -> None:
    for what in ("sparse", "ragged", "optional"):
        if getattr(layer, what, False):
            raise RefusalError(f"is a {what} input", hint="use a dense input that is always given")
    if layer.dtype == "string":
        raise RefusalError("takes strings", hint="do the lookup in the preprocessing: a device gets numbers")
