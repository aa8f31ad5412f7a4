"""Building a Keras 3 model again with layers of tf_keras, call by call."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.bridge import operations
from tinsmith.convert.bridge.engines import keras, numpy_of, op_layers, tensorflow, tf_keras
from tinsmith.convert.bridge.graph import Call, calls_of, graph_of, is_model
from tinsmith.convert.bridge.masks import uses_without_mask
from tinsmith.convert.bridge.names import Names
from tinsmith.convert.bridge.obstacles import Obstacle, RefusalError, unsupported
from tinsmith.convert.bridge.step import Step
from tinsmith.convert.bridge.survey import Survey, survey
from tinsmith.runtime.errors import first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Rebuilt", "Trace", "rebuild"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one call gave in both models.

    Attributes:
        operation: Of Keras 3.
        source: Its symbolic tensors in Keras 3.
        target: Those in tf_keras.
    """

    operation: Any
    source: tuple[Any, ...]
    target: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A model of tf_keras with the source's graph, and weights that nobody has set yet.

    Attributes:
        model: Of tf_keras.
        weighted: Pairs of a layer of the source and the layer that takes its weights.
        traces: The calls in the order in which they are computed; those within nested models count as one.
    """

    model: Any
    weighted: Sequence[tuple[Any, Any]]
    traces: Sequence[Trace]


def rebuild(model: Any) -> Rebuilt:
    """Build the model again with layers of tf_keras.

    Raises:
        UnsupportedOperatorError: Layers can't cross; each of them is named.
    """
    found = survey(model)
    if found.obstacles:
        raise unsupported(found.obstacles)
    replay = _Replay(model, found, {}, is_whole=True)
    target = replay.run()
    return Rebuilt(model=target, weighted=found.weighted(), traces=replay.traces)


class _Replay:
    """One model's calls, played again with what stands in for its layers."""

    def __init__(self, model: Any, found: Survey, models: dict[int, Any], *, is_whole: bool) -> None:
        self.traces: list[Trace] = []
        self._model = model
        self._graph = graph_of(model)
        self._found = found
        self._names = found.names[id(model)]
        self._models = models
        self._is_whole = is_whole
        self._tensors = {id(tensor): _input(tensor, self._names) for tensor in self._graph.inputs}
        self._unmasked: dict[int, Any] = {}

    def run(self) -> Any:
        """The model of tf_keras."""
        for call in calls_of(self._graph):
            outputs = self._play(call)
            self._tensors.update({id(source): target for source, target in zip(call.outputs, outputs, strict=True)})
            self.traces.append(Trace(operation=call.operation, source=call.outputs, target=outputs))
        ends = (self._graph.input, self._graph.output)
        inputs, outputs = keras().tree.map_structure(lambda tensor: self._tensors[id(tensor)], ends)
        target = tf_keras().Model(inputs, outputs, name=Names.legal(self._model.name))
        if not self._model.trainable:
            target.trainable = False
        return target

    def _play(self, call: Call) -> tuple[Any, ...]:
        arguments = (call.args, call.kwargs)
        args, kwargs = keras().tree.map_structure(lambda value: self._argument(value, call), arguments)
        try:
            outputs = self._apply(call, args, kwargs)
        except RefusalError as refusal:
            raise unsupported([Obstacle.of(call.operation, refusal)]) from refusal
        except (TypeError, ValueError, NotImplementedError, tensorflow().errors.OpError) as error:
            reason = f"is called in a way that tf_keras does not take: {first_line(error)}"
            raise unsupported([Obstacle.of(call.operation, RefusalError(reason))]) from error
        flat = tuple(keras().tree.flatten(outputs))
        if getattr(call.operation, "supports_masking", False):
            return flat
        # Keras 3 drops the mask here; a layer that stands for an operation would hand it on. Within a nested model
        # nothing shows of a mask that comes from outside, so that one must be expected.
        expected = not self._is_whole and self._found.has_masks()
        return tuple(self._without_mask(tensor, is_expected=expected) for tensor in flat)

    def _apply(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operation = call.operation
        if id(operation) in self._found.twins:
            return self._found.twins[id(operation)](*args, **kwargs)
        if is_model(operation):
            return self._nested(operation)(*args, **kwargs)
        step = Step(operation=operation, dtype=call.outputs[0].dtype, names=self._names)
        return operations.replay(step, args, kwargs)

    def _nested(self, model: Any) -> Any:
        if id(model) not in self._models:
            self._models[id(model)] = _Replay(model, self._found, self._models, is_whole=False).run()
        return self._models[id(model)]

    def _argument(self, value: Any, call: Call) -> Any:
        """A tensor's partner; constants of any backend become numbers that tf_keras can save."""
        if isinstance(value, keras().KerasTensor):
            tensor = self._tensors[id(value)]
            return self._without_mask(tensor) if self._has_lost_mask(value, tensor, call) else tensor
        if isinstance(value, keras().Variable) or keras().ops.is_tensor(value):
            return numpy_of(value)
        return value.item() if isinstance(value, np.generic) else value

    def _has_lost_mask(self, value: Any, tensor: Any, call: Call) -> bool:
        """Whether the call heeds the mask of its argument in tf_keras, but finds none in Keras 3."""
        if call.heeds or getattr(tensor, "_keras_mask", None) is None or not _uses_masks(call.operation):
            return False
        return (id(call.outputs[0]), id(value)) in self._uses_without_mask

    @cached_property
    def _uses_without_mask(self) -> frozenset[tuple[int, int]]:
        """Found out only where a mask comes up; a model within another one is not run by itself."""
        return uses_without_mask(self._model) if self._is_whole else frozenset()

    def _without_mask(self, tensor: Any, *, is_expected: bool = False) -> Any:
        """The same numbers without the mask that they have, or may get."""
        if getattr(tensor, "_keras_mask", None) is None and not is_expected:
            return tensor
        if id(tensor) not in self._unmasked:
            identity = op_layers().TFOpLambda(tensorflow().identity, name=self._names.further("unmasked"))
            self._unmasked[id(tensor)] = identity(tensor)
        return self._unmasked[id(tensor)]


def _uses_masks(operation: Any) -> bool:
    is_layer = isinstance(operation, keras().layers.Layer)
    return is_layer and any(name.endswith("mask") for name in inspect.signature(operation.call).parameters)


def _input(tensor: Any, names: Names) -> Any:
    layer = tensor._keras_history.operation  # noqa: SLF001 - the only way from a tensor to its layer
    return tf_keras().Input(batch_shape=tuple(tensor.shape), dtype=tensor.dtype, name=names.own(layer.name))
