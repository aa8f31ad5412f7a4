"""A trained model in its framework: what goes in, what comes out, and a function that TensorFlow can trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import ModelError, first_line
from tinsmith.runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TrainedModel", "from_keras", "from_signature", "frozen_function", "traced_function"]


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model that still lives in the framework it was trained in.

    Attributes:
        framework: ``keras`` (Keras 3), ``tf_keras`` (Keras 2) or ``savedmodel``.
        native: The framework's own object.
        inputs: What goes in; names are unique and those of the model's input layers.
        outputs: What comes out; names are unique and those of the model's output layers.
        function: Maps a dict of tensors by input name to one by output name, in inference mode; can be traced. That
            of a Keras model takes ``training=True`` for the other mode.
    """

    framework: Literal["keras", "tf_keras", "savedmodel"]
    native: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    function: Callable[..., dict[str, Any]]
    _compiled: list[Any] = field(default_factory=list, repr=False)

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run one batch in inference mode.

        Args:
            feeds: One array an input name, the batch on axis 0.

        Raises:
            ModelError: TensorFlow failed.
        """
        tf = require("tensorflow", needed_for="running a Keras model or SavedModel")
        if not self._compiled:
            self._compiled.append(tf.function(self.function, reduce_retracing=True))
        tensors = {spec.name: tf.constant(feeds[spec.name], dtype=spec.dtype) for spec in self.inputs}
        try:
            answers = self._compiled[0](tensors)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise ModelError(f"the model failed while running: {first_line(error)}") from error
        return {name: tensor.numpy() for name, tensor in answers.items()}

    def signature(self, batch: int | None) -> dict[str, Any]:
        """TensorFlow's specs of the inputs, by name, with the batch axis as asked.

        Args:
            batch: Fixes a free first axis at this length; None leaves it free.
        """
        tf = require("tensorflow", needed_for="converting a Keras model or SavedModel")
        return {
            spec.name: tf.TensorSpec(
                (batch if spec.shape[0] is None else spec.shape[0], *spec.shape[1:]) if spec.shape else (),
                spec.dtype,
                name=spec.name,
            )
            for spec in self.inputs
        }


def from_keras(model: Any, framework: Literal["keras", "tf_keras"]) -> TrainedModel:
    """Wrap a Keras 3 or Keras 2 model that has symbolic inputs.

    Raises:
        ModelError: It has none: it was never built, or it is subclassed.
    """
    tf = require("tensorflow", needed_for="running a Keras model")
    if not getattr(model, "inputs", None):
        raise ModelError(
            f"the model {model.name!r} has no symbolic inputs, so its shapes are unknown",
            hint="build it with keras.Input(...) as its first layer, and save it again",
        )
    # A Sequential model has one input and no structure to pack it into.
    structure = model.inputs[0] if hasattr(model, "pop") else model.input
    source_names = _unique(_layer_name(tensor) for tensor in model.inputs)
    answer_names = _unique((_layer_name(tensor) for tensor in model.outputs), taken=source_names)

    def function(feeds: dict[str, Any], *, training: bool = False) -> dict[str, Any]:
        packed = tf.nest.pack_sequence_as(structure, [feeds[name] for name in source_names])
        answers = tf.nest.flatten(model(packed, training=training))
        return dict(zip(answer_names, answers, strict=True))

    return TrainedModel(
        framework=framework,
        native=model,
        inputs=_specs(source_names, model.inputs),
        outputs=_specs(answer_names, model.outputs),
        function=function,
    )


def from_signature(loaded: Any, signature: Any) -> TrainedModel:
    """Wrap one signature of a loaded SavedModel."""
    _, keyword = signature.structured_input_signature
    answers = signature.structured_outputs

    def function(feeds: dict[str, Any]) -> dict[str, Any]:
        return dict(signature(**feeds))

    return TrainedModel(
        framework="savedmodel",
        native=loaded,
        inputs=_specs(keyword, keyword.values()),
        outputs=_specs(answers, answers.values()),
        function=function,
    )


def traced_function(trained: TrainedModel, *, batch: int | None) -> Any:
    """The model as a concrete function of TensorFlow, traced with the model's own input names."""
    tf = require("tensorflow", needed_for="converting a model")

    def traced(**feeds: Any) -> Any:
        # An output that is an input needs a tensor of its own, or it has no name in the graph.
        return {name: tf.identity(tensor) for name, tensor in trained.function(feeds).items()}

    return tf.function(traced).get_concrete_function(**trained.signature(batch))


def frozen_function(trained: TrainedModel, *, batch: int | None) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The model's function with constants instead of variables, and the signature it is traced with.

    Variables would become READ_VARIABLE operators, which older engines can't run, would keep the converters from
    folding batch normalization, and captured ones would become inputs of an ONNX graph.

    Args:
        trained: From ``load_trained``.
        batch: Fixes a free batch axis at this length; None leaves it free.

    Returns:
        A function of keyword tensors that gives a dict by output name, and TensorFlow's spec of each keyword.
    """
    tf = require("tensorflow", needed_for="converting a model")
    freezing = require("tensorflow.python.framework.convert_to_constants", needed_for="converting a model")
    frozen = freezing.convert_variables_to_constants_v2(traced_function(trained, batch=batch))
    frozen = _named_alike(tf, frozen)
    sources = [tensor.name.split(":")[0] for tensor in frozen.inputs]
    # A traced dict comes back as a flat list in the order of its sorted keys.
    answers = sorted(spec.name for spec in trained.outputs)

    def constant(**feeds: Any) -> Any:
        flat = dict(zip(answers, tf.nest.flatten(frozen(*(feeds[name] for name in sources))), strict=True))
        return {spec.name: flat[spec.name] for spec in trained.outputs}

    return constant, trained.signature(batch)


def _named_alike(tf: Any, frozen: Any) -> Any:
    """The same function, its constants named alike whenever it is made.

    The weights of a loaded SavedModel are named after a number that TensorFlow counts up as long as the process lives.
    Converters make names of tensors of it, and recipes name tensors.
    """
    definition = frozen.graph.as_graph_def()
    counted = sorted((node.name for node in definition.node if node.name.isdigit()), key=int)
    if not counted:
        return frozen
    names = {old: f"captured_{number}" for number, old in enumerate(counted)}
    for node in definition.node:
        node.name = names.get(node.name, node.name)
        node.input[:] = [_renamed(source, names) for source in node.input]
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    return wrapped.prune([tensor.name for tensor in frozen.inputs], [tensor.name for tensor in frozen.outputs])


def _renamed(source: str, names: Mapping[str, str]) -> str:
    """An input of a node: ``name``, ``name:1``, or ``^name`` for one that only has to come first."""
    first = "^" if source.startswith("^") else ""
    name, colon, index = source.removeprefix("^").partition(":")
    return f"{first}{names.get(name, name)}{colon}{index}"


def _layer_name(tensor: Any) -> str:
    """The name of the layer that a symbolic tensor comes from; it is the same each time the file is loaded."""
    history = getattr(tensor, "_keras_history", None)
    layer = getattr(history, "operation", None) or getattr(history, "layer", None)
    return str(layer.name if layer is not None else tensor.name.split(":")[0].split("/")[0])


def _unique(names: Iterable[str], *, taken: Sequence[str] = ()) -> list[str]:
    """Number names that come twice: a layer may have two outputs, and an input may be an output as well."""
    found: list[str] = []
    for name in names:
        candidate, number = name, 0
        while candidate in (*found, *taken):
            number += 1
            candidate = f"{name}_out{number}"
        found.append(candidate)
    return found


def _specs(names: Iterable[str], tensors: Iterable[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, dtype=_dtype(tensor.dtype), shape=tuple(tensor.shape))
        for name, tensor in zip(names, tensors, strict=True)
    )


def _dtype(dtype: Any) -> str:
    name = dtype if isinstance(dtype, str) else dtype.name
    return "str" if name == "string" else name
