"""Everything that decides how a model is quantized, apart from the model and its samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tinsmith.convert.calibration.methods import MinMax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.convert.calibration.methods import Method
    from tinsmith.convert.quantization.schemes import Scheme

__all__ = ["Arithmetic", "Kept", "Plan"]

_STEPS, _REDUCED_STEPS = 127, 64

# What an operator may have instead: more bits where the scheme costs too much, or fewer where it hardly costs anything.
# int8x4 is activations in 8 bits and weights in 4, channel by channel.
Kept = Literal["float32", "int16x8", "int8x4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """Which integers are multiplied. TFLite has int8 times int8 and no other; ONNX has a choice, and CPUs differ in it.

    Attributes:
        activations: Type of the activations of an 8-bit scheme.
        weights: Type of the weights.
        reduce_range: Weights in 7 bits, so that the sum of two products fits into 16 bits, which is all that AVX2 has
            for it (without VNNI).
    """

    activations: Literal["uint8", "int8"] = "uint8"
    weights: Literal["int8", "uint8"] = "int8"
    reduce_range: bool = False

    @property
    def weight_steps(self) -> int | None:
        """Of the grid of a weight to either side of 0; None where it does not lie evenly around 0."""
        if self.weights == "uint8":
            return None
        return _REDUCED_STEPS if self.reduce_range else _STEPS

    @property
    def said(self) -> str:
        """In a few words."""
        return f"{self.activations} x {self.weights}{' in 7 bits' if self.reduce_range else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a float model is to be quantized.

    Attributes:
        scheme: The number format.
        method: How ranges are taken from what was observed; for static schemes.
        kept: Operators of another precision than the scheme's, by the first tensor that each computes.
        arithmetic: Which integers are multiplied, where the format has a choice.
    """

    scheme: Scheme
    method: Method = field(default_factory=MinMax)
    kept: Mapping[str, Kept] = field(default_factory=dict)
    arithmetic: Arithmetic = field(default_factory=Arithmetic)

    def kept_in(self, precision: Kept) -> tuple[str, ...]:
        """The operators that have one of these precisions."""
        return tuple(name for name, own in self.kept.items() if own == precision)
