"""The parity proof: what an artifact answers, held against what it was made from.

Nothing is reported done before its file was loaded in a child process, run on the same samples as its source, and
compared.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.comparison import Comparison, compare_outputs, compare_predictors
from tinsmith.convert.predictors import rename_feeds
from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.convert.comparison import Difference, Samples
    from tinsmith.convert.predictors import Predictor
    from tinsmith.runtime.artifact import OperatorUse
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = ["EXACT", "FLOAT16", "FLOAT32", "INTEGER", "PROOF_SAMPLES", "Proof", "Tolerance", "batch_of", "prove"]

# Of the user's samples; some of them lie where rounding hurts.
PROOF_SAMPLES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an artifact's outputs may lie from its source's.

    Attributes:
        name: What was done to the numbers.
        relative: Largest difference over the largest magnitude of the output; None where it is not bound.
        least: What counts as that magnitude where it is smaller: answers of a millionth are noise to most models.
        snr_db: Least signal-to-noise ratio in decibels; None where it is not bound.
    """

    name: str
    relative: float | None = None
    least: float = 1.0
    snr_db: float | None = None


# The same kernels on the same numbers.
EXACT = Tolerance(name="exact", relative=0.0)
# Other kernels add in another order: 1e-4 is ten times what was seen on ResNet50-sized graphs.
FLOAT32 = Tolerance(name="float32", relative=1e-4)
# Half precision has 11 bits; weights are rounded once (5e-4 each), and the sums of deep nets carry that on.
FLOAT16 = Tolerance(name="float16", relative=5e-2)
# Integers may cost accuracy, which `evaluate` measures; below 0 dB the error is larger than the answer itself.
INTEGER = Tolerance(name="integer", snr_db=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof(Comparison):
    """A comparison of an artifact with its source that held.

    Attributes:
        batch: What became of the batch axis, for people.
        operators: The true precision of each operator.
        unrun: How else it was proven, where the source is too large to be run; ``origin`` says why, and there are no
            samples. Empty where both were run.
    """

    batch: str
    operators: tuple[OperatorUse, ...] = ()
    unrun: str = ""

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return asdict(self) if self.unrun else Comparison.to_json(self)


def prove(
    reference: Predictor,
    artifact: Predictor,
    samples: Samples,
    *,
    tolerance: Tolerance,
    operators: tuple[OperatorUse, ...] = (),
) -> Proof:
    """Run both on the same samples and compare.

    Args:
        reference: What the artifact was made from.
        artifact: The artifact, in its child process.
        samples: For both; their names are those of the reference's inputs.
        tolerance: What may differ.
        operators: The artifact's operators, for the report.

    Raises:
        VerificationError: The numbers differ by more than the tolerance, or are not finite where the source's are.
        ModelError: One of them failed.
    """
    found, answered = compare_predictors(reference, artifact, samples)
    for difference in found.differences:
        _hold(difference, tolerance)
    _check_free_batch(artifact, samples, answered, tolerance)
    return Proof(
        samples=found.samples,
        origin=found.origin,
        differences=found.differences,
        agreement=found.agreement,
        batch=_batch_text(reference, artifact),
        operators=operators,
    )


def _hold(difference: Difference, tolerance: Tolerance) -> None:
    scale = max(difference.magnitude, tolerance.least)
    if tolerance.relative is not None and difference.largest > tolerance.relative * scale:
        raise VerificationError(
            f"output {difference.output!r} differs from its source by {difference.largest:.3g}, and its largest answer "
            f"is {difference.magnitude:.3g} ({tolerance.name} allows {tolerance.relative:g} of {scale:.3g})",
            hint="the artifact was not kept; --force parity keeps it all the same",
        )
    if tolerance.snr_db is not None and difference.snr_db is not None and difference.snr_db < tolerance.snr_db:
        raise VerificationError(
            f"output {difference.output!r} is noise: {difference.snr_db:.1f} dB against its source "
            f"(least allowed: {tolerance.snr_db:g} dB)",
            hint="calibrate on samples like those the model was trained on; --force parity keeps it all the same",
        )


def _check_free_batch(artifact: Predictor, samples: Samples, answered: list[Array], tolerance: Tolerance) -> None:
    """A batch axis that says it is free must give a single sample the answer that it gets among others."""
    if any(spec.batch is not None for spec in artifact.inputs if spec.shape) or tolerance.relative is None:
        return
    alone = artifact.run({name: array[:1] for name, array in rename_feeds(artifact, samples.feeds).items()})
    names = [spec.name for spec in artifact.outputs]
    together = [array[:1] for array in answered]
    for difference in compare_outputs(names, together, [alone[name] for name in names]):
        _hold(difference, tolerance)


def _batch_text(reference: Predictor, artifact: Predictor) -> str:
    before, after = (batch_of(p.inputs) for p in (reference, artifact))
    return before if before == after else f"{before} before, {after} now"


def batch_of(inputs: tuple[TensorSpec, ...]) -> str:
    """What a model's inputs say of the batch axis, for people."""
    batches = sorted({"free" if spec.batch is None else f"fixed at {spec.batch}" for spec in inputs if spec.shape})
    return ", ".join(batches) or "none"
