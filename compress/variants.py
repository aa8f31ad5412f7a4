"""Variants of one model side by side: what each weighs, how often it is right, how fast it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tinsmith.convert.evaluation import Evaluation, evaluate_models
from tinsmith.convert.inspection.sizes import deflated_bytes
from tinsmith.convert.model import identify

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.runtime.measurement import Measurement

__all__ = ["Measure", "Variant", "Variants"]


class Measure(Protocol):
    """Measures how fast an artifact runs on this machine."""

    def __call__(self, artifact: Path) -> Measurement:
        """Load it in processes of its own and time it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One variant of a model.

    Attributes:
        format: ``keras``, ``tflite`` or ``onnx``.
        recipe: What was done to it.
        file: Its name.
        size_bytes: Of the file.
        zip_bytes: The same, deflated: what a download costs.
        accuracy: On the samples, 0 to 1.
        agreement: Share of the samples on which it answers as the first variant does, 0 to 1.
        p50_ms: Median run time of one sample; None where it was not measured.
        p90_ms: Nine runs of ten took no longer; None where it was not measured.
    """

    format: str
    recipe: str
    file: str
    size_bytes: int
    zip_bytes: int
    accuracy: float
    agreement: float
    p50_ms: float | None
    p90_ms: float | None


class Variants:
    """Judges variants on the same samples, each against the first.

    Args:
        data: Labelled samples, as ``open_dataset`` takes them.
        measure: How fast an artifact is; None measures nothing.
        seed: Of the split, where the user has split the samples.
    """

    def __init__(self, data: str | Path, measure: Measure | None = None, *, seed: int = 0) -> None:
        self._data, self._measure, self._seed = data, measure, seed
        self._reference: Evaluation | None = None

    @property
    def samples(self) -> int:
        """How many the accuracies stand on; 0 before the first variant."""
        return 0 if self._reference is None else self._reference.samples

    def judge(self, path: Path, recipe: str) -> Variant:
        """One more variant; the first is what the others are held against.

        Args:
            path: A model of any format with one file; only artifacts are timed.
            recipe: What was done to it.

        Raises:
            TinsmithError: It can't be run, or the samples do not fit it or have no class labels.
        """
        (found,) = evaluate_models([path], self._data, seed=self._seed)
        self._reference = self._reference or found
        model = identify(path)
        timed = self._measure(path) if self._measure is not None and model.is_artifact else None
        return Variant(
            format=model.format,
            recipe=recipe,
            file=path.name,
            size_bytes=path.stat().st_size,
            zip_bytes=deflated_bytes(path),
            accuracy=found.accuracy,
            agreement=found.agreement(self._reference),
            p50_ms=timed.p50_ms if timed else None,
            p90_ms=timed.p90_ms if timed else None,
        )
