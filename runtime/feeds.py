"""Inputs made up for timing, where what they hold does not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["random_feeds"]


def random_feeds(inputs: tuple[TensorSpec, ...], *, seed: int) -> dict[str, NDArray[Any]]:
    """Seeded feeds in the stored dtypes, batch 1: floats in [0, 1), integers 0 or 1 (any token table has them)."""
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.random(spec.fixed(1)).astype(spec.dtype)
        if np.dtype(spec.dtype).kind == "f"
        else rng.integers(0, 2, spec.fixed(1)).astype(spec.dtype)
        for spec in inputs
    }
