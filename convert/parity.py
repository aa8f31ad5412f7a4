"""The parity proof: what an artifact answers, held against what it was made from.

Nothing is reported done before its file was loaded in a child process, run on the same samples as its source, and
compared.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.predictors import class_scores, rename_feeds, run_samples
from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.predictors import Predictor
    from tinsmith.runtime.artifact import OperatorUse
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = [
    "FLOAT16",
    "FLOAT32",
    "INTEGER",
    "Difference",
    "Proof",
    "Tolerance",
    "agreement",
    "compare",
    "in_order",
    "prove",
    "seeded_feeds",
]

# Random samples find a wrong kernel or a lost weight at once, and more of them find nothing else.
SEEDED_SAMPLES = 8
# Samples of the user's, of which some lie where rounding hurts.
DATA_SAMPLES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an artifact's outputs may lie from its source's.

    Attributes:
        name: What was done to the numbers.
        relative: Largest difference over the largest magnitude of the output (at least 1); None where it is not bound.
        snr_db: Least signal-to-noise ratio in decibels; None where it is not bound.
    """

    name: str
    relative: float | None = None
    snr_db: float | None = None


# Other kernels add in another order: 1e-4 is ten times what was seen on ResNet50-sized graphs.
FLOAT32 = Tolerance(name="float32", relative=1e-4)
# Half precision has 11 bits; weights are rounded once (5e-4 each), and the sums of deep nets carry that on.
FLOAT16 = Tolerance(name="float16", relative=5e-2)
# Integers may cost accuracy, which `evaluate` measures; below 0 dB the error is larger than the answer itself.
INTEGER = Tolerance(name="integer", snr_db=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far one output lies from its reference.

    Attributes:
        output: The reference's name of it.
        largest: Largest absolute difference.
        mean: Mean absolute difference.
        relative: ``largest`` over the largest magnitude of the reference, or over 1 where that is smaller.
        snr_db: 10 log10(power of the reference / power of the difference); None when they are equal.
    """

    output: str
    largest: float
    mean: float
    relative: float
    snr_db: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found when an artifact was held against its source.

    Attributes:
        samples: How many were run.
        origin: Where they came from, for people.
        differences: One an output.
        agreement: Share of samples on which both name the same class; None for other models.
        batch: What became of the batch axis, for people.
        operators: The true precision of each operator.
    """

    samples: int
    origin: str
    differences: tuple[Difference, ...]
    agreement: float | None
    batch: str
    operators: tuple[OperatorUse, ...] = ()

    @property
    def largest(self) -> float:
        """The largest absolute difference of any output."""
        return max(difference.largest for difference in self.differences)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {**asdict(self), "largest": self.largest}


def prove(
    reference: Predictor,
    artifact: Predictor,
    feeds: Mapping[str, Array],
    *,
    tolerance: Tolerance,
    origin: str,
    operators: tuple[OperatorUse, ...] = (),
) -> Proof:
    """Run both on the same samples and compare.

    Args:
        reference: What the artifact was made from.
        artifact: The artifact, in its child process.
        feeds: One array an input of the reference, samples on axis 0.
        tolerance: What may differ.
        origin: Where the samples come from, for the report.
        operators: The artifact's operators, for the report.

    Raises:
        VerificationError: The numbers differ by more than the tolerance, or are not finite where the source's are.
        ModelError: One of them failed.
    """
    expected = run_samples(reference, feeds)
    answered = run_samples(artifact, feeds)
    names = [spec.name for spec in reference.outputs]
    actual = in_order(names, artifact, answered)
    differences = compare(names, expected, actual)
    for difference in differences:
        _hold(difference, tolerance)
    _check_free_batch(artifact, feeds, answered, tolerance)
    return Proof(
        samples=len(next(iter(feeds.values()))),
        origin=origin,
        differences=differences,
        agreement=agreement(expected, actual),
        batch=_batch_text(reference, artifact),
        operators=operators,
    )


def compare(names: Sequence[str], expected: Sequence[Array], actual: Sequence[Array]) -> tuple[Difference, ...]:
    """Measure how far outputs lie apart, pair by pair.

    Raises:
        VerificationError: Their number or shapes differ, or one holds NaN or infinity where the other does not.
    """
    if len(expected) != len(actual):
        raise VerificationError(f"the source has {len(expected)} outputs, and the artifact {len(actual)}")
    return tuple(_difference(name, a, b) for name, a, b in zip(names, expected, actual, strict=True))


def agreement(expected: list[Array], actual: list[Array]) -> float | None:
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


def in_order(names: list[str], artifact: Predictor, actual: list[Array]) -> list[Array]:
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
        return Difference(output=name, largest=0.0, mean=0.0, relative=0.0, snr_db=None)
    noise, signal = float(np.mean(error**2)), float(np.mean(before[finite] ** 2))
    largest = float(error.max())
    return Difference(
        output=name,
        largest=largest,
        mean=float(error.mean()),
        relative=largest / max(1.0, float(np.abs(before[finite]).max())),
        snr_db=10 * math.log10(max(signal, 1e-300) / noise) if noise else None,
    )


def _hold(difference: Difference, tolerance: Tolerance) -> None:
    if tolerance.relative is not None and difference.relative > tolerance.relative:
        raise VerificationError(
            f"output {difference.output!r} differs from its source by {difference.largest:.3g} "
            f"({difference.relative:.3g} of its range; {tolerance.name} allows {tolerance.relative:g})",
            hint="the artifact was not kept; --force parity keeps it all the same",
        )
    if tolerance.snr_db is not None and difference.snr_db is not None and difference.snr_db < tolerance.snr_db:
        raise VerificationError(
            f"output {difference.output!r} is noise: {difference.snr_db:.1f} dB against its source "
            f"(least allowed: {tolerance.snr_db:g} dB)",
            hint="calibrate on samples like those the model was trained on; --force parity keeps it all the same",
        )


def _check_free_batch(
    artifact: Predictor, feeds: Mapping[str, Array], answered: list[Array], tolerance: Tolerance
) -> None:
    """A batch axis that says it is free must give a single sample the answer that it gets among others."""
    if any(spec.batch is not None for spec in artifact.inputs if spec.shape) or tolerance.relative is None:
        return
    alone = artifact.run({name: array[:1] for name, array in rename_feeds(artifact, feeds).items()})
    names = [spec.name for spec in artifact.outputs]
    together = [array[:1] for array in answered]
    for difference in compare(names, together, [alone[name] for name in names]):
        _hold(difference, tolerance)


def _batch_text(reference: Predictor, artifact: Predictor) -> str:
    before, after = (_batch(p.inputs) for p in (reference, artifact))
    return before if before == after else f"{before} before, {after} now"


def _batch(inputs: tuple[TensorSpec, ...]) -> str:
    batches = sorted({"free" if spec.batch is None else f"fixed at {spec.batch}" for spec in inputs if spec.shape})
    return ", ".join(batches) or "none"
