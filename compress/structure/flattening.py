"""Models used as layers, opened: one functional model whose layers are all plain ones.

What takes a model apart, wraps its layers or looks for them by name sees the layers of one model only, and the usual
transfer learning has its backbone in a model of its own within the model.
"""

from __future__ import annotations

import inspect
from collections import Counter
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["functional", "nodes_of"]

_NEEDED_FOR = "taking a model apart"


def functional(model: Any) -> Any:
    """A tf_keras model as a functional one, which says where each layer's inputs come from, without models inside.

    A model used as a layer stays one where its layers by themselves would compute something else: where it has code of
    its own, is given a mask, or changes the type or rank of what it is given.

    Args:
        model: Functional or sequential; it is not changed.

    Returns:
        A model that answers the same under the same names. Where no model was inside it shares the layers, and is the
        model itself if that is functional. Else all layers are copies: inner ones have their own name where it is
        free, and the enclosing model's before it where it isn't. A shared model's layers are shared.
    """
    keras = require("tf_keras", needed_for=_NEEDED_FOR)
    whole = keras.Model(model.inputs, model.outputs, name=model.name) if hasattr(model, "pop") else model
    if not _is_plain(model) or not any(_opens(node) for node in nodes_of(whole)):
        return whole
    return _Opening(whole).run()


def nodes_of(model: Any) -> Iterator[Any]:
    """Every use of a layer in a functional model, inputs before outputs; the inputs themselves are left out."""
    by_depth = model._nodes_by_depth  # noqa: SLF001 - the nodes have no public name
    for depth in sorted(by_depth, reverse=True):
        yield from (node for node in by_depth[depth] if not node.is_input)


class _Opening:
    """One model's calls, played again with copies of its layers and of those inside its models."""

    def __init__(self, model: Any) -> None:
        self._model = model
        # the outer layers come first, so that they keep their names
        self._names = {layer.name for layer in model.layers}
        self._copies: dict[int, tuple[Any, Any]] = {}

    def run(self) -> Any:
        keras = require("tf_keras", needed_for=_NEEDED_FOR)
        tf = require("tensorflow", needed_for=_NEEDED_FOR)
        model = self._model
        feeds = [self._copy(tensor._keras_history.layer, None).output for tensor in model.inputs]  # noqa: SLF001
        answers = self._named(self._play(model, feeds, within=None, training=None))
        inputs = tf.nest.pack_sequence_as(model.input, feeds)
        flat = keras.Model(inputs, tf.nest.pack_sequence_as(model.output, answers), name=model.name)
        for layer, copy in self._copies.values():
            copy.set_weights(layer.get_weights())
        return flat

    def _play(self, model: Any, feeds: list[Any], *, within: str | None, training: Any) -> list[Any]:
        """What the model's layers give on these tensors.

        Args:
            model: The whole one, or one inside.
            feeds: In the order of its inputs.
            within: The inner model's name.
            training: What it was called with, which its layers inherit.
        """
        tensors = {str(id(tensor)): feed for tensor, feed in zip(model.inputs, feeds, strict=True)}
        for node in nodes_of(model):
            outputs = self._apply(node, tensors, within, training)
            tensors |= dict(zip(node.flat_output_ids, outputs, strict=True))
        return [tensors[str(id(tensor))] for tensor in model.outputs]

    def _apply(self, node: Any, tensors: dict[str, Any], within: str | None, training: Any) -> list[Any]:
        tf = require("tensorflow", needed_for=_NEEDED_FOR)
        # the node takes one out of each list for every place where the tensor stands
        many = {key: [tensors[key]] * len(node.flat_input_ids) for key in node.flat_input_ids}
        args, kwargs = node.map_arguments(many)
        if kwargs.get("training") is None and training is not None and _trains(node.layer):
            kwargs["training"] = training
        if _opens(node):
            feeds = [tensors[key] for key in node.flat_input_ids]
            return self._play(node.layer, feeds, within=node.layer.name, training=kwargs.get("training"))
        return list(tf.nest.flatten(self._copy(node.layer, within)(*args, **kwargs)))

    def _copy(self, layer: Any, within: str | None) -> Any:
        if id(layer) not in self._copies:
            name = layer.name if within is None else self._free(layer.name, within)
            copy = type(layer).from_config({**layer.get_config(), "name": name})
            self._copies[id(layer)] = layer, copy
        return self._copies[id(layer)][1]

    def _free(self, name: str, within: str) -> str:
        tries = chain([name, f"{within}_{name}"], (f"{within}_{name}_{number}" for number in count(1)))
        candidate = next(each for each in tries if each not in self._names)
        self._names.add(candidate)
        return candidate

    def _named(self, answers: list[Any]) -> list[Any]:
        """Answers that come from an inner model, behind a layer that does nothing and has that model's name."""
        keras = require("tf_keras", needed_for=_NEEDED_FOR)
        found: list[Any] = []
        uses: Counter[str] = Counter()
        for tensor, answer in zip(self._model.outputs, answers, strict=True):
            history = tensor._keras_history  # noqa: SLF001 - how Keras says where a tensor comes from
            name = history.layer.name
            if not _opens(history.layer.inbound_nodes[history.node_index]):
                found.append(answer)
                continue
            # a name that comes twice is numbered as those of a TrainedModel
            own = name if not uses[name] else f"{name}_out{uses[name]}"
            uses[name] += 1
            found.append(keras.layers.Activation("linear", name=own, dtype=answer.dtype.name)(answer))
        return found


def _opens(node: Any) -> bool:
    """Whether a node is the use of a model whose layers do the same by themselves."""
    inner = node.layer
    if not hasattr(inner, "layers") or not _is_plain(inner) or node.call_kwargs.get("mask") is not None:
        return False
    given, wanted = node.keras_inputs, inner.inputs
    packed = isinstance(node.call_args[0], dict) if node.call_args else True
    return not packed and [_form(tensor) for tensor in given] == [_form(tensor) for tensor in wanted]


def _is_plain(model: Any) -> bool:
    """Whether a model is its graph, without code of its own."""
    return type(model).call.__module__.startswith("tf_keras.") and bool(getattr(model, "_is_graph_network", False))


def _form(tensor: Any) -> tuple[str, int]:
    return tensor.dtype.name, len(tensor.shape)


def _trains(layer: Any) -> bool:
    return "training" in inspect.signature(layer.call).parameters
