"""Slim: the same .tflite model in a smaller file."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from tinsmith.compress.passes.base import Effects, Pass, PassResult, Step
from tinsmith.convert.model import Model
from tinsmith.convert.parity import EXACT
from tinsmith.runtime.errors import RecipeError
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from tinsmith.compress.bench import Bench
    from tinsmith.convert.model import Format
    from tinsmith.convert.parity import Tolerance
    from tinsmith.convert.slimming import Slimmed

__all__ = ["Slim", "SlimStep"]


class SlimStep(Step):
    """Write the .tflite file again without what no runtime reads; every answer stays the same, bit for bit."""

    kind: Literal["slim"] = "slim"

    @property
    def effects(self) -> Effects:
        """Bytes beside the weights go; what runs is the same."""
        return Effects(moves=frozenset(["file", "zip", "flash"]))


class Slim(Pass):
    """Lossless: names of inner tensors, ranges and unread bytes go, and what is equal is stored once."""

    kind: ClassVar[str] = "slim"
    reads = SlimStep

    def __init__(self, step: SlimStep, *, target: Literal["tflite", "onnx"]) -> None:  # noqa: ARG002 - as every pass
        if target != "tflite":
            raise RecipeError(
                f"slim takes .tflite files only: it shares vectors inside a flatbuffer, which {target} files are not",
                hint="end --output in .tflite, or leave the step slim out",
            )

    @property
    def takes(self) -> frozenset[Format]:
        """A TFLite file, float or quantized."""
        return frozenset(["tflite"])

    @property
    def gives(self) -> Format:
        """The same."""
        return "tflite"

    @property
    def tolerance(self) -> Tolerance:
        """Not one bit."""
        return EXACT

    def run(self, model: Model, bench: Bench) -> PassResult:
        """Write it again, and run both files on the same samples.

        Raises:
            VerificationError: One bit of an answer differs.
        """
        from tinsmith.convert.slimming import slim_file
        from tinsmith.convert.slimming.proof import prove_identical

        slimmed = slim_file(model.path)
        measured = _measured(slimmed)
        if slimmed.after == slimmed.before:
            return PassResult(model=model, modified=False, measured=measured)
        output = bench.place("slim.tflite")
        write_bytes(output, slimmed.content)
        samples = prove_identical(model.path, output, dataset=bench.dataset, seed=bench.seed)
        measured["bit-identical samples"] = samples
        return PassResult(model=Model(path=output, format="tflite"), modified=True, measured=measured)


def _measured(slimmed: Slimmed) -> dict[str, float | str]:
    """Bytes of each part, before and after."""
    return {
        f"{part} bytes {when}": size
        for part in slimmed.before
        for when, size in (("before", slimmed.before[part]), ("after", slimmed.after[part]))
    }
