"""Quantize: fewer bits for weights and activations."""

from __future__ import annotations

import contextlib
import itertools
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from tinsmith.compress.passes.base import Effects, Needs, Pass, PassResult, Step
from tinsmith.convert.calibration import MeanSquaredError, load_calibration, method_named, save_calibration
from tinsmith.convert.model import Model
from tinsmith.convert.parity import FLOAT16, INTEGER
from tinsmith.convert.quantization import (
    Float16,
    Int8,
    Kept,
    Plan,
    WeightsInt4,
    WeightsInt8,
    arithmetic_for,
    choose_quantizer,
    scheme_named,
)
from tinsmith.convert.quantization.four_bits import narrowable
from tinsmith.convert.quantization.grid import FOUR_BITS, Grid
from tinsmith.convert.quantization.out_of_core import blocks_of, draft
from tinsmith.convert.quantization.weight_proof import prove_weights
from tinsmith.runtime.errors import RecipeError, TinsmithError
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.compress.bench import Bench
    from tinsmith.compress.passes.base import Quantity
    from tinsmith.convert.calibration import Calibration, Method
    from tinsmith.convert.layers import LayerReport
    from tinsmith.convert.model import Format
    from tinsmith.convert.parity import Tolerance
    from tinsmith.convert.quantization import Scheme
    from tinsmith.convert.rounding import Rounded

__all__ = ["Quantize", "QuantizeStep"]

logger = logging.getLogger(__name__)

# Batches; the mean of a channel needs no more, as both models see the same samples, and every layer runs them again.
_CORRECTED_ON = 2
_STATIC_FIELDS = ("calibration", "ranges", "rounding", "correct_biases", "keep")
_LOOKED_AT = 8
# Of a sha256, enough to tell the models of one run apart.
_TELLING = 16
_TRAINED: frozenset[Format] = frozenset(["keras", "hdf5", "savedmodel"])


class QuantizeStep(Step):
    """Store weights, and where the scheme says so activations, in fewer bits."""

    kind: Literal["quantize"] = "quantize"
    scheme: Literal["float16", "dynamic-int8", "int8", "int16x8", "weights-int8", "weights-int4"]
    io: Literal["float32", "int8"] = Field(
        default="float32",
        description="What int8 artifacts store in inputs and outputs; int8 for devices without floats.",
    )
    rounding: Literal["nearest", "second-order"] = Field(
        default="nearest",
        description="By itself, or so that each layer's outputs on samples move least; static schemes only.",
    )
    correct_biases: bool = Field(
        default=False, description="Take the mean error of each channel out of its bias; static schemes only."
    )
    weights: Literal["int8", "int4"] = Field(
        default="int8",
        description="Of scheme int8; int4 wherever a kernel takes it and keep says nothing else: smaller, and slower.",
    )
    keep: dict[str, Kept] = Field(
        default_factory=dict,
        description="Operators of another precision than the scheme's, by the first tensor that each computes; int8x4 "
        "is 4-bit weights beside 8-bit activations.",
    )
    engine: Literal["ai-edge-quantizer", "tflite-converter", "onnxruntime"] | None = Field(
        default=None, description="The tool; ai-edge-quantizer for TFLite and onnxruntime for ONNX unless given."
    )

    block_size: Literal[16, 32, 64, 128, 256] = Field(
        default=32, description="Weights of weights-int4 that share a scale: fewer are more exact, and take more room."
    )

    calibration: Literal["min-max", "moving-average", "percentile", "entropy", "mse"] = Field(
        default="min-max", description="How the ranges of activations are taken from what was observed."
    )
    ranges: str | None = Field(
        default=None, description="A calibration of the float model, from `tinsmith calibrate`, instead of samples."
    )

    @model_validator(mode="after")
    def _calibration_belongs_to_static_schemes(self) -> QuantizeStep:
        changed = [name for name in _STATIC_FIELDS if getattr(self, name) != type(self).model_fields[name].get_default(
            call_default_factory=True)]  # fmt: skip
        if changed and not self.typed_scheme().static:
            message = f"{changed[0]} goes with int8 and int16x8; {self.scheme} needs no ranges"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _io_belongs_to_int8(self) -> QuantizeStep:
        if self.io == "int8" and self.scheme != "int8":
            message = f"io: int8 goes with scheme: int8, not with {self.scheme}"
            raise ValueError(message)
        if self.weights == "int4" and self.scheme != "int8":
            message = f"weights: int4 goes with scheme: int8, not with {self.scheme}"
            raise ValueError(message)
        if self.block_size != WeightsInt4().block_size and self.scheme != WeightsInt4.name:
            message = f"block_size goes with scheme: weights-int4, not with {self.scheme}"
            raise ValueError(message)
        return self

    @property
    def needs(self) -> Needs:
        """Static schemes calibrate, unless somebody has done so before."""
        return Needs(data=self.typed_scheme().static and self.ranges is None)

    @property
    def effects(self) -> Effects:
        """Fewer bits in the file; fewer in memory where activations are integers too."""
        moves: frozenset[Quantity] = frozenset(["file", "zip", "flash", "accuracy"])
        if self.scheme == "float16":
            return Effects(moves=moves, remark="CPUs compute float16 models in float32: memory and latency stay")
        if self.scheme in ("dynamic-int8", "weights-int8", "weights-int4"):
            return Effects(moves=moves | {"latency"}, remark="activations stay float, so peak memory stays")
        return Effects(moves=moves | {"ram", "latency"})

    def typed_scheme(self) -> Scheme:
        """The scheme as the quantizers take it."""
        if self.scheme == WeightsInt4.name:
            return WeightsInt4(block_size=self.block_size)
        return Int8(io=self.io) if self.scheme == Int8.name else scheme_named(self.scheme)

    def typed_method(self) -> Method:
        """How ranges are taken, as the quantizers take it."""
        method = method_named(self.calibration)
        return MeanSquaredError(bits=16) if method == MeanSquaredError() and self.scheme == "int16x8" else method


class Quantize(Pass):
    """One quantizer with one scheme."""

    kind: ClassVar[str] = "quantize"
    reads = QuantizeStep
    makes = frozenset(["integers"])
    undoes = frozenset(["integers"])

    def __init__(self, step: QuantizeStep, *, target: Literal["tflite", "onnx"]) -> None:
        self._step = step
        self._plan = Plan(scheme=step.typed_scheme(), method=step.typed_method(), kept=step.keep)
        self._ranges = None if step.ranges is None else Path(step.ranges)
        self._quantizer = choose_quantizer(target, step.engine)
        self._quantizer.check(self._plan)
        if step.weights == "int4":  # whatever the operators are named
            self._quantizer.check(replace(self._plan, kept={"": "int8x4"}))

    @property
    def takes(self) -> frozenset[Format]:
        """A float artifact; the converter's own quantizer starts from the trained model."""
        return _TRAINED if self._quantizer.takes == "savedmodel" else frozenset([self._quantizer.takes])

    @property
    def gives(self) -> Format:
        """The target."""
        return self._quantizer.gives

    @property
    def tolerance(self) -> Tolerance:
        """Half precision rounds; integers lose."""
        return FLOAT16 if isinstance(self._plan.scheme, Float16) else INTEGER

    def preload(self) -> None:
        """Import the tool."""
        self._quantizer.preload()

    def streamed_bytes(self, model: Model) -> int | None:
        """Weights alone are brought into blocks one after the other; see ``Pass``."""
        scheme = self._plan.scheme
        if isinstance(scheme, WeightsInt8 | WeightsInt4) and self._streams:
            return draft(model.path, blocks_of(scheme)).output_bytes
        return None

    @property
    def _streams(self) -> bool:
        return self.gives == "onnx" and isinstance(self._plan.scheme, WeightsInt8 | WeightsInt4)

    def run(self, model: Model, bench: Bench) -> PassResult:
        """Quantize, calibrating on the samples that are for it where the scheme is static."""
        output = self._output(bench)
        with self._source(model, bench) as source:
            calibration = self._calibration(source, bench) if self._plan.scheme.static else None
            plan = self._plan_for(source, bench)
            rounded, moved = self._rounded(source, plan, bench)
            right, said = self._corrected(rounded, plan, calibration, bench)
            report = self._quantizer.quantize(right, output, plan, calibration)
        layers, seen = self._looked_at(model, output, bench)
        measured: dict[str, float | str] = {"engine": report.engine}
        if calibration is not None:
            measured |= _said_of(calibration, self._plan.method) | moved | said
        if plan.scheme.name == Int8.name:
            measured["integers"] = plan.arithmetic.said
        made = Model(path=output, format=self.gives)
        return PassResult(model=made, modified=True, measured=measured | seen, layers=layers)

    def _rounded(self, source: Path, plan: Plan, bench: Bench) -> tuple[Path, dict[str, float | str]]:
        """The float model with weights that lie on the grid so that its answers move least, if asked for."""
        if self._step.rounding == "nearest":
            return source, {}
        steps = plan.arithmetic.weight_steps
        if steps is None:
            raise RecipeError(
                "unsigned weights have a grid that is not even around 0, on which only rounding to the nearest works",
                hint="leave rounding out",
            )
        said: dict[str, float | str] = {"rounding": self._step.rounding}
        whole, found = self._on_grid(source, Grid(steps=steps), bench)
        if found is not None:
            said |= {"layers rounded": len(found.layers), "error left of rounding's": found.left}
        return self._mixed(whole, source, plan, bench), said

    def _on_grid(self, source: Path, grid: Grid, bench: Bench) -> tuple[Path, Rounded | None]:
        """All of its weights on one grid, and how that went.

        The ladder asks for it again and again, with other operators kept: it is worked out once for all of them.
        """
        from tinsmith.convert.rounding import round_weights

        whole = bench.shelf / f"rounded-{sha256_of(source)[:_TELLING]}-{grid.steps}{source.suffix}"
        if whole.exists():
            return whole, None
        return whole, round_weights(source, whole, bench.calibrating(), grid=grid)

    def _mixed(self, rounded: Path, source: Path, plan: Plan, bench: Bench) -> Path:
        """With the weights of what is kept as they were, and those of what has 4 bits on their own grid."""
        from tinsmith.convert.rounding import exchange

        mixed, narrow, floats = rounded, plan.kept_in("int8x4"), plan.kept_in("float32")
        if narrow:
            other, _ = self._on_grid(source, FOUR_BITS, bench)
            before, mixed = mixed, bench.place(f"narrow{source.suffix}")
            exchange(before, other, mixed, narrow)
        if floats:
            before, mixed = mixed, bench.place(f"rounded{source.suffix}")
            exchange(before, source, mixed, floats)
        return mixed

    def _corrected(
        self, source: Path, plan: Plan, calibration: Calibration | None, bench: Bench
    ) -> tuple[Path, dict[str, float | str]]:
        """The float model with biases that make up for what quantizing does to each channel's mean, if asked for."""
        if calibration is None or not self._step.correct_biases:
            return source, {}
        from tinsmith.convert.equalization import correct_biases

        output = bench.place(f"corrected{source.suffix}")
        if isinstance(plan.scheme, Int8):  # the same numbers, and ends that take samples as they are
            plan = replace(plan, scheme=Int8())

        def quantize(plain: Path, small: Path) -> None:
            self._quantizer.quantize(plain, small, plan, calibration)

        found = correct_biases(source, output, quantize, lambda: itertools.islice(bench.calibrating(), _CORRECTED_ON))
        return output, {"mean errors before": found.before, "mean errors after": found.after}

    def _looked_at(self, model: Model, output: Path, bench: Bench) -> tuple[LayerReport | None, dict[str, str]]:
        """What became of each layer, on a few calibration samples; a model that can't be looked into is still one."""
        if self._streams:
            return None, {"weights": str(prove_weights(model.path, output))}
        if bench.roles is None or not bench.looks or isinstance(self._plan.scheme, Float16):
            return None, {}
        from tinsmith.convert.layers import first_samples, layer_report

        try:
            plain = self._plain(model, bench)
            layers = layer_report(plain, output, first_samples(bench.roles.calibration, _LOOKED_AT))
        except TinsmithError as error:
            return None, {"layers": f"not compared: {error.message}"}
        if layers.culprits:
            # Said now, because a model that lost too much will not pass its proof, and nothing else would be said.
            logger.warning("quantize: %s", layers.in_short())
        return layers, {"layers": layers.in_short()}

    def _plain(self, model: Model, bench: Bench) -> Path:
        """The float artifact that the quantized one is held against."""
        if model.is_artifact:
            return model.path
        from tinsmith.convert.conversion import convert_model

        made = bench.place("float32.tflite")
        convert_model(model, "tflite", made, allow_unsafe=bench.allow_unsafe)
        return made

    def _output(self, bench: Bench) -> Path:
        """Named as the artifact: large weights lie beside it, under a name that it knows."""
        folder = bench.place(self._plan.scheme.name)
        folder.mkdir()
        return folder / (bench.artifact or f"{self._plan.scheme.name}.{self.gives}")

    def _plan_for(self, source: Path, bench: Bench) -> Plan:
        """With the integers that the device multiplies right, and the operators whose weights can be in 4 bits."""
        kept = self._plan.kept
        if self._step.weights == "int4":
            kept = {**dict.fromkeys(narrowable(source), "int8x4"), **kept}
        return replace(self._plan, kept=kept, arithmetic=arithmetic_for(bench.cpu, self.gives))

    def _calibration(self, source: Path, bench: Bench) -> Calibration:
        """The one that was saved, if it is of this model; else a new one, of no more detail than the method needs."""
        if self._ranges is None:
            return self._calibrated(source, bench)
        calibration = load_calibration(self._ranges)
        calibration.check_model(self._quantizer.fingerprint(source))
        return calibration

    def _calibrated(self, source: Path, bench: Bench) -> Calibration:
        """On the samples; kept beside the models in between, as the ladder quantizes the same one many times."""
        detail = self._plan.method.detail
        kept = bench.shelf / f"calibration-{self._quantizer.fingerprint(source)[:_TELLING]}-{detail}.npz"
        if kept.exists():
            return load_calibration(kept)
        found = self._quantizer.calibrate(source, bench.calibrating(), detail=detail)
        save_calibration(found, kept)
        return found

    @contextlib.contextmanager
    def _source(self, model: Model, bench: Bench) -> Iterator[Path]:
        """What the quantizer starts from; for the converter, which quantizes while it converts, the hub format."""
        if self._quantizer.takes != "savedmodel":
            yield model.path
            return
        from tinsmith.convert.loading import load_trained
        from tinsmith.convert.tflite_target import savedmodel_of

        trained = load_trained(model, allow_unsafe=bench.allow_unsafe)
        with savedmodel_of(trained, batch=None) as folder:
            yield folder


def _said_of(calibration: Calibration, method: Method) -> dict[str, float | str]:
    return {
        "calibration": method.name,
        "calibration samples": calibration.samples,
        "stability": str(calibration.stability(method)),
    }
