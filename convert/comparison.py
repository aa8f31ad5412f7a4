"""Hold two models against each other on the same samples, without judging."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.model import identify
from tinsmith.convert.predictors import class_scores, opened_predictor, run_samples
from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.predictors import Predictor
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = [
    "Comparison",
    "Difference",
    "Samples",
    "compare_models",
    "compare_outputs",
    "compare_predictors",
    "outputs_in_order",
    "samples_for",
    "seeded_feeds",
]

# Random samples find a wrong kernel or a lost weight at once, and more of them find nothing else.
_SEEDED_SAMPLES = 8
_COMPARED_SAMPLES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far one output lies from its reference.

    Attributes:
        output: The reference's name of it.
        largest: Largest absolute difference.
        mean: Mean absolute difference.
        magnitude: Largest magnitude of the reference.
        snr_db: 10 log10(power of the reference / power of the difference); None when they are equal.
    """

    output: str
    largest: float
    mean: float
    magnitude: float
    snr_db: float | None

    @property
    def relative(self) -> float:
        """``largest`` over the magnitude of the reference, or over 1 where that is smaller."""
        return self.largest / max(1.0, self.magnitude)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How far two models' answers lie apart.

    Attributes:
        samples: How many were run.
        origin: Where they came from, for people.
        differences: One an output.
        agreement: Share of samples on which both name the same class; None for other models.
    """

    samples: int
    origin: str
    differences: tuple[Difference, ...]
    agreement: float | None

    @property
    def largest(self) -> float:
        """The largest absolute difference of any output."""
        return max(difference.largest for difference in self.differences)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        differences = [{**asdict(d), "relative": d.relative} for d in self.differences]
        return {**asdict(self), "differences": differences, "largest": self.largest}


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What two models are run on.

    Attributes:
        feeds: One array an input of the reference, samples on axis 0.
        origin: Where they come from, for people.
    """

    feeds: Mapping[str, Array]
    origin: str

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))


def compare_models(
    reference: Path,
    other: Path,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    allow_unsafe: bool = False,
    time_limit_s: float = 60.0,
) -> Comparison:
    """Run two models of any format on the same samples.

    Args:
        reference: What the differences are measured against.
        other: The model in question.
        data: Samples, of which the first 256 are run; seeded random numbers where there are none.
        seed: Of those numbers.
        allow_unsafe: Load Keras models whose ``Lambda`` layers run code of their author.
        time_limit_s: For an artifact's load, and for each run.

    Raises:
        VerificationError: The outputs do not have the same shapes, so there is nothing to compare.
        ModelError: One of them can't be loaded or run.
        DataError: The samples do not fit.
    """
    limits: dict[str, Any] = {"allow_unsafe": allow_unsafe, "time_limit_s": time_limit_s}
    with (
        opened_predictor(identify(reference), **limits) as before,
        opened_predictor(identify(other), **limits) as after,
    ):
        dataset = None
        if data is not None:
            from tinsmith.convert.data import open_dataset

            dataset = open_dataset(data, before.inputs)
        samples = samples_for(before.inputs, dataset, limit=_COMPARED_SAMPLES, seed=seed)
        found, _ = compare_predictors(before, after, samples)
    return found


def compare_predictors(reference: Predictor, other: Predictor, samples: Samples) -> tuple[Comparison, list[Array]]:
    """Run two predictors on the same samples.

    Returns:
        What was found, and the outputs of ``other`` in its own order.

    Raises:
        VerificationError: The outputs do not have the same shapes, or not the same finite numbers.
        ModelError: One of them failed.
    """
    expected = run_samples(reference, samples.feeds)
    answered = run_samples(other, samples.feeds)
    names = [spec.name for spec in reference.outputs]
    actual = outputs_in_order(names, other, answered)
    found = Comparison(
        samples=len(samples),
        origin=samples.origin,
        differences=compare_outputs(names, expected, actual),
        agreement=_agreement(expected, actual),
    )
    return found, answered


def samples_for(inputs: tuple[TensorSpec, ...], dataset: Dataset | None, *, limit: int, seed: int) -> Samples:
    """The first samples of the user's data where there is some, and a few seeded numbers otherwise."""
    if dataset is None:
        feeds = seeded_feeds(inputs, samples=_SEEDED_SAMPLES, seed=seed)
        return Samples(feeds=feeds, origin=f"{_SEEDED_SAMPLES} seeded random samples")
    feeds = next(dataset.batches(limit)).feeds
    return Samples(feeds=feeds, origin=f"the first {len(next(iter(feeds.values())))} samples of {dataset.name}")


def compare_outputs(names: Sequence[str], expected: Sequence[Array], actual: Sequence[Array]) -> tuple[Difference, ...]:
    """Measure how far outputs lie apart, pair by pair.

    Raises:
        VerificationError: Their number or shapes differ, or one holds NaN or infinity where the other does not.
    """
    if len(expected) != len(actual):
        raise VerificationError(f"the source has {len(expected)} outputs, and the artifact {len(actual)}")
    return tuple(_difference(name, a, b) for name, a, b in zip(names, expected, actual, strict=True))


def _agreement(expected: list[Array], actual: list[Array]) -> float | None:
    """Share of samples on which both classifiers name the same class; None where they are no classifiers."""
    before, after = class_scores(expected), class_scores(actual)
    if before is None or after is None:
        return None
    return float(np.mean(before.argmax(axis=1) == after.argmax(axis=1)))


def seeded_feeds(inputs: tuple[TensorSpec, ...], *, samples: int, seed: int) -> dict[str, Array]:
    """Feeds for a proof without data: floats in [0, 1), and integers 0 or 1, which every table of tokens holds.

    Only proofs use them. Calibration never does: a range measured on noise means nothing.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for spec in inputs:
        shape = (samples, *spec.fixed(1)[1:])
        kind = np.dtype(spec.dtype).kind
        real = kind == "f" or spec.quantization is not None
        feeds[spec.name] = (
            rng.random(shape).astype(np.float32) if real else rng.integers(0, 2, shape).astype(spec.dtype)
        )
    return feeds


def outputs_in_order(names: list[str], artifact: Predictor, actual: list[Array]) -> list[Array]:
    """Outputs in the reference's order, where the names survived; converters sort them otherwise."""
    by_name = dict(zip((spec.name for spec in artifact.outputs), actual, strict=True))
    return [by_name[name] for name in names] if by_name.keys() == set(names) else actual


def _difference(name: str, expected: Array, actual: Array) -> Difference:
    if expected.shape != actual.shape:
        raise VerificationError(
            f"output {name!r} has shape {list(expected.shape)} in the source and {list(actual.shape)} in the artifact"
        )
    before, after = expected.astype(np.float64), actual.astype(np.float64)
    if not np.array_equal(np.isfinite(before), np.isfinite(after)):
        raise VerificationError(f"output {name!r} holds NaN or infinity where its source does not, or the reverse")
    finite = np.isfinite(before)
    error = np.abs(after[finite] - before[finite])
    if not error.size:
        return Difference(output=name, largest=0.0, mean=0.0, magnitude=0.0, snr_db=None)
    noise, signal = float(np.mean(error**2)), float(np.mean(before[finite] ** 2))
    largest = float(error.max())
    return Difference(
        output=name,
        largest=largest,
        mean=float(error.mean()),
        magnitude=float(np.abs(before[finite]).max()),
        snr_db=10 * math.log10(max(signal, 1e-300) / noise) if noise else None,
    )
