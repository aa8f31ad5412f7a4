"""How a range is taken from what was observed: a union of small dataclasses, one a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tinsmith.runtime.errors import RecipeError

__all__ = [
    "METHOD_NAMES",
    "Detail",
    "Entropy",
    "MeanSquaredError",
    "Method",
    "MinMax",
    "MovingAverage",
    "Percentile",
    "method_named",
]

# What a calibration keeps of each tensor. Extremes alone cost half the time; histograms serve every method.
Detail = Literal["extremes", "histograms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MinMax:
    """From the least value seen to the greatest.

    Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
    (arXiv:1712.05877, section 3); what TFLiteConverter does.
    """

    name: ClassVar[str] = "min-max"
    detail: ClassVar[Detail] = "extremes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingAverage:
    """From the average of the samples' least values to that of their greatest; later samples weigh more.

    Jacob et al. 2018 as above, section 3.1, without the bias towards a first value. See ``Average`` for the momentum.
    """

    name: ClassVar[str] = "moving-average"
    detail: ClassVar[Detail] = "extremes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """All but the outermost values, of which half are cut at either end.

    McKinstry et al. 2018, "Discovering Low-Precision Networks Close to Full-Precision Networks" (arXiv:1809.04191).

    Attributes:
        percentile: How many of 100 values lie inside; above 50, at most 100.
    """

    name: ClassVar[str] = "percentile"
    detail: ClassVar[Detail] = "histograms"

    percentile: float = 99.99

    def __post_init__(self) -> None:
        """Hold the percentile to what makes sense; raises ``RecipeError``."""
        if not 50 < self.percentile <= 100:
            raise RecipeError(
                f"a percentile of {self.percentile:g} keeps no range",
                hint="give one above 50 and up to 100, such as 99.99",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entropy:
    """The range whose 8-bit image loses the least information, by Kullback-Leibler divergence.

    Migacz 2017, "8-bit Inference with TensorRT" (GPU Technology Conference); onnxruntime's entropy calibrator as well.
    """

    name: ClassVar[str] = "entropy"
    detail: ClassVar[Detail] = "histograms"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanSquaredError:
    """The range on whose grid the squared error is the least, that of the clipped values included.

    Sung et al. 2015, "Resiliency of Deep Neural Networks under Quantization" (arXiv:1511.06488).

    Attributes:
        bits: Of the grid, 2 to 16.
    """

    name: ClassVar[str] = "mse"
    detail: ClassVar[Detail] = "histograms"

    bits: int = 8

    def __post_init__(self) -> None:
        """Hold the bits to what the formats have; raises ``RecipeError``."""
        if not 2 <= self.bits <= 16:
            raise RecipeError(f"there is no grid of {self.bits} bits", hint="give 2 to 16 bits; 8 is usual")


Method = MinMax | MovingAverage | Percentile | Entropy | MeanSquaredError
METHOD_NAMES = (MinMax.name, MovingAverage.name, Percentile.name, Entropy.name, MeanSquaredError.name)


def method_named(name: str) -> Method:
    """The method of that name, with its defaults.

    Raises:
        RecipeError: There is none.
    """
    every: tuple[Method, ...] = (MinMax(), MovingAverage(), Percentile(), Entropy(), MeanSquaredError())
    for method in every:
        if method.name == name:
            return method
    raise RecipeError(f"there is no calibration method {name!r}", hint=f"choose one of {', '.join(METHOD_NAMES)}")
