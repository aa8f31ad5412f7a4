"""Golden inputs: what a model must answer before it may serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Golden"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """A few samples with the answers that the engines gave where the bundle was made.

    Attributes:
        inputs: One array an input name, samples on axis 0, in the stored dtypes.
        outputs: By engine, one array an output name, samples on axis 0, in the stored dtypes.
        tolerance: By engine and output name: the largest difference allowed, in stored units.
    """

    inputs: Mapping[str, NDArray[np.generic]]
    outputs: Mapping[str, Mapping[str, NDArray[np.generic]]]
    tolerance: Mapping[str, Mapping[str, float]]
