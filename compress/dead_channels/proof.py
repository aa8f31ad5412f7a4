"""Both models on the same samples: what the analysis has proven must show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.dead_channels.outcome import Limits
from tinsmith.convert.comparison import Samples, samples_for, seeded_feeds
from tinsmith.convert.parity import PROOF_SAMPLES, Proof, prove
from tinsmith.convert.predictors import opened_predictor, run_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.delivery import Workbench
    from tinsmith.convert.model import Model
    from tinsmith.convert.parity import Tolerance
    from tinsmith.convert.predictors import Predictor

    Array = NDArray[np.generic]

__all__ = ["limits_of", "prove_equal"]

_BATCH = 256
# Of the seeded numbers, which lie in [0, 1): small ones, images in bytes, and ones below zero.
_SCALES = (1.0, -1.0, 16.0, 255.0)


def limits_of(model: Model, bench: Workbench, *, bound: float, largest_input: float) -> Limits:
    """What may be assumed of this model's inputs, and how far its outputs may move.

    Args:
        model: Is run on seeded samples, and on the first ones of the dataset.
        bench: With the user's samples, where there are any; all of them are read.
        bound: For outputs whose largest answer is 1 or more; smaller ones may move by as much less.
        largest_input: At least; a sample of the user may be larger.

    Raises:
        ModelError: It can't be run.
        DataError: A sample can't be read.
    """
    with opened_predictor(model, allow_unsafe=bench.allow_unsafe) as predictor:
        answers = [run_samples(predictor, _scaled(predictor, bench.seed).feeds)]
        if bench.dataset is not None:
            own = samples_for(predictor.inputs, bench.dataset, limit=PROOF_SAMPLES, seed=bench.seed)
            answers.append(run_samples(predictor, own.feeds))
    sizes = [max(_largest(array) for array in output) for output in zip(*answers, strict=True)]
    smallest = min((size for size in sizes if size > 0), default=1.0)
    return Limits(bound=bound * min(1.0, smallest), largest_input=max(largest_input, _largest_sample(bench.dataset)))


def _largest(array: Array) -> float:
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max(initial=0))


def _largest_sample(dataset: Dataset | None) -> float:
    if dataset is None:
        return 0.0
    batches = dataset.batches(_BATCH)
    return max(_largest(np.asarray(array, np.float64)) for batch in batches for array in batch.feeds.values())


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
