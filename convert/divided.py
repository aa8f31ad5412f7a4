"""Calibration and evaluation with the samples divided among workers: the same result as on one machine.

A worker runs samples that follow each other. What calibrations have found is merged in their order; answers are judged
here, in theirs, so that every metric is what it is on one machine.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.calibration import Calibration, no_samples, save_calibration
from tinsmith.convert.data import Batch, Roles, open_dataset
from tinsmith.convert.evaluation import BATCH, Judge
from tinsmith.convert.metrics import metric_for, metric_named
from tinsmith.convert.model import identify
from tinsmith.convert.observation import Part, check_artifact, observe
from tinsmith.convert.parcels import parcel_of_data, parcel_of_model
from tinsmith.convert.predictors import opened_predictor, run_samples
from tinsmith.convert.workers import Errand, results
from tinsmith.runtime.files import check_writable
from tinsmith.runtime.seeds import check_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.evaluation import Evaluation
    from tinsmith.convert.workers import Workers

    Answers = list[list[NDArray[np.generic]]]

__all__ = ["calibrate_divided", "evaluate_divided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observe:
    """A calibration of some samples."""

    part: Part
    seed: int
    time_limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A model's answers to some samples.

    Attributes:
        batches: From which batch to which, without the last.
        seed: Of the split.
        limits: As ``opened_predictor`` takes them.
    """

    batches: tuple[int, int]
    seed: int
    limits: Mapping[str, Any]


def calibrate_divided(
    workers: Workers, model: Path, data: str | Path, output: Path, *, seed: int = 0, time_limit_s: float = 60.0
) -> Calibration:
    """As ``calibrate``, by several workers at once.

    Extremes and histograms are those that one machine finds, as far as the engine gives a sample the same numbers
    whichever samples it runs beside it; a moving average differs by rounding at most.

    Args:
        workers: Each runs a part of the samples.
        model: As ``calibrate`` takes it.
        data: The same.
        output: The file to write, whole or not at all.
        seed: Of the split.
        time_limit_s: For the model's first load on each worker.

    Raises:
        TinsmithError: As ``calibrate``, and as ``results``.
    """
    check_seed(seed)
    check_writable(output)
    check_artifact(model)
    parcels = {"model": parcel_of_model(model), "data": parcel_of_data(data)}
    parts = Part.all(workers.count)
    orders = [_Observe(part=part, seed=seed, time_limit_s=time_limit_s) for part in parts]
    found = results(workers, [Errand(work=_observed, task=order, parcels=parcels) for order in orders])
    calibrations = [calibration for calibration in found if calibration is not None]
    if not calibrations:
        raise no_samples()
    merged = reduce(Calibration.merge, calibrations)
    save_calibration(merged, output)
    return merged


def _observed(task: _Observe, places: Mapping[str, str], _: str) -> Calibration | None:
    """On a worker."""
    limits: Any = {"seed": task.seed, "time_limit_s": task.time_limit_s}
    return observe(Path(places["model"]), places["data"], part=task.part, **limits)


def evaluate_divided(
    workers: Workers,
    models: Sequence[Path],
    data: str | Path,
    *,
    metric: str | None = None,
    seed: int = 0,
    **limits: Any,
) -> list[Evaluation]:
    """As ``evaluate_models``, by several workers at once; they run the models, and are judged here.

    Args:
        workers: Each runs a part of the samples.
        models: As ``evaluate_models`` takes them.
        data: The same.
        metric: The same.
        seed: The same.
        limits: ``allow_unsafe`` and ``time_limit_s``, the same.

    Raises:
        TinsmithError: As ``evaluate_models``, and as ``results``.
    """
    judge = None if metric is None else metric_named(metric)
    evaluations = []
    for path in models:
        with opened_predictor(identify(path), **limits) as predictor:
            samples = Roles(open_dataset(data, predictor.inputs), seed=seed).report
        parcels = {"model": parcel_of_model(path), "data": parcel_of_data(data)}
        orders = [_Run(batches=share, seed=seed, limits=limits) for share in _shares(len(samples), workers.count)]
        parts = results(workers, [Errand(work=_answers, task=order, parcels=parcels) for order in orders])
        kept = Judge(samples, judge or metric_for(None, samples))
        for batch, outputs in zip(_labels(samples), [outputs for part in parts for outputs in part], strict=True):
            kept.update(outputs, batch)
        evaluations.append(kept.evaluation())
    return evaluations


def _shares(samples: int, workers: int) -> list[tuple[int, int]]:
    """Whole batches, so that a model is given the same ones as on one machine."""
    batches = -(-samples // BATCH)
    cuts = [batches * number // workers for number in range(workers + 1)]
    return [(first, last) for first, last in itertools.pairwise(cuts) if first < last]


def _labels(samples: Dataset) -> list[Batch]:
    """Batches of what is right alone; the samples themselves are read by those who run the model."""
    labels, targets = samples.labels, samples.targets
    cuts = [slice(start, start + BATCH) for start in range(0, len(samples), BATCH)]
    return [
        Batch(
            feeds={},
            labels=None if labels is None else labels[cut],
            targets=None if targets is None else targets[cut],
        )
        for cut in cuts
    ]


def _answers(task: _Run, places: Mapping[str, str], _: str) -> Answers:
    """On a worker: an array an output, a list a batch."""
    model = identify(Path(places["model"]))
    with opened_predictor(model, **task.limits) as predictor:
        samples = Roles(open_dataset(places["data"], predictor.inputs), seed=task.seed).report
        at, (first, last) = np.arange(len(samples)) // BATCH, task.batches
        part = samples.where((at >= first) & (at < last), f"a part of {samples.name}")
        assert part is not None
        return [run_samples(predictor, batch.feeds) for batch in part.batches(BATCH)]
