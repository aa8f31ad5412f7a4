"""tfmot's rounding around a model's layers while it trains, and the int8 file that comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.training.held import Held, Zeros
from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import ModelError, UnsupportedOperatorError, first_line
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Rounding"]

_NEEDED_FOR = "quantization-aware training"
_RANGE_BATCHES = 8
_RANGE_BATCH = 64
# A clustered layer has at most so many values, and many times as many weights.
_CLUSTERED = 64


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """A model whose layers round what they hold and give while it trains.

    Attributes:
        wrapped: The model to train; a copy.
        stay_float: Why a layer does not round, by its name.
        kept: What of the weights is kept while they train: their zeros, their shared values, both, or nothing.
        zeros: Where weights were zero.
    """

    wrapped: TrainedModel
    stay_float: dict[str, str]
    kept: str
    zeros: Zeros

    @classmethod
    def of(cls, model: TrainedModel, *, made: Collection[str]) -> Rounding:
        """Wrap every layer that tfmot can; a whole model it would refuse for one layer that it doesn't know.

        Args:
            model: Of tf_keras.
            made: Forms that earlier steps have brought the weights into; where they made none, the weights are asked.

        Raises:
            UnsupportedOperatorError: There is no such layer, or tfmot refuses the graph.
        """
        tfmot = require("tensorflow_model_optimization", needed_for=_NEEDED_FOR)
        keras = require("tf_keras", needed_for=_NEEDED_FOR)
        _mend_weights_before_relu()
        known, stay_float = _registry(), {}
        annotated = tfmot.quantization.keras.quantize_annotate_layer

        def annotate(layer: Any) -> Any:
            if isinstance(layer, keras.layers.InputLayer):
                return layer
            if type(layer).__name__ == "Rescaling":
                return annotated(layer, quantize_config=_output_alone())
            if not (known.supports(layer) or _folds(layer)) or "Separable" in type(layer).__name__:
                stay_float[layer.name] = f"tfmot does not know {type(layer).__name__}"
                return layer
            return annotated(layer)

        marked = keras.models.clone_model(model.native, clone_function=annotate)
        marked.set_weights(model.native.get_weights())
        zeros = Zeros.of(model.native, pruned="sparse" in made)
        kept = _kept(model.native, zeros, made)
        named = {type(config).__name__: type(config) for config in [_output_alone()]}
        try:
            with tfmot.quantization.keras.quantize_scope(named):
                wrapped = tfmot.quantization.keras.quantize_apply(
                    marked, scheme=_scheme(tfmot, kept), quantized_layer_name_prefix=""
                )
        except (ValueError, RuntimeError) as error:
            raise UnsupportedOperatorError(
                f"tfmot can't train this model with rounding: {first_line(error)}",
                hint="quantize with samples instead: kind: quantize, scheme: int8",
            ) from error
        return cls(wrapped=from_keras(wrapped, "tf_keras"), stay_float=stay_float, kept=" and ".join(kept), zeros=zeros)

    def measure_ranges(self, model: TrainedModel, dataset: Dataset, *, seed: int) -> None:
        """Start from the ranges that the float model has; tfmot's own start is -6 to 6, and moves slowly."""
        feeds = _some(model, dataset, seed)
        ranges = _Ranges(model, feeds)
        for layer in self.wrapped.native.layers:
            inner = getattr(layer, "layer", None)
            source = inner.name if inner is not None else _source_of(layer, model)
            for bound, variable in _bounds(layer):
                found = ranges.before_activation(source) if "pre_activation" in variable.name else ranges.of(source)
                if found is not None:
                    variable.assign(found[bound])

    def write_tflite(self, path: Path, *, io: str) -> None:
        """Write the int8 file with the ranges that were learned; raises ``ModelError`` where the converter can't."""
        tf = require("tensorflow", needed_for=_NEEDED_FOR)
        converter = tf.lite.TFLiteConverter.from_keras_model(self.wrapped.native)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if io == "int8":
            converter.inference_input_type = converter.inference_output_type = tf.int8
        try:
            content = converter.convert()
        except Exception as error:  # the converter raises whatever its passes raise
            raise ModelError(f"the TFLite converter can't write the trained model: {first_line(error)}") from error
        write_bytes(path, content)

    def stripped(self, model: TrainedModel) -> Any:
        """The float model with the trained weights; what was not wrapped keeps its own."""
        for layer in model.native.layers:
            if layer.weights:
                layer.set_weights([variable.numpy() for variable in self._trained(layer)])
        return model.native

    def held(self, model: TrainedModel) -> Held:
        """Zeros, and the shared values of layers that stay float: tfmot keeps those of the layers that it rounds.

        Args:
            model: The one that was wrapped.
        """
        layers = {layer.name: layer for layer in model.native.layers}
        zeros = self.zeros.held(lambda name: self._trained(layers[name]), layers)
        if "shared values" not in self.kept:
            return zeros
        return zeros | Held.whole(
            variable
            for name in self.stay_float
            for variable in self._trained(layers[name])
            if variable.shape.rank > 1 and _values(variable.numpy()) <= variable.numpy().size // 2
        )

    def _trained(self, layer: Any) -> list[Any]:
        """The variables that are trained for a layer of the float model, in the order of its weights."""
        for found in self.wrapped.native.layers:
            if not _rounds(found) and found.name == layer.name:
                return list(found.weights)
            if _rounds(found) and found.layer.name == layer.name:
                # a wrapper holds the weights of its layer beside its own
                by_name = {weight.name.split("/")[-1]: weight for weight in found.weights}
                return [by_name[weight.name.split("/")[-1]] for weight in layer.weights]
        # tfmot has put it into another layer, which keeps its weights
        return list(layer.weights)


def _rounds(layer: Any) -> bool:
    return "QuantizeWrapper" in type(layer).__name__


def _folds(layer: Any) -> bool:
    """A batch norm right behind weights: tfmot knows the pair."""
    if type(layer).__name__ != "BatchNormalization" or len(layer.inbound_nodes) != 1:
        return False
    before = layer.input._keras_history.layer  # noqa: SLF001 - how Keras says where a tensor comes from
    return type(before).__name__ in ("Conv2D", "DepthwiseConv2D", "Dense") and len(before.outbound_nodes) == 1


def _single(layer: Any) -> bool:
    return len(layer.inbound_nodes) == 1 and not isinstance(layer.output, list | tuple | dict)


def _source_of(layer: Any, model: TrainedModel) -> str | None:
    """The input that a layer rounds, for the one that tfmot puts behind it."""
    if type(layer).__name__ != "QuantizeLayer":
        return None
    source = layer.input._keras_history.layer.name  # noqa: SLF001 - how Keras says where a tensor comes from
    return source if source in {at.name for at in model.native.layers} else None


def _bounds(layer: Any) -> list[tuple[int, Any]]:
    """The lower and upper ends of what a layer gives; those of its weights are measured at each step anyway."""
    scalars = [weight for weight in layer.weights if weight.shape.rank == 0 and "kernel" not in weight.name]
    ends = [(weight.name.split(":")[0].rsplit("_", maxsplit=1)[-1], weight) for weight in scalars]
    return [(("min", "max").index(end), weight) for end, weight in ends if end in ("min", "max")]


def _some(model: TrainedModel, dataset: Dataset, seed: int) -> list[Any]:
    """A few hundred samples, one array an input."""
    mixed = dataset.mixed_batches(_RANGE_BATCH, seed=seed, epoch=0)
    batches = [batch.feeds for batch, _ in zip(mixed, range(_RANGE_BATCHES), strict=False)]
    return [np.concatenate([feeds[spec.name] for feeds in batches]) for spec in model.inputs]


class _Ranges:
    """Smallest and largest values inside a float model on some samples; 0 always lies between them."""

    def __init__(self, model: TrainedModel, feeds: list[Any]) -> None:
        self._model, self._feeds = model.native, feeds
        self._keras = require("tf_keras", needed_for=_NEEDED_FOR)
        tensors = {layer.name: layer.output for layer in self._model.layers if _single(layer)}
        self._found = dict(zip(tensors, map(_range, self._run(list(tensors.values()))), strict=True))

    def of(self, layer: str | None) -> tuple[float, float] | None:
        """Of what a layer gives; None for layers that the model does not have, or uses twice."""
        return self._found.get(layer or "")

    def before_activation(self, layer: str | None) -> tuple[float, float] | None:
        """Of what a layer's activation is given."""
        if layer not in self._found:
            return None
        found = self._model.get_layer(layer)
        (taken,) = self._run([found.input])
        activation = found.activation
        try:
            found.activation = self._keras.activations.linear
            return _range(found.call(self._keras.backend.constant(taken)))
        finally:
            found.activation = activation

    def _run(self, tensors: list[Any]) -> list[Any]:
        probe = self._keras.Model(self._model.inputs, tensors)
        outputs = probe.predict(self._feeds, batch_size=_RANGE_BATCH, verbose=0)
        return outputs if isinstance(outputs, list) else [outputs]


def _range(array: Any) -> tuple[float, float]:
    low, high = min(float(np.min(array)), 0.0), max(float(np.max(array)), 0.0)
    return low, max(high, low + 1e-6)


def _kept(model: Any, zeros: Zeros, made: Collection[str]) -> list[str]:
    """What earlier passes made of the weights: as they say, or told from the weights of a model that came so."""
    kernels = [layer.kernel.numpy() for layer in model.layers if getattr(layer, "kernel", None) is not None]
    large = [kernel for kernel in kernels if kernel.size >= 4 * _CLUSTERED]
    shared = "clustered" in made or (large and np.mean([_values(kernel) <= _CLUSTERED for kernel in large]) > 0.5)
    return [*(["zeros"] if zeros.masks else []), *(["shared values"] if shared else [])]


def _values(weights: Any) -> int:
    """How many different ones there are."""
    return len(np.unique(weights))


def _scheme(tfmot: Any, kept: list[str]) -> Any:
    combine = tfmot.experimental.combine
    if "shared values" in kept:
        scheme = combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity="zeros" in kept)
    elif "zeros" in kept:
        scheme = combine.Default8BitPrunePreserveQuantizeScheme()
    else:
        return _default_8bit("scheme").Default8BitQuantizeScheme()
    registry, known = scheme.get_quantize_registry(), _registry()
    supports = registry.supports
    # these two call every layer without weights supported, and then fail on those that the plain one does not know
    registry.supports = lambda layer: known.supports(layer) and supports(layer)
    scheme.get_quantize_registry = lambda: registry
    return scheme


def _mend_weights_before_relu() -> None:
    """Let tfmot round the weights of a layer that a ReLU follows directly.

    tfmot 0.8.1 takes all rounding from whatever stands before a ReLU, so that nothing is rounded between the two. For
    an Add that is all there is; a convolution or dense layer would train with float weights, and lose its zeros. Here
    only the rounding of its output goes, as tfmot itself does it in front of a batch norm.
    """
    transforms, stock = _part("default_8bit.default_8bit_transforms"), _default_8bit("configs").NoOpQuantizeConfig
    utils, activation = _part("utils"), _part("quantize_aware_activation").NoOpActivation

    def replacement(_: Any, relu: Any) -> Any:
        before = relu.input_layers[0]
        if before.layer["class_name"] == "Add":
            before.metadata["quantize_config"] = stock()
        elif before.layer["config"].get("activation") == "linear":
            before.layer["config"]["activation"] = utils.serialize_activation(activation(), use_legacy_format=True)
        return relu

    kind = transforms.LayerReLUQuantize
    kind.replacement = replacement
    kind.custom_objects = lambda _: {"NoOpQuantizeConfig": stock, "NoOpActivation": activation}


def _registry() -> Any:
    return _default_8bit("registry").Default8BitQuantizeRegistry()


def _output_alone() -> Any:
    """For a layer without weights that tfmot does not know, and the device does."""
    return _default_8bit("configs").Default8BitOutputQuantizeConfig()


def _default_8bit(part: str) -> Any:
    return _part(f"default_8bit.default_8bit_quantize_{part}")


def _part(module: str) -> Any:
    """What tfmot does not export."""
    package = "tensorflow_model_optimization.python.core.quantization.keras"
    return require(f"{package}.{module}", needed_for=_NEEDED_FOR)
