"""Two artifacts that must answer alike to the last bit, run in a child process."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.comparison import seeded_feeds
from tinsmith.convert.predictors import SandboxedArtifact, run_samples
from tinsmith.runtime.errors import ModelError, ModelLoadError, ModelTimeoutError, VerificationError
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.predictors import Predictor
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = ["prove_identical"]

SEEDED_SAMPLES = 64
_DATASET_SAMPLES = 1000
_BATCH = 50
# Of floats, on the first samples: ends of the range, where sums overflow, and numbers too small to be normal.
_EXTREMES = (0.0, 1.0, -1.0, 1e4, -1e4, 3.4028235e38, -3.4028235e38, 1e-40)


def prove_identical(reference: Path, other: Path, *, dataset: Dataset | None, seed: int) -> int:
    """Run both on seeded samples, extreme values among them, and on the first 1,000 of the dataset.

    Returns:
        How many samples were run.

    Raises:
        VerificationError: A name, a shape or one bit of an answer differs.
        ModelError: The engine refused one of them, or failed or died on it.
    """
    with Sandbox() as sandbox:
        before = SandboxedArtifact(reference, sandbox)
        expected = list(_answers(before, dataset, seed))
        after = SandboxedArtifact(other, sandbox)
        if (before.inputs, before.outputs) != (after.inputs, after.outputs):
            raise VerificationError(f"{reference.name} and its slim form name different inputs or outputs")
        # Both run in the same order from a fresh start, so that models with a memory answer alike too.
        for number, (wanted, got) in enumerate(zip(expected, _answers(after, dataset, seed), strict=True), start=1):
            if wanted != got:
                raise VerificationError(
                    f"the slim form of {reference.name} answers differently: run {number} of {len(expected)}",
                    hint="leave the step slim out; models that draw random numbers can't be proven",
                )
    return SEEDED_SAMPLES + (0 if dataset is None else min(len(dataset), _DATASET_SAMPLES))


def _answers(artifact: Predictor, dataset: Dataset | None, seed: int) -> Iterator[bytes]:
    """A digest of every run's outputs, so that none need be kept."""
    rng = np.random.default_rng(seed)
    for number in range(SEEDED_SAMPLES):
        yield _answer(artifact, {spec.name: _seeded(spec, number, rng) for spec in artifact.inputs}, seed + number)
    if dataset is None:
        return
    run = 0
    for batch in dataset.batches(_BATCH):
        if run >= _DATASET_SAMPLES:
            return
        run += len(next(iter(batch.feeds.values())))
        yield _digest(run_samples(artifact, batch.feeds))


def _answer(artifact: Predictor, feeds: dict[str, Array], seed: int) -> bytes:
    """Some models look numbers up in a table and refuse those beyond it: they get small ones instead."""
    refused = b""
    try:
        answers = artifact.run(feeds)
    except (ModelLoadError, ModelTimeoutError):
        raise
    except ModelError:
        refused = b"refused"
        answers = artifact.run(seeded_feeds(artifact.inputs, samples=1, seed=seed))
    return refused + _digest([answers[spec.name] for spec in artifact.outputs])


def _seeded(spec: TensorSpec, number: int, rng: np.random.Generator) -> Array:
    """Numbers in the stored dtype, taken as they are; integers without a scale may be tokens, so 0 or 1."""
    shape, dtype = spec.fixed(1), np.dtype(spec.dtype)
    if dtype.kind == "f":
        if number < len(_EXTREMES):
            return np.full(shape, _EXTREMES[number]).clip(np.finfo(dtype).min, np.finfo(dtype).max).astype(dtype)
        return (rng.standard_normal(shape) * 10.0 ** (number % 5 - 2)).astype(dtype)
    if dtype.kind not in "iu" or spec.quantization is None:
        return rng.integers(0, 2, shape).astype(dtype)
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if number < 3:
        return np.full(shape, (least, most, spec.quantization.zero_point[0])[number], dtype)
    return rng.integers(least, most, shape, dtype=dtype, endpoint=True)


def _digest(arrays: list[Array]) -> bytes:
    """Of shapes, dtypes and bits: NaN equals NaN, and 0 does not equal -0."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()
