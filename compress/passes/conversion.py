"""Change the format: the step that the planner puts in where a later one needs TFLite or ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tinsmith.compress.passes.base import Pass, PassResult, Step
from tinsmith.convert.conversion import convert_model
from tinsmith.convert.formats import sources_of
from tinsmith.convert.model import Model
from tinsmith.convert.parity import FLOAT32

if TYPE_CHECKING:
    from tinsmith.compress.bench import Bench
    from tinsmith.convert.model import Format
    from tinsmith.convert.parity import Tolerance

__all__ = ["Convert", "ConvertStep"]


class ConvertStep(Step):
    """Turn the model into the target's format; put in by itself where a recipe does not say it."""

    kind: Literal["convert"] = "convert"
    batch: int | None = Field(default=None, ge=1, description="Fix the batch axis at this length; free unless given.")


class Convert(Pass):
    """Any format to TFLite or ONNX, float32."""

    kind: ClassVar[str] = "convert"
    reads = ConvertStep

    def __init__(self, step: ConvertStep, *, target: Literal["tflite", "onnx"]) -> None:
        self._step = step
        self._target = target

    @property
    def takes(self) -> frozenset[Format]:
        """Every format that the target can be made from."""
        return frozenset(sources_of(self._target))

    @property
    def gives(self) -> Format:
        """The target."""
        return self._target

    @property
    def tolerance(self) -> Tolerance:
        """Other kernels, the same numbers."""
        return FLOAT32

    def run(self, model: Model, bench: Bench) -> PassResult:
        """Convert."""
        output = bench.place(f"model.{self._target}")
        convert_model(model, self._target, output, batch=self._step.batch, allow_unsafe=bench.allow_unsafe)
        return PassResult(model=Model(path=output, format=self._target), modified=True)
