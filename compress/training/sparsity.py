"""tfmot's magnitude pruning around a model, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.compress.training.density import erdos_renyi_kernel
from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinsmith.compress.passes.magnitude import MagnitudeStep
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Pruning", "prunable_weights"]

# How often the masks are drawn anew while the sparsity rises.
_UPDATES = 50


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """A model whose layers are pruned while it trains.

    Attributes:
        wrapped: The model to train; it shares the layers of the one it was made from.
        layers: Names of the layers that are pruned.
        left_dense: Why another layer with weights is not, by its name.
        sparsities: What each layer that could be pruned must come to, 0 for those that the allocation leaves dense.
        unpatterned: Pruned layers whose kernels can't take the pattern or block, and are pruned one by one.
    """

    wrapped: TrainedModel
    layers: tuple[str, ...]
    left_dense: dict[str, str]
    sparsities: dict[str, float]
    unpatterned: tuple[str, ...]

    @classmethod
    def of(cls, model: TrainedModel, step: MagnitudeStep, *, steps: int) -> Pruning:
        """Wrap every layer that tfmot can prune; a whole model it would refuse for one layer that it doesn't know.

        Args:
            model: Of tf_keras; its layers become part of the wrapped model.
            step: What to prune.
            steps: Of the optimizer, in all.

        Raises:
            UnsupportedOperatorError: tfmot knows none of the layers.
        """
        tfmot = require("tensorflow_model_optimization", needed_for="magnitude pruning").sparsity.keras
        keras = require("tf_keras", needed_for="magnitude pruning")
        left_dense: dict[str, str] = {}
        sparsities = _sparsities(model.native, step)

        def wrap(layer: Any) -> Any:
            if not _has_weights(layer):
                return layer
            if layer.name in step.skip:
                left_dense[layer.name] = "skipped by the recipe"
                return layer
            sparsity = sparsities.get(layer.name, step.wanted)
            if sparsity == 0:
                left_dense[layer.name] = "too small to spare any, by the allocation"
                return layer
            if not prunable_weights(layer):
                left_dense[layer.name] = f"tfmot prunes no weight of {type(layer).__name__}"
                return layer
            own = step if _takes(layer, step) else step.model_copy(update={"pattern": None, "block": (1, 1)})
            return tfmot.prune_low_magnitude(layer, **_settings(tfmot, own, steps, sparsity))

        wrapped = keras.models.clone_model(model.native, clone_function=wrap)
        found = [layer.layer for layer in wrapped.layers if hasattr(layer, "pruning_step")]
        if not found:
            raise UnsupportedOperatorError(
                f"there is nothing to prune: {'; '.join(left_dense.values()) or 'no layer has weights'}",
                hint="magnitude works on convolutions, dense, recurrent and embedding layers",
            )
        names = tuple(layer.name for layer in found)
        special = step.pattern is not None or step.block != (1, 1)
        return cls(
            wrapped=from_keras(wrapped, "tf_keras"),
            layers=names,
            left_dense=left_dense,
            sparsities={name: sparsities.get(name, step.wanted) for name in names}
            | {name: sparsity for name, sparsity in sparsities.items() if sparsity == 0},
            unpatterned=tuple(layer.name for layer in found if special and not _takes(layer, step)),
        )

    def at(self, step: int) -> None:
        """Tell the layers which step of the optimizer comes next."""
        for layer in self._wrappers():
            layer.pruning_step.assign(step)

    def apply_masks(self) -> None:
        """Set what is masked to zero: the optimizer has moved it since the last step."""
        for layer in self._wrappers():
            layer.pruning_obj.weight_mask_op()

    def stripped(self) -> TrainedModel:
        """The model without the wrappers."""
        tfmot = require("tensorflow_model_optimization", needed_for="magnitude pruning").sparsity.keras
        return from_keras(tfmot.strip_pruning(self.wrapped.native), "tf_keras")

    def _wrappers(self) -> list[Any]:
        return [layer for layer in self.wrapped.native.layers if hasattr(layer, "pruning_step")]


def prunable_weights(layer: Any) -> list[Any]:
    """What tfmot prunes of a layer: kernels mostly, but the embeddings, both weights of a recurrent cell, or nothing.

    Args:
        layer: Of tf_keras, built; what tfmot does not know has nothing to prune.
    """
    tfmot = require("tensorflow_model_optimization", needed_for="magnitude pruning").sparsity.keras
    if not _has_weights(layer):
        return []
    try:
        wrapper = tfmot.prune_low_magnitude(layer)
    except ValueError:
        return []
    # a model in the place of a layer gives a model, which is asked layer by layer
    return list(wrapper.layer.get_prunable_weights()) if hasattr(wrapper, "pruning_vars") else []


def _has_weights(layer: Any) -> bool:
    return bool(layer.trainable_weights) and type(layer).__name__ != "BatchNormalization"


def _sparsities(model: Any, step: MagnitudeStep) -> dict[str, float]:
    """By the name of each layer that tfmot prunes; nothing where all are pruned alike."""
    if step.allocation == "uniform":
        return {}
    shapes = {
        layer.name: {f"{layer.name}:{at}": _lengths(weight) for at, weight in enumerate(prunable_weights(layer))}
        for layer in model.layers
        if layer.name not in step.skip
    }
    if not any(shapes.values()):
        return {}
    shares = erdos_renyi_kernel({key: shape for of in shapes.values() for key, shape in of.items()}, step.sparsity)
    # a layer with several weights has one schedule: their mean, so that all layers still come to what was asked
    return {name: _mean({key: shares[key] for key in of}, of) for name, of in shapes.items() if of}


def _mean(shares: Mapping[str, float], shapes: Mapping[str, Sequence[int]]) -> float:
    """Of some weights together, each as much as its size."""
    sizes = {key: math.prod(shapes[key]) for key in shares}
    return sum(shares[key] * size for key, size in sizes.items()) / sum(sizes.values())


def _settings(tfmot: Any, step: MagnitudeStep, steps: int, sparsity: float) -> dict[str, Any]:
    end = max(1, round(steps * step.until))
    frequency = max(1, end // _UPDATES)
    if step.pattern is not None:
        keep, of = step.pattern
        # tfmot counts the zeros; the pattern fixes the sparsity, so that the schedule only says when
        schedule = tfmot.ConstantSparsity(1 - keep / of, begin_step=0, frequency=frequency)
        return {"pruning_schedule": schedule, "sparsity_m_by_n": (of - keep, of)}
    schedule = tfmot.PolynomialDecay(
        initial_sparsity=min(step.start, sparsity),
        final_sparsity=sparsity,
        begin_step=0,
        # the last update must fall on a multiple of the frequency, or the last share is never reached
        end_step=max(frequency, end // frequency * frequency),
        frequency=frequency,
    )
    return {"pruning_schedule": schedule, "block_size": step.block, "block_pooling_type": "AVG"}


def _takes(layer: Any, step: MagnitudeStep) -> bool:
    """Whether tfmot honours the pattern here: blocks need a weight of two axes, N:M one that divides."""
    shapes = [_lengths(weight) for weight in prunable_weights(layer)]
    if step.pattern is not None:
        return all(len(shape) in (2, 4) and shape[-2] % step.pattern[1] == 0 for shape in shapes)
    return step.block == (1, 1) or all(len(shape) == 2 for shape in shapes)


def _lengths(weight: Any) -> list[int]:
    return [int(n) for n in weight.shape]
