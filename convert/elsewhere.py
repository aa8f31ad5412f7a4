"""The same artifact on devices, beside this machine: answers from there, judged here by the code that judges all."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinsmith.convert.evaluation import Evaluation, Judge
from tinsmith.convert.metrics import metric_for, metric_named
from tinsmith.convert.predictors import SandboxedArtifact, run_samples
from tinsmith.runtime.errors import ModelError, TinsmithError
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.data import Batch, Dataset
    from tinsmith.convert.metrics import Metric
    from tinsmith.convert.predictors import Predictor
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = ["Answers", "DeviceEvaluation", "ElsewhereEvaluation", "evaluate_elsewhere", "evaluate_on"]

# What is in memory at a time, here and on the device; and the samples of one step, so that steps are the same here.
_PART_BYTES = 4 << 20
_STEP = 64


class Answers(Protocol):
    """One artifact on one device.

    Attributes:
        device: Its name.
        engine: What answered; empty before the first answer.
        engine_version: Of its package.
    """

    device: str
    engine: str
    engine_version: str

    def answer(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run samples there: an array an input name in, an array an output out, samples on axis 0.

        Raises:
            TinsmithError: The device can't be reached or was lost, or the model fails there.
        """
        ...

    def close(self) -> None:
        """Let go of the device; safe to call twice."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvaluation:
    """How good the answers of one device are, and how far they are those of this machine.

    Attributes:
        device: Its name.
        engine: What answered; empty where nothing did.
        engine_version: Of its package.
        samples: How many were answered.
        evaluation: Of those; None where there are none.
        other_outputs: At how many of them any number differs from this machine's.
        other_answers: At how many another class is named; None for what is no classifier.
        error: Why not all samples were answered; None where all were.
    """

    device: str
    engine: str
    engine_version: str
    samples: int
    evaluation: Evaluation | None
    other_outputs: int
    other_answers: int | None
    error: TinsmithError | None = None

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        error = self.error
        said = None if error is None else error.to_json()
        return {
            "device": self.device,
            "engine": self.engine,
            "engine_version": self.engine_version,
            "samples": self.samples,
            "evaluation": None if self.evaluation is None else self.evaluation.to_json(),
            "other_outputs": self.other_outputs,
            "other_answers": self.other_answers,
            "error": said,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ElsewhereEvaluation:
    """An artifact on this machine, and on devices.

    Attributes:
        here: On this machine, on all samples.
        engine: What answered here.
        engine_version: Of its package.
        there: One a device.
    """

    here: Evaluation
    engine: str
    engine_version: str
    there: tuple[DeviceEvaluation, ...]

    @property
    def exit_code(self) -> int:
        """The highest of all failures', or 0."""
        return max((one.error.exit_code for one in self.there if one.error), default=0)


def evaluate_elsewhere(
    models: Sequence[Path],
    data: str | Path,
    answers_of: Callable[[Path], Sequence[Answers]],
    *,
    metric: str | None = None,
    time_limit_s: float = 60.0,
    seed: int = 0,
) -> list[ElsewhereEvaluation]:
    """Evaluate artifacts on this machine and on devices, on the same samples.

    Args:
        models: .tflite or .onnx files.
        data: As ``open_dataset`` takes it.
        answers_of: The devices of one artifact; each is closed afterwards.
        metric: What judges; None for the usual one.
        time_limit_s: For the load here, and for each run.
        seed: Of the split.

    Raises:
        TinsmithError: As ``evaluate_models``; what fails on a device is part of the result.
    """
    from tinsmith.convert.data import Roles, open_dataset

    judge = None if metric is None else metric_named(metric)
    found = []
    for path in models:
        with contextlib.ExitStack() as stack:
            there = [stack.enter_context(contextlib.closing(one)) for one in answers_of(path)]
            artifact = stack.enter_context(SandboxedArtifact(path, Sandbox(time_limit_s=time_limit_s)))
            samples = Roles(open_dataset(data, artifact.inputs), seed=seed).report
            here, devices = evaluate_on(artifact, there, samples, judge)
            opened = artifact.sandbox.opened
        found.append(ElsewhereEvaluation(here=here, engine=opened.engine, engine_version=opened.version, there=devices))
    return found


def evaluate_on(
    predictor: Predictor, there: Sequence[Answers], dataset: Dataset, metric: Metric | None = None
) -> tuple[Evaluation, tuple[DeviceEvaluation, ...]]:
    """Run samples here and there, part by part, so that neither side holds all of them.

    Args:
        predictor: The artifact here.
        there: The same on devices.
        dataset: With labels or targets.
        metric: What judges; None for the usual one.

    Raises:
        DataError: As ``evaluate``.
        ModelError: As ``evaluate``, of this machine.
    """
    metric = metric or metric_for(None, dataset)
    here = Judge(dataset, metric)
    sides = [_Side(one, Judge(dataset, metric)) for one in there]
    for batch in dataset.batches(part_samples(predictor.inputs)):
        outputs = run_samples(predictor, batch.feeds)
        here.update(outputs, batch)
        for side in sides:
            side.update(outputs, batch)
    evaluation = here.evaluation()
    return evaluation, tuple(side.evaluation(evaluation) for side in sides)


def part_samples(inputs: Sequence[TensorSpec]) -> int:
    """How many samples are run at a time: a multiple of 64; a free axis counts as one."""
    sample_bytes = sum(4 * math.prod(length or 1 for length in spec.shape[1:]) for spec in inputs)
    return max(1, _PART_BYTES // max(1, sample_bytes) // _STEP) * _STEP


class _Side:
    """A device while it answers; the first error is the last that it is asked."""

    def __init__(self, answers: Answers, judge: Judge) -> None:
        self._answers, self._judge = answers, judge
        self._other_outputs = 0
        self._error: TinsmithError | None = None

    def update(self, here: Sequence[Array], batch: Batch) -> None:
        if self._error is not None:
            return
        try:
            outputs = self._answers.answer(batch.feeds)
            others = other_rows(here, outputs, self._answers.device)
            self._judge.update(outputs, batch)
        except TinsmithError as error:
            self._error = error
        else:
            self._other_outputs += others

    def evaluation(self, here: Evaluation) -> DeviceEvaluation:
        found = self._judge.evaluation() if self._judge.samples else None
        return DeviceEvaluation(
            device=self._answers.device,
            engine=self._answers.engine,
            engine_version=self._answers.engine_version,
            samples=self._judge.samples,
            evaluation=found,
            other_outputs=self._other_outputs,
            other_answers=None if found is None else _other_answers(found, here),
            error=self._error,
        )


def other_rows(here: Sequence[Array], there: Sequence[Array], device: str) -> int:
    """At how many samples any number of any output differs.

    Raises:
        ModelError: The outputs have other shapes.
    """
    if [array.shape for array in here] != [array.shape for array in there]:
        hint = f"look at its engine's version: tinsmith devices probe {device}"
        raise ModelError(f"{device}: its outputs have other shapes than here", hint=hint)
    differ = [(one != other).reshape(len(one), -1).any(axis=1) for one, other in zip(here, there, strict=True)]
    return int(np.logical_or.reduce(differ).sum())


def _other_answers(there: Evaluation, here: Evaluation) -> int | None:
    if not there.names_classes or not here.names_classes:
        return None
    return sum(one != other for one, other in zip(there.answers, here.answers, strict=False))
