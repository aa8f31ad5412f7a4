"""tfmot's rounding around a model's layers while it trains, and the int8 file that comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import ModelError, UnsupportedOperatorError, first_line
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Rounding"]

_NEEDED_FOR = "quantization-aware training"
_RANGE_BATCHES = 8
_RANGE_BATCH = 64
# A pruned layer has at least so many zeros; a dense one hardly any.
_SPARSE = 0.2
# A clustered layer has at most so many values, and many times as many weights.
_CLUSTERED = 64


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """A model whose layers round what they hold and give while it trains.

    Attributes:
        wrapped: The model to train; a copy.
        stay_float: Why a layer does not round, by its name.
        kept: What of the weights is kept while they train: their zeros, their shared values, both, or nothing.
    """

    wrapped: TrainedModel
    stay_float: dict[str, str]
    kept: str

    @classmethod
    def of(cls, model: TrainedModel) -> Rounding:
        """Wrap every layer that tfmot can; a whole model it would refuse for one layer that it doesn't know.

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
        kept = _kept(model.native)
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
        return cls(wrapped=from_keras(wrapped, "tf_keras"), stay_float=stay_float, kept=" and ".join(kept))

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
        # a wrapper holds the weights of its layer beside its own
        trained = {getattr(layer, "layer", layer).name: layer for layer in self.wrapped.native.layers}
        for layer in model.native.layers:
            source = trained.get(layer.name)
            if source is not None and layer.weights:
                by_name = {weight.name.split("/")[-1]: weight.numpy() for weight in source.weights}
                layer.set_weights([by_name[weight.name.split("/")[-1]] for weight in layer.weights])
        return model.native


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


def _kept(model: Any) -> list[str]:
    """What earlier passes made of the weights, told from the weights themselves."""
    kernels = [layer.kernel.numpy() for layer in model.layers if getattr(layer, "kernel", None) is not None]
    large = [kernel for kernel in kernels if kernel.size >= 4 * _CLUSTERED]
    if not large:
        return []
    kept = ["zeros"] if np.mean([np.mean(kernel == 0) >= _SPARSE for kernel in large]) > 0.5 else []
    shared = np.mean([len(np.unique(kernel)) <= _CLUSTERED for kernel in large]) > 0.5
    return [*kept, "shared values"] if shared else kept


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
