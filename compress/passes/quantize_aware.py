"""Quantization-aware training: the model learns to live with 8 bits, then gets them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tinsmith.compress.passes.base import Effects, PassResult
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.compress.training.settings import TrainingStep
from tinsmith.convert.conversion import convert_model
from tinsmith.convert.model import Model
from tinsmith.convert.parity import INTEGER
from tinsmith.convert.quantization import Int8, Plan, arithmetic_for, choose_quantizer

if TYPE_CHECKING:
    from tinsmith.compress.bench import Bench
    from tinsmith.compress.training.workshop import Transformed, Workshop
    from tinsmith.convert.model import Format
    from tinsmith.convert.parity import Tolerance
    from tinsmith.convert.trained import TrainedModel

__all__ = ["QuantizeAware", "QuantizeAwareStep"]

_BATCH = 32


class QuantizeAwareStep(TrainingStep):
    """Train with every weight and activation rounded to 8 bits as the device will, and write the int8 artifact."""

    kind: Literal["quantize-aware"] = "quantize-aware"
    epochs: int = Field(default=3, ge=1, description="How often each training sample is seen, at most.")
    learning_rate: float = Field(default=1e-4, gt=0, description="At its peak; a cosine takes it to 0.")
    io: Literal["float32", "int8"] = Field(default="float32", description="What inputs and outputs store.")
    teacher_weight: float = Field(default=0.9, ge=0, le=1, description="Share of the loss that the teacher gives.")

    @property
    def effects(self) -> Effects:
        """As quantize."""
        return Effects(
            moves=frozenset(["file", "zip", "flash", "ram", "latency", "accuracy"]),
            remark="layers that tfmot does not know stay float and are listed",
        )


class QuantizeAware(TrainedPass):
    """tfmot's quantization-aware training (Jacob et al. 2018); zeros and shared values of earlier steps are kept."""

    kind: ClassVar[str] = "quantize-aware"
    reads = QuantizeAwareStep
    degrades = True
    makes = frozenset(["integers"])

    @property
    def gives(self) -> Format | None:
        """The int8 artifact itself: its ranges were learned."""
        return self._target

    @property
    def tolerance(self) -> Tolerance:
        """The artifact rounds what the trained model computes in full."""
        return INTEGER

    def transform(self, model: TrainedModel, shop: Workshop) -> Transformed:
        """Train with rounding, and write the TFLite file where that is the target.

        Raises:
            UnsupportedOperatorError: tfmot knows none of the layers.
        """
        from tinsmith.compress.training.rounding import Rounding
        from tinsmith.compress.training.workshop import Shaping, Transformed

        step = self._step
        rounding = Rounding.of(model, made=shop.task.made)
        rounding.measure_ranges(model, shop.train, seed=shop.seed)
        measured = shop.fit(rounding.wrapped, step, shaping=Shaping.holding(rounding.held(model)))
        measured |= {
            "kept": rounding.kept or "nothing",
            "stay float": "; ".join(f"{name}: {why}" for name, why in rounding.stay_float.items()) or "none",
        }
        artifact = None
        if self._target == "tflite":
            path = Path(f"{shop.task.output}.tflite")
            rounding.write_tflite(path, io=step.io)
            artifact = (str(path), "tflite")
        return Transformed(model=rounding.stripped(model), modified=True, measured=measured, artifact=artifact)

    def run(self, model: Model, bench: Bench) -> PassResult:
        """Train; for ONNX, the trained weights are quantized with ranges measured on the calibration samples."""
        result = super().run(model, bench)
        if self._target == "tflite" or bench.roles is None:
            return result
        wide, narrow = bench.place("trained.onnx"), bench.place("quantize-aware.onnx")
        convert_model(result.model, "onnx", wide, allow_unsafe=bench.allow_unsafe)
        samples = (batch.feeds for batch in bench.roles.calibration.batches(_BATCH))
        quantizer = choose_quantizer("onnx")
        plan = Plan(scheme=Int8(io=self._step.io), arithmetic=arithmetic_for(bench.cpu, "onnx"))
        quantizer.quantize(wide, narrow, plan, quantizer.calibrate(wide, samples))
        return PassResult(
            model=Model(path=narrow, format="onnx"),
            modified=True,
            measured=result.measured,
            stands_for=result.stands_for,
        )

    @property
    def _step(self) -> QuantizeAwareStep:
        assert isinstance(self._settings, QuantizeAwareStep)
        return self._settings
