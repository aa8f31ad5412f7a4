"""Magnitude pruning: small weights become zero, in a pattern or wherever they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tinsmith.compress.passes.base import Effects
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.compress.training.settings import TrainingStep
from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    from tinsmith.compress.training.sparsity import Pruning
    from tinsmith.compress.training.workshop import Transformed, Workshop
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Magnitude", "MagnitudeStep"]

# Within a layer the threshold falls between two weights.
_ROUNDING = 0.01


class MagnitudeStep(TrainingStep):
    """Set the smallest weights of each layer to zero while training, more of them step by step."""

    kind: Literal["magnitude"] = "magnitude"
    sparsity: float = Field(default=0.5, gt=0, lt=1, description="Share of each layer's weights that become zero.")
    start: float = Field(default=0.3, ge=0, lt=1, description="Share that is zero from the beginning.")
    until: float = Field(default=0.5, gt=0, le=1, description="Share of the training after which all of them are.")
    pattern: tuple[int, int] | None = Field(
        default=None, description="N:M: [2, 4] keeps two of four neighbours; fixes the sparsity."
    )
    block: tuple[int, int] = Field(
        default=(1, 1),
        description="Rows and columns that become zero together; weights of two axes only, as dense layers have.",
    )
    allocation: Literal["uniform", "erk"] = Field(
        default="uniform",
        description="The same share in each layer, or more in large kernels and less in small ones (ERK), with the "
        "same in all.",
    )
    skip: tuple[str, ...] = Field(default=(), description="Names of layers that stay dense.")
    teacher_weight: float = Field(default=0.9, ge=0, le=1, description="Share of the loss that the teacher gives.")

    @model_validator(mode="after")
    def _one_pattern(self) -> MagnitudeStep:
        if self.pattern is not None and self.block != (1, 1):
            message = "give either pattern or block"
            raise ValueError(message)
        if self.pattern is not None and not 0 < self.pattern[0] < self.pattern[1]:
            message = "pattern [n, m] keeps n of m neighbours, n below m"
            raise ValueError(message)
        if self.allocation == "erk" and (self.pattern is not None or self.block != (1, 1)):
            message = "allocation: erk goes with neither pattern nor block"
            raise ValueError(message)
        return self

    @property
    def wanted(self) -> float:
        """The share of zeros that all pruned layers come to."""
        return self.sparsity if self.pattern is None else 1 - self.pattern[0] / self.pattern[1]

    @property
    def effects(self) -> Effects:
        """Zeros zip well, and that is all: no format here stores them in fewer bytes."""
        return Effects(
            moves=frozenset(["zip", "accuracy"]),
            remark="a .tflite and .onnx file stores zeros like any number; XNNPACK skips them only in 1x1 NHWC "
            "convolutions that are two thirds zeros or more",
        )


class Magnitude(TrainedPass):
    """tfmot's pruning (Zhu & Gupta 2017), layer by layer, with the sparsity held to what was asked."""

    kind: ClassVar[str] = "magnitude"
    reads = MagnitudeStep
    degrades = True
    makes = frozenset(["sparse"])
    undoes = frozenset(["clustered"])

    def transform(self, model: TrainedModel, shop: Workshop) -> Transformed:
        """Prune while training.

        Raises:
            UnsupportedOperatorError: tfmot knows none of the layers.
            VerificationError: The zeros are not there in the end.
        """
        from tinsmith.compress.training.sparsity import Pruning
        from tinsmith.compress.training.workshop import Shaping, Transformed

        step = self._step
        pruning = Pruning.of(model, step, steps=shop.steps(step))
        shaping = Shaping(before_step=pruning.at, settle=pruning.apply_masks, settled=step.until)
        measured = shop.fit(pruning.wrapped, step, shaping=shaping)
        stripped = pruning.stripped()
        return Transformed(
            model=stripped.native, modified=True, measured={**measured, **self._asserted(pruning, stripped)}
        )

    def _asserted(self, pruning: Pruning, stripped: TrainedModel) -> dict[str, float | str]:
        """Hold the stripped model to its sparsity: tfmot can lose all of it without a word."""
        wanted = pruning.sparsities
        found = [(name, *counted) for name in wanted for counted in _zeros(stripped.native.get_layer(name))]
        poor = [one for one in found if one[1] < wanted[one[0]] * one[2] - max(1, _ROUNDING * one[2])]
        if poor:
            name, zeros, size = poor[0]
            raise VerificationError(
                f"layer {name!r} should be {wanted[name]:.0%} zeros, and is {zeros / size:.0%}",
                hint="train longer: more epochs, or a larger dataset",
            )
        zeros, size = sum(one[1] for one in found), sum(one[2] for one in found)
        return {
            "sparsity of pruned layers": zeros / size,
            "layers pruned": len(pruning.layers),
            "left dense": "; ".join(f"{name}: {why}" for name, why in pruning.left_dense.items()) or "nothing",
            "without the pattern": ", ".join(pruning.unpatterned) or "none",
        }

    @property
    def _step(self) -> MagnitudeStep:
        assert isinstance(self._settings, MagnitudeStep)
        return self._settings


def _zeros(layer: Any) -> list[tuple[int, int]]:
    """Zeros and size of each weight that was pruned."""
    from tinsmith.compress.training.sparsity import prunable_weights

    arrays = [weight.numpy() for weight in prunable_weights(layer)]
    return [(int((array == 0).sum()), int(array.size)) for array in arrays]
