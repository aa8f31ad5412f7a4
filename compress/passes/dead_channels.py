"""Dead channels: what is constant or unread goes, without data, without training, and without another answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tinsmith.compress.passes.base import Effects, Pass, PassResult, Step
from tinsmith.convert.model import Model
from tinsmith.convert.parity import Tolerance

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.compress.bench import Bench
    from tinsmith.compress.dead_channels.outcome import Limits, Outcome
    from tinsmith.convert.model import Format

__all__ = ["DeadChannels", "DeadChannelsStep"]

# Half the distance between 1 and the next float32: what can't move an answer of that size.
_HALF_A_STEP = 2.0**-24
_LISTED = 8


class DeadChannelsStep(Step):
    """Fold channels that are constant into what reads them, and leave out what nothing reads."""

    kind: Literal["dead-channels"] = "dead-channels"
    bound: float = Field(
        default=_HALF_A_STEP,
        ge=0,
        lt=1e-5,
        description="The most that all outputs together may move by, in exact arithmetic; less where the largest "
        "answer is below 1, in proportion.",
    )
    largest_input: float = Field(
        default=1e4,
        gt=0,
        allow_inf_nan=False,
        description="No number that goes in is larger in magnitude, unless a sample is.",
    )

    @property
    def effects(self) -> Effects:
        """Everything shrinks that has dead channels; the answers stay."""
        return Effects(
            moves=frozenset(["file", "zip", "flash", "ram", "latency"]), remark="as far as channels are dead"
        )


class DeadChannels(Pass):
    """Channels of which it can be proven that no answer needs them; see ``dead_channels.analysis``."""

    kind: ClassVar[str] = "dead-channels"
    reads = DeadChannelsStep

    def __init__(self, step: DeadChannelsStep, *, target: Literal["tflite", "onnx"]) -> None:  # noqa: ARG002 - as every pass
        self._step = step

    @property
    def takes(self) -> frozenset[Format]:
        """Whatever stores weights in float32 and says what it does with them; a SavedModel has no layers any more."""
        return frozenset(["keras", "hdf5", "tflite", "onnx"])

    @property
    def gives(self) -> Format | None:
        """The same."""
        return None

    @property
    def tolerance(self) -> Tolerance:
        """Shorter sums are added in another order; the bound itself is far below."""
        return Tolerance(name="without dead channels", relative=1e-5, least=0.0)

    def run(self, model: Model, bench: Bench) -> PassResult:
        """Find them, take them out, and run both models on the same samples.

        Raises:
            UnsupportedOperatorError: The model is quantized.
            VerificationError: An answer differs.
        """
        from tinsmith.compress.dead_channels.proof import limits_of, prove_equal

        step = self._step
        limits = limits_of(model, bench, bound=step.bound, largest_input=step.largest_input)
        output = bench.place(f"dead-channels{_SUFFIXES[model.format]}")
        outcome = _written(model, output, limits, bench)
        measured = _measured(outcome, limits)
        if not outcome.removal.removed:
            return PassResult(model=model, modified=False, measured=measured)
        smaller = Model(path=output, format=model.format)
        found = prove_equal(model, smaller, tolerance=self.tolerance, bench=bench)
        measured |= {"largest difference": found.largest, "samples": found.samples}
        return PassResult(model=smaller, modified=True, measured=measured)


_SUFFIXES: dict[str, str] = {"tflite": ".tflite", "onnx": ".onnx", "keras": ".keras", "hdf5": ".h5"}


def _written(model: Model, output: Path, limits: Limits, bench: Bench) -> Outcome:
    """By the adapter of the model's format; writes nothing where nothing goes."""
    if model.format == "tflite":
        from tinsmith.compress.dead_channels import tflite_file

        return tflite_file.write_without(model.path, output, limits)
    if model.format == "onnx":
        from tinsmith.compress.dead_channels import onnx_file

        return onnx_file.write_without(model.path, output, limits)
    from tinsmith.compress.dead_channels import keras_file

    return keras_file.write_without(model, output, limits, allow_unsafe=bench.allow_unsafe)


def _measured(outcome: Outcome, limits: Limits) -> dict[str, float | str]:
    removal, size = outcome.removal, outcome.size
    around = [f"{name} ({why})" for name, why in outcome.not_followed.items()]
    more = f" and {len(around) - _LISTED} more" if len(around) > _LISTED else ""
    return {
        "parameters before": size.parameters_before,
        "parameters after": size.parameters_after,
        "macs before": size.macs_before,
        "macs after": size.macs_after,
        "channels": removal.channels,
        "channels removed": removal.removed,
        "bound on the outputs": removal.bound,
        "holds for inputs up to": limits.largest_input,
        "went around": "; ".join(around[:_LISTED]) + more or "nothing",
    }
