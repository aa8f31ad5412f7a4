"""The graph of a Keras 3 model as a list of calls, each with the arguments that matter."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.bridge.engines import keras
from tinsmith.convert.bridge.obstacles import RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Call", "calls_of", "graph_of", "is_model", "nodes_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a layer or an operation while the model was built.

    Attributes:
        operation: What was called; the same one stands in several calls where it is shared.
        args: Its arguments by position, in which symbolic tensors stand for the outputs of other calls.
        kwargs: Its arguments by name, without what Keras filled in by itself.
        outputs: The symbolic tensors that it gave.
        heeds: Whether Keras fixed the mask of its input at that time; its `mask` is then left out of ``kwargs``.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Any, ...]
    heeds: bool = False

    def tensors(self) -> Iterator[Any]:
        """The symbolic tensors among its arguments."""
        for value in keras().tree.flatten((self.args, self.kwargs)):
            if isinstance(value, keras().KerasTensor):
                yield value


def is_model(operation: Any) -> bool:
    """Whether an operation is a model, used as a layer."""
    return isinstance(operation, keras().Model)


def graph_of(model: Any) -> Any:
    """The functional graph of a functional or sequential model.

    Raises:
        RefusalError: The model has none: it is a class with code of its own, or was never built.
    """
    if not type(model).call.__module__.startswith("keras.src."):
        raise RefusalError(
            "is a model class with a call() of its own, so that there is no graph to follow",
            hint="build the same model with the functional API: keras.Model(inputs, outputs)",
        )
    # A sequential model keeps its graph to itself, and no public name leads there.
    graph = model._functional if isinstance(model, keras().Sequential) else model  # noqa: SLF001
    if not isinstance(graph, keras().Function):
        raise RefusalError(
            "has no graph, because it was never built", hint="give it an input: keras.Input(shape), or model.build(...)"
        )
    return graph


def calls_of(graph: Any) -> list[Call]:
    """The calls that the graph's outputs need, each after those that it needs itself; inputs are left out."""
    calls = [_call(node) for node in nodes_of(graph)]
    needed = _needed(calls, graph.outputs)
    return [call for call in calls if id(call) in needed]


def nodes_of(graph: Any) -> list[Any]:
    """The nodes of the graph in the order in which Keras computes them; inputs are left out."""
    by_depth = graph._nodes_by_depth  # noqa: SLF001 - the nodes have no public name
    ordered = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    return [node for node in ordered if not node.is_input]


def _needed(calls: list[Call], outputs: list[Any]) -> set[int]:
    """What the outputs need. Masks that Keras only computes for itself fall away: tf_keras does so too."""
    makers = {id(tensor): call for call in calls for tensor in call.outputs}
    needed: set[int] = set()
    waiting = list(outputs)
    while waiting:
        call = makers.get(id(waiting.pop()))
        if call is not None and id(call) not in needed:
            needed.add(id(call))
            waiting.extend(call.tensors())
    return needed


def _call(node: Any) -> Call:
    args, kwargs, outputs = node.arguments.args, node.arguments.kwargs, tuple(node.outputs)
    if not isinstance(node.operation, keras().layers.Layer):
        return Call(operation=node.operation, args=args, kwargs=kwargs, outputs=outputs)
    spoken, named = _spoken(node.operation, args, kwargs)
    heeds = kwargs.get("mask") is not None and "mask" not in named
    return Call(operation=node.operation, args=spoken, kwargs=named, outputs=outputs, heeds=heeds)


def _spoken(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the model's author said when calling a layer: its first argument, and the others by their names.

    By name, because from the second on they stand in another order in tf_keras.
    """
    parameters = inspect.signature(layer.call).parameters
    said = dict(zip(parameters, args, strict=False)) | kwargs
    first = said.pop(next(iter(parameters)))
    kept = {key: value for key, value in said.items() if not _is_filled_in(key, value, first, parameters)}
    return (first,), kept


def _is_filled_in(key: str, value: Any, first: Any, parameters: Any) -> bool:
    """Whether Keras added an argument by itself: it does so with `training` and with the masks of the input."""
    if key == "training":
        return bool(value == parameters[key].default) if key in parameters else value is None
    flat = keras().tree.flatten(value)
    if key != "mask":
        return all(part is None for part in flat)
    masks = [getattr(tensor, "_keras_mask", None) for tensor in keras().tree.flatten(first)]
    return all(part is None for part in flat) or [id(part) for part in flat] == [id(mask) for mask in masks]
