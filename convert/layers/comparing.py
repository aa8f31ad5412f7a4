"""What ``compare --layers`` does: any float model against an artifact that was made from it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from tinsmith.convert.comparison import samples_for
from tinsmith.convert.layers.observing import layer_report
from tinsmith.convert.model import identify
from tinsmith.convert.writers import writers_named
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.layers.report import LayerReport
    from tinsmith.convert.model import Model
    from tinsmith.runtime.tensors import TensorSpec

    Feeds = Mapping[str, NDArray[np.generic]]

__all__ = ["LayerComparison", "compare_layers", "first_samples"]

_COMPARED_SAMPLES = 256
_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerComparison:
    """A layer report, and what it was made from.

    Attributes:
        reference: The float model, as it was named.
        reference_sha256: Of its file, or of the files in its folder.
        other: The artifact.
        other_sha256: Of its file.
        origin: Where the samples came from, for people.
        report: What was found.
    """

    reference: Path
    reference_sha256: str
    other: Path
    other_sha256: str
    origin: str
    report: LayerReport

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "reference": str(self.reference),
            "reference_sha256": self.reference_sha256,
            "other": str(self.other),
            "other_sha256": self.other_sha256,
            "origin": self.origin,
            **self.report.to_json(),
        }


def compare_layers(
    reference: Path,
    other: Path,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    allow_unsafe: bool = False,
    time_limit_s: float = 60.0,
) -> LayerComparison:
    """Hold an artifact against the float model that it was made from, layer by layer.

    Args:
        reference: The float model. A Keras model or a SavedModel is converted to the artifact's format first.
        other: A .tflite or .onnx file.
        data: Samples, of which the first 256 are run; seeded random numbers where there are none, which tell little
            about ranges.
        seed: Of those numbers.
        allow_unsafe: Load Keras models whose ``Lambda`` layers run code of their author.
        time_limit_s: For the first load and run of each file, in a child process.

    Raises:
        UsageError: There is no pair of one format to compare.
        VerificationError: They are not the same model.
        ModelError: One of them can't be loaded, run or converted.
        DataError: The samples do not fit.
    """
    one, two = identify(reference), identify(other)
    if not two.is_artifact:
        raise UsageError(
            f"{other} is {two.format}, and layers are compared in .tflite and .onnx files",
            hint="give the float model first, then what was made from it",
        )
    with tempfile.TemporaryDirectory(prefix="tinsmith-") as folder:
        plain = _plain(one, two, Path(folder), allow_unsafe=allow_unsafe)
        with writers_named([one.path, two.path], {}), Sandbox(time_limit_s=time_limit_s) as sandbox:
            sandbox.open(two.path)
            inputs = sandbox.open(plain).inputs
        samples, origin = _samples(inputs, data, seed=seed)
        report = layer_report(plain, two.path, samples)
    return LayerComparison(
        reference=reference,
        reference_sha256=sha256_of(reference),
        other=other,
        other_sha256=sha256_of(other),
        origin=origin,
        report=report,
    )


def first_samples(dataset: Dataset, limit: int) -> Iterator[Feeds]:
    """The first samples of a dataset, a batch at a time."""
    for batch in dataset.batches(min(limit, _BATCH)):
        given = len(next(iter(batch.feeds.values())))
        yield {name: array[:limit] for name, array in batch.feeds.items()}
        limit -= given
        if limit <= 0:
            return


def _plain(one: Model, two: Model, folder: Path, *, allow_unsafe: bool) -> Path:
    """The float model in the artifact's format."""
    if one.is_artifact:
        return one.path
    from tinsmith.convert.conversion import convert_model

    made = folder / f"float32.{two.format}"
    convert_model(one, cast("Literal['tflite', 'onnx']", two.format), made, allow_unsafe=allow_unsafe)
    return made


def _samples(inputs: tuple[TensorSpec, ...], data: str | Path | None, *, seed: int) -> tuple[Iterable[Feeds], str]:
    if data is None:
        seeded = samples_for(inputs, None, limit=_COMPARED_SAMPLES, seed=seed)
        return [seeded.feeds], seeded.origin
    from tinsmith.convert.data import open_dataset

    dataset = open_dataset(data, inputs)
    count = min(len(dataset), _COMPARED_SAMPLES)
    return first_samples(dataset, count), f"the first {count} samples of {dataset.name}"
