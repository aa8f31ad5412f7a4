"""Hold two models against each other on the same samples, without judging."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.model import identify
from tinsmith.convert.parity import SEEDED_SAMPLES, Difference, agreement, compare, in_order, seeded_feeds
from tinsmith.convert.predictors import opened_predictor, run_samples

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Comparison", "compare_models"]

_SAMPLES = 256


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

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return asdict(self)


def compare_models(
    reference: Path,
    other: Path,
    *,
    data: Path | None = None,
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
        feeds, origin = _feeds(before.inputs, data, seed)
        expected = run_samples(before, feeds)
        names = [spec.name for spec in before.outputs]
        actual = in_order(names, after, run_samples(after, feeds))
    return Comparison(
        samples=len(next(iter(feeds.values()))),
        origin=origin,
        differences=compare(names, expected, actual),
        agreement=agreement(expected, actual),
    )


def _feeds(inputs: Any, data: Path | None, seed: int) -> tuple[Any, str]:
    if data is None:
        return seeded_feeds(inputs, samples=SEEDED_SAMPLES, seed=seed), f"{SEEDED_SAMPLES} seeded random samples"
    from tinsmith.convert.data import open_dataset

    dataset = open_dataset(data, inputs)
    feeds = next(dataset.batches(_SAMPLES)).feeds
    return feeds, f"the first {len(next(iter(feeds.values())))} samples of {dataset.name}"
