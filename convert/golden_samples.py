"""Golden samples for a bundle: what to ask a model on its device, and what it must answer there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.comparison import seeded_feeds
from tinsmith.convert.data.roles import Roles
from tinsmith.convert.parity import FLOAT32
from tinsmith.convert.predictors import run_samples
from tinsmith.runtime.bundle.checking import check_golden
from tinsmith.runtime.bundle.golden import Golden
from tinsmith.runtime.engines import ENGINES
from tinsmith.runtime.errors import HostError, MissingDependencyError, VerificationError
from tinsmith.runtime.session import dequantize, quantize

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.data import Dataset
    from tinsmith.runtime.artifact import Artifact, OperatorUse
    from tinsmith.runtime.monitor.reference import Reference
    from tinsmith.runtime.sandbox import Sandbox
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]
    Feeds = Mapping[str, Array]

__all__ = [
    "GoldenRun",
    "Stored",
    "Taken",
    "build_reference",
    "real_numbers",
    "run_golden",
    "take_samples",
    "tolerances",
]

_REFERENCE_SAMPLES = 1000
_BATCH = 32
# One step of 8 bits over the range that was seen. Integers round alike where an engine's version is the same, and were
# off by one step where it is not; a float that is made of such integers moves by a step of them.
_EIGHT_BITS = 1 / 255
# Half precision has 11 bits, and each of the two ways rounds some weights or sums once more.
_HALF = 8 * 2.0**-11


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Samples for a bundle.

    Attributes:
        golden: One array an input name, samples on axis 0, in the stored dtypes.
        origin: Where those come from, for people.
        reference: The samples that the drift reference is made of; None where the user gave none.
    """

    golden: Feeds
    origin: str
    reference: Dataset | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRun:
    """What the engines that are installed here gave.

    Attributes:
        golden: Inputs, outputs and tolerances.
        versions: Of the engines.
        absent: Engines that run such files and are not installed here.
    """

    golden: Golden
    versions: Mapping[str, str]
    absent: tuple[str, ...]


class Stored:
    """An artifact in its child process, run on stored dtypes; a ``Predictor``.

    Args:
        sandbox: That has opened it.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.inputs = sandbox.opened.inputs
        self.outputs = sandbox.opened.outputs

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Run one batch; raises as ``Sandbox.run_raw``."""
        return self._sandbox.run_raw(feeds)

    def answers(self, feeds: Feeds) -> dict[str, Array]:
        """The outputs for samples, by name; raises as ``run_samples``."""
        return dict(zip((spec.name for spec in self.outputs), run_samples(self, feeds), strict=True))


def take_samples(inputs: Sequence[TensorSpec], dataset: Dataset | None, *, samples: int, seed: int) -> Taken:
    """Draw samples, from what ranges are found on where the user has split his: never from a test split.

    Args:
        inputs: What the model takes.
        dataset: The user's samples; None takes seeded random numbers, which say nothing of drift.
        samples: How many golden ones; fewer where there are fewer, more where the model runs a larger batch at once.
        seed: Of the draw.

    Raises:
        DataError: A sample can't be read or does not fit.
    """
    together = max((spec.batch or 1 for spec in inputs if spec.shape), default=1)
    if dataset is None:
        count = _whole_batches(samples, together)
        feeds = seeded_feeds(tuple(inputs), samples=count, seed=seed)
        return Taken(golden=_stored(feeds, inputs), origin=f"{count} seeded random samples", reference=None)
    part = Roles(dataset, seed=seed).calibration
    count = _whole_batches(min(samples, len(part)), together)
    order = np.random.default_rng(seed).permutation(len(part))
    chosen = _drawn(part, order[:count])
    feeds = {name: _repeated(array, count) for name, array in next(chosen.batches(count)).feeds.items()}
    origin = f"{min(count, len(part))} samples of {part.name}, drawn by seed {seed}"
    return Taken(golden=_stored(feeds, inputs), origin=origin, reference=_drawn(part, order[:_REFERENCE_SAMPLES]))


def run_golden(artifact: Artifact, sandbox: Sandbox, feeds: Feeds, *, threads: int) -> GoldenRun:
    """Ask every engine that runs such a file and is installed here, each twice, and with other threads.

    Args:
        artifact: What is run.
        sandbox: Where; it holds the last engine's model afterwards.
        feeds: From ``take_samples``.
        threads: As on the device.

    Raises:
        VerificationError: A model answers the same question in two ways, or with NaN or infinity.
        HostError: No engine for it is installed here.
        ModelError: An engine refused the file or failed.
    """
    golden = Golden(inputs=feeds, outputs={}, tolerance={})
    versions: dict[str, str] = {}
    absent = []
    for name in [choice.name for choice in ENGINES if artifact.format in choice.formats]:
        try:
            opened = sandbox.open(artifact.path, engine=name, threads=threads)
        except MissingDependencyError:
            absent.append(name)
            continue
        answers = Stored(sandbox).answers(feeds)
        _refuse_unfinite(answers)
        allowed = tolerances(opened.outputs, answers, artifact.operators)
        golden = replace(
            golden, outputs={**golden.outputs, name: answers}, tolerance={**golden.tolerance, name: allowed}
        )
        _ask_again(golden, sandbox, name)
        sandbox.open(artifact.path, engine=name, threads=1 if threads > 1 else 2)
        _ask_again(golden, sandbox, name)
        versions[name] = opened.version
    if not versions:
        raise HostError(f"no engine for .{artifact.format} files is installed here: {', '.join(absent)}")
    return GoldenRun(golden=golden, versions=versions, absent=tuple(absent))


def tolerances(outputs: Sequence[TensorSpec], answers: Feeds, operators: Sequence[OperatorUse]) -> dict[str, float]:
    """How far each output may be off on another machine, in stored units.

    Stored integers: one step where they are quantized, else nothing, because they count or name something. Floats: a
    share of the largest magnitude that was seen, or of 1 where that is smaller; 1e-4 of it in float32, as in the proof
    of a conversion, more where the artifact computes in less.
    """
    share = _share({use.precision for use in operators})
    found = {}
    for spec in outputs:
        array = answers[spec.name]
        if array.dtype.kind == "f":
            magnitude = float(np.abs(array.astype(np.float64)).max(initial=0.0))
            found[spec.name] = share * max(magnitude, FLOAT32.least)
        else:
            found[spec.name] = 1.0 if spec.quantization is not None else 0.0
    return found


def real_numbers(outputs: Sequence[TensorSpec], answers: Feeds) -> dict[str, Array]:
    """The real numbers that stored outputs stand for."""
    return {
        spec.name: answers[spec.name]
        if spec.quantization is None
        else dequantize(answers[spec.name], spec.quantization)
        for spec in outputs
    }


def build_reference(sandbox: Sandbox, dataset: Dataset) -> Reference:
    """What goes in and comes out on samples of the user's; raises as ``run_samples``."""
    from tinsmith.runtime.monitor.building import build_reference as count

    return count(_run_all(Stored(sandbox), dataset))


def _run_all(model: Stored, dataset: Dataset) -> Iterator[tuple[Feeds, Feeds]]:
    for batch in dataset.batches(_BATCH):
        feeds = _stored(batch.feeds, model.inputs)
        yield feeds, model.answers(feeds)


def _whole_batches(samples: int, together: int) -> int:
    return -(-samples // together) * together


def _drawn(dataset: Dataset, positions: NDArray[np.int64]) -> Dataset:
    chosen = np.zeros(len(dataset), dtype=bool)
    chosen[positions] = True
    return dataset.where(chosen, f"{len(positions)} samples of {dataset.name}") or dataset


def _repeated(array: Array, count: int) -> Array:
    """As many samples as a fixed batch takes, of too few: the first ones come again."""
    return np.resize(array, (count, *array.shape[1:])) if len(array) < count else array


def _stored(feeds: Feeds, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    return {spec.name: _as_stored(feeds[spec.name], spec) for spec in inputs}


def _as_stored(array: Array, spec: TensorSpec) -> Array:
    dtype = np.dtype(spec.dtype)
    if spec.quantization is not None and array.dtype.kind == "f" and dtype.kind in "iu":
        return quantize(array, spec.quantization, dtype)
    return array.astype(dtype)


def _share(precisions: set[str]) -> float:
    if any("int8" in name or "int4" in name for name in precisions):
        return _EIGHT_BITS
    return _HALF if "float16" in precisions else FLOAT32.relative or 0.0


def _refuse_unfinite(answers: Feeds) -> None:
    for name, array in answers.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise VerificationError(
                f"the output {name!r} is NaN or infinite on a golden sample",
                hint="give samples like those that the model was trained on with --data",
            )


def _ask_again(golden: Golden, sandbox: Sandbox, engine: str) -> None:
    """Check as a device will."""
    try:
        check_golden(golden, sandbox.run_raw, sandbox.opened.inputs, engine=engine)
    except VerificationError as error:
        raise VerificationError(
            f"asked twice, the model answers in two ways: {error.message}",
            hint="a model that draws lots can't be checked on its device: take its random operators out",
        ) from error
