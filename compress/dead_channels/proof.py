"""Both models on the same samples: what the analysis has proven must show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.comparison import Samples, samples_for, seeded_feeds
from tinsmith.convert.parity import PROOF_SAMPLES, Proof, prove
from tinsmith.convert.predictors import opened_predictor

if TYPE_CHECKING:
    from tinsmith.convert.delivery import Workbench
    from tinsmith.convert.model import Model
    from tinsmith.convert.parity import Tolerance
    from tinsmith.convert.predictors import Predictor

__all__ = ["prove_equal"]

# Of the seeded numbers, which lie in [0, 1): small ones, images in bytes, and ones below zero.
_SCALES = (1.0, -1.0, 16.0, 255.0)


def prove_equal(before: Model, after: Model, *, tolerance: Tolerance, bench: Workbench) -> Proof:
    """Run both on seeded random samples of several sizes, and on the first ones of the dataset.

    Raises:
        VerificationError: An answer differs by more than the tolerance.
        ModelError: One of them can't be run.
    """
    with (
        opened_predictor(before, allow_unsafe=bench.allow_unsafe) as reference,
        opened_predictor(after, allow_unsafe=bench.allow_unsafe) as smaller,
    ):
        proof = prove(reference, smaller, _scaled(reference, bench.seed), tolerance=tolerance)
        if bench.dataset is None:
            return proof
        samples = samples_for(reference.inputs, bench.dataset, limit=PROOF_SAMPLES, seed=bench.seed)
        own = prove(reference, smaller, samples, tolerance=tolerance)
        return max(proof, own, key=lambda p: p.largest)


def _scaled(reference: Predictor, seed: int) -> Samples:
    feeds = seeded_feeds(reference.inputs, samples=4 * len(_SCALES), seed=seed)
    scales = np.tile(np.array(_SCALES, np.float32), 4)
    for name, array in feeds.items():
        if array.dtype.kind == "f":
            feeds[name] = array * scales.reshape(-1, *(1,) * (array.ndim - 1)).astype(array.dtype)
    return Samples(feeds=feeds, origin=f"{len(scales)} seeded random samples")
