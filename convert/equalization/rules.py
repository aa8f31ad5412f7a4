"""By how much channels are scaled: a union of small dataclasses, one a rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ByActivations", "ByWeights", "Rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ByWeights:
    """Without samples: a channel's weights reach as far in the layer that gives it as in the one that reads it.

    Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721,
    section 4.1): s = sqrt(r1 / r2), again and again until nothing moves.
    """

    name: ClassVar[str] = "weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByActivations:
    """On samples: every channel of a tensor reaches as far as its widest.

    Where weights have one scale a channel, only activations share one, and this is what they lose by.

    Attributes:
        reaches: For a tensor, the largest magnitude of each channel, [channels]; from ``observe_reaches``. Tensors
            that are not named are left alone.
    """

    name: ClassVar[str] = "activations"

    reaches: Mapping[str, NDArray[np.float64]] = field(repr=False)


Rule = ByWeights | ByActivations
