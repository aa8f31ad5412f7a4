"""Train a model that a function of the user builds, with the engine that every pass trains with."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.compress.bench import Bench
from tinsmith.compress.compression import Training, watchers_of
from tinsmith.compress.passes.finetune import Finetune, FinetuneStep
from tinsmith.compress.resuming import WorkFolder
from tinsmith.compress.training.building import Built, build_apart
from tinsmith.convert.data import open_dataset
from tinsmith.convert.metrics import metric_named
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.files import check_writable, sha256_of, staged_file
from tinsmith.runtime.seeds import check_seed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.compress.passes.base import PassResult
    from tinsmith.convert.data import Dataset

__all__ = ["Plan", "TrainJob", "Trained", "plan_training", "step_of", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """What the user asked for.

    Attributes:
        source: ``package.module:function``, which builds a model, or the path of a .keras or .h5 model.
        data: Samples, as ``open_dataset`` takes them.
        output: The model to write; ends in .keras.
        step: How it is trained.
        seed: Of all chance.
        metric: What judges it on the validation samples; None for the usual one.
        allow_unsafe: Load ``Lambda`` layers, whose code the author of a file wrote.
        training: Who watches, and whether to go on where a killed run stood.
    """

    source: str
    data: str | Path
    output: Path
    step: FinetuneStep = field(default_factory=FinetuneStep)
    seed: int = 0
    metric: str | None = None
    allow_unsafe: bool = False
    training: Training = field(default_factory=Training)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be trained, on what.

    Attributes:
        built: The model.
        dataset: The samples, validation among them.
        step: How.
    """

    built: Built
    dataset: Dataset
    step: FinetuneStep

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "source": {key: value for key, value in self.built.to_json().items() if key != "model"},
            "samples": len(self.dataset),
            "data_sha256": self.dataset.sha256,
            "settings": self.step.document(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained model in its place.

    Attributes:
        output: The .keras file.
        sha256: Of it.
        size_bytes: Of it.
        plan: What was trained, on what.
        measured: What came out: epochs, the one that was kept, the score on the validation samples.
    """

    output: Path
    sha256: str
    size_bytes: int
    plan: Plan
    measured: Mapping[str, float | str]

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "output": str(self.output),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            **self.plan.to_json(),
            "measured": dict(self.measured),
        }


def step_of(settings: Mapping[str, Any]) -> FinetuneStep:
    """The settings of a training, checked.

    Args:
        settings: Fields of ``FinetuneStep``.

    Raises:
        UsageError: One is unknown, or out of its range.
    """
    from pydantic import ValidationError

    try:
        return FinetuneStep.model_validate(dict(settings))
    except ValidationError as error:
        said = "; ".join(
            f"{detail['loc'][0] if detail['loc'] else 'settings'}: {detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors()
        )
        raise UsageError(said, hint="see `tinsmith train --help`") from None


def train(job: TrainJob) -> Trained:
    """Train a model, and write it as a .keras file of the Keras that it was built with.

    While it trains, a folder ``OUTPUT.work`` beside the output holds what a resumed run needs.

    Args:
        job: What the user asked for.

    Raises:
        TinsmithError: As the exit codes say; the output is as it was before then.
    """
    _check(job)
    work = WorkFolder(job.output, resume=job.training.resume, run="")
    try:
        plan = _plan(job, work.path)
        result = Finetune(job.step, target="tflite").apply(plan.built.model, _bench(job, plan, work.path))
        _put(result, job.output)
    except BaseException:
        work.abandon()
        raise
    work.clear()
    return Trained(
        output=job.output,
        sha256=sha256_of(job.output),
        size_bytes=job.output.stat().st_size,
        plan=plan,
        measured=result.measured,
    )


def plan_training(job: TrainJob, folder: Path) -> Plan:
    """Build the model and open the samples, and train nothing.

    Args:
        job: What the user asked for.
        folder: Where the untrained model is written.

    Raises:
        TinsmithError: As ``train`` would, as far as that can be known before.
    """
    _check(job)
    return _plan(job, folder)


def _check(job: TrainJob) -> None:
    if job.output.suffix != ".keras":
        raise UsageError(
            f"{job.output} is no .keras file, and a trained model is written as one",
            hint="end --output in .keras; `tinsmith convert` makes any other format of it",
        )
    if Path(job.source).exists() and job.output.resolve() == Path(job.source).resolve():
        raise UsageError(
            f"the output {job.output} would change the source", hint="name another file; the source is never changed"
        )
    check_seed(job.seed)
    if job.metric is not None:
        metric_named(job.metric)
    check_writable(job.output)


def _plan(job: TrainJob, folder: Path) -> Plan:
    built = build_apart(job.source, folder / "built.keras", seed=job.seed, allow_unsafe=job.allow_unsafe)
    return Plan(built=built, dataset=open_dataset(job.data, built.inputs), step=job.step)


def _bench(job: TrainJob, plan: Plan, folder: Path) -> Bench:
    return Bench(
        folder=folder,
        dataset=plan.dataset,
        seed=job.seed,
        allow_unsafe=job.allow_unsafe,
        data=str(job.data),
        checkpoints=folder,
        watcher=watchers_of(job.training),
        metric=job.metric,
        native=True,
        artifact=job.output.name,
    )


def _put(result: PassResult, output: Path) -> None:
    with staged_file(output) as staged:
        shutil.copyfile(result.model.path, staged)
