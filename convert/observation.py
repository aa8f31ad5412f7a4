"""Calibrate a model by itself, so that its ranges can be looked at, merged and used again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.calibration import Calibration, load_calibration, save_calibration
from tinsmith.convert.data.roles import Roles
from tinsmith.convert.model import identify
from tinsmith.convert.predictors import opened_predictor
from tinsmith.convert.quantization import choose_quantizer
from tinsmith.runtime.errors import DataError, UsageError
from tinsmith.runtime.files import check_writable
from tinsmith.runtime.seeds import check_seed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.model import Model
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Part", "calibrate", "check_artifact", "merge_calibrations", "observe"]

_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One worker's share of the samples: those that follow each other, and as many even ones as odd ones.

    So parts that are merged in their order are what one worker finds on all, moving averages and halves included.

    Attributes:
        number: Whose share, 1 to ``of``.
        of: How many workers there are.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        """Hold the number to how many there are; raises ``UsageError``."""
        if not 1 <= self.number <= self.of:
            raise UsageError(f"there is no part {self.number} of {self.of}", hint="give K/N with K from 1 to N: 2/4")

    @classmethod
    def all(cls, of: int) -> list[Self]:
        """One a worker."""
        return [cls(number=number, of=of) for number in range(1, of + 1)]

    def chosen(self, samples: int) -> NDArray[np.bool_]:
        """Whether each of the samples belongs to it, bool [samples]."""
        pairs, at = -(-samples // 2), np.arange(samples) // 2
        return (at >= pairs * (self.number - 1) // self.of) & (at < pairs * self.number // self.of)


def calibrate(
    model: Path,
    data: str | Path,
    output: Path,
    *,
    part: Part | None = None,
    seed: int = 0,
    time_limit_s: float = 60.0,
) -> Calibration:
    """Run a float artifact on samples, and save what its tensors held.

    Args:
        model: A float .tflite or .onnx file.
        data: Samples, as ``open_dataset`` takes them; those of the calibration split where there are splits.
        output: The file to write, whole or not at all.
        part: Whose share of the samples to run; None for all.
        seed: Of the split.
        time_limit_s: For the model's first load, which happens in a child process.

    Raises:
        UsageError: The model is in another format.
        RecipeError: The model is quantized already.
        DataError: There are no samples, or they do not fit the model.
        ModelError: The model can't be run, or becomes NaN or infinite.
        OutputError: The file can't be written.
    """
    check_writable(output)
    found = observe(model, data, part=part, seed=seed, time_limit_s=time_limit_s)
    if found is None:
        assert part is not None
        raise DataError(f"{data} has too few samples: part {part.number} of {part.of} is empty", hint="use fewer parts")
    save_calibration(found, output)
    return found


def observe(
    model: Path, data: str | Path, *, part: Part | None, seed: int = 0, time_limit_s: float = 60.0
) -> Calibration | None:
    """As ``calibrate``, without writing anything; None where the part is empty."""
    check_seed(seed)
    source = check_artifact(model)
    with opened_predictor(source, time_limit_s=time_limit_s) as predictor:
        inputs = predictor.inputs
    samples = _samples(data, inputs, part, seed)
    if samples is None:
        return None
    return choose_quantizer(source.format).calibrate(model, (batch.feeds for batch in samples.batches(_BATCH)))


def check_artifact(model: Path) -> Model:
    """Refuse what is not quantized itself; raises as ``calibrate``."""
    source = identify(model)
    if not source.is_artifact:
        raise UsageError(
            f"{model.name} is a {source.format} model, and what is quantized is the .tflite or .onnx that it becomes",
            hint=f"convert it first: tinsmith convert {model} -o {model.stem}.tflite",
        )
    return source


def merge_calibrations(paths: Sequence[Path], output: Path) -> Calibration:
    """Join calibrations of parts of the samples into one file.

    Raises:
        DataError: One is damaged, or they are of different models.
        OutputError: The file can't be written.
    """
    check_writable(output)
    first, *others = paths
    merged = load_calibration(first)
    for path in others:
        merged = _merged(merged, path)
    save_calibration(merged, output)
    return merged


def _merged(before: Calibration, path: Path) -> Calibration:
    later = load_calibration(path)
    try:
        return before.merge(later)
    except DataError as error:
        raise DataError(f"{path} can't be merged with what stands before it: {error.message}") from error


def _samples(data: str | Path, inputs: tuple[TensorSpec, ...], part: Part | None, seed: int) -> Dataset | None:
    from tinsmith.convert.data import open_dataset

    dataset = Roles(open_dataset(data, inputs), seed=seed).calibration
    if part is None:
        return dataset
    return dataset.where(part.chosen(len(dataset)), f"part {part.number} of {part.of} of {dataset.name}")
