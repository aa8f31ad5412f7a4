"""Inside the process that trains: what a pass has at hand there, and how its task is carried out."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.compress.structure.flattening import functional
from tinsmith.compress.training.batch_norm import batch_norms, recalibrate
from tinsmith.compress.training.checkpoint import Checkpoint
from tinsmith.compress.training.cluster import Cluster
from tinsmith.compress.training.engine import Course, fit, steps_per_epoch
from tinsmith.compress.training.task import Outcome
from tinsmith.compress.training.trainable import load_trainable, save_trainable
from tinsmith.compress.training.watching import Beginning
from tinsmith.compress.training.workers import Alone, join
from tinsmith.convert.data import Roles, open_dataset
from tinsmith.convert.evaluation import evaluate
from tinsmith.convert.frameworks import require
from tinsmith.convert.loading import load_trained
from tinsmith.convert.metrics import metric_for
from tinsmith.convert.model import Model, identify
from tinsmith.convert.trained import from_keras
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.compress.passes.trained import TrainedPass
    from tinsmith.compress.training.features import FeatureTaps
    from tinsmith.compress.training.held import Held
    from tinsmith.compress.training.settings import TrainingStep
    from tinsmith.compress.training.task import Task
    from tinsmith.compress.training.watching import Watcher
    from tinsmith.compress.training.workers import Workers
    from tinsmith.convert.data import Dataset
    from tinsmith.convert.metrics import Metric
    from tinsmith.convert.trained import TrainedModel
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Shaping", "Transformed", "Workshop", "as_trained", "carry_out"]


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """What a pass made of a model.

    Attributes:
        model: The tf_keras model; the one that went in, if nothing was to be done.
        modified: Whether it differs from what went in.
        measured: What the pass found out, by name.
        artifact: What the pass wrote for the target itself; None where the planner's conversion does it.
    """

    model: Any
    modified: bool
    measured: dict[str, float | str]
    artifact: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """What happens to weights while they are trained, besides the training.

    Attributes:
        before_step: Is called with each step's number, from 0.
        settle: Brings the weights into the form in which they will be used; is called before they are judged.
        settled: Share of the epochs after which a model may be kept as the best one.
    """

    before_step: Callable[[int], None]
    settle: Callable[[], None]
    settled: float

    @classmethod
    def holding(cls, held: Held) -> Shaping | None:
        """Nothing but that some numbers stay what they are; None where there are none."""
        if not held.entries:
            return None
        return cls(before_step=lambda _: held.restore(), settle=held.restore, settled=0.0)


class Workshop:
    """Samples, teacher and engine for one pass.

    Args:
        task: What to do.
        inputs: Of the model.
        watcher: Is told how a training goes.
        workers: Who train.
    """

    def __init__(
        self, task: Task, inputs: tuple[TensorSpec, ...], watcher: Watcher, workers: Workers | None = None
    ) -> None:
        self.task = task
        self.seed = task.seed
        self._inputs = inputs
        self._watcher = watcher
        self._workers = workers or Alone()

    @cached_property
    def dataset(self) -> Dataset:
        """All samples; raises ``DataError`` where the user gave none."""
        if self.task.data is None:
            raise DataError(f"{self.task.step['kind']} needs samples", hint="give them with --data")
        return open_dataset(self.task.data, self._inputs)

    @cached_property
    def _roles(self) -> Roles:
        return Roles(self.dataset, seed=self.seed)

    @cached_property
    def metric(self) -> Metric:
        """What judges."""
        return metric_for(self.task.metric, self.dataset)

    @property
    def train(self) -> Dataset:
        """Samples to learn from."""
        return self._roles.train

    @property
    def validation(self) -> Dataset | None:
        """Samples to judge by; None where nothing says what is right."""
        return self._roles.validation

    @cached_property
    def teacher(self) -> TrainedModel | None:
        """The model before anything was taken away."""
        return None if self.task.teacher is None else self.load(self.task.teacher)

    def load(self, named: tuple[str, str]) -> TrainedModel:
        """A model by path and format, as one of tf_keras without models inside."""
        form: Any = named[1]
        return _opened(load_trainable(Model(path=Path(named[0]), format=form), allow_unsafe=self.task.allow_unsafe))

    def load_path(self, path: Path) -> TrainedModel:
        """A model that the recipe names; raises ``ModelLoadError``."""
        return _opened(load_trainable(identify(path), allow_unsafe=self.task.allow_unsafe))

    def judge(self, model: TrainedModel) -> float | None:
        """The metric on the validation samples; None where there are none, or the usual metric does not fit the model.

        Raises:
            DataError: The metric that the user chose does not fit.
        """
        if self.validation is None:
            return None
        try:
            return self._score(model, self.validation)
        except DataError:
            # nobody asked for a score, and what changes a model without labels works without one
            if self.task.metric is not None:
                raise
            return None

    def recalibrate(self, model: TrainedModel) -> int:
        """Batch-norm statistics on the samples to learn from; see ``recalibrate``."""
        return recalibrate(model, self.train, seed=self.seed)

    def fit(
        self,
        model: TrainedModel,
        step: TrainingStep,
        *,
        teacher: TrainedModel | None = None,
        features: FeatureTaps | None = None,
        shaping: Shaping | None = None,
    ) -> dict[str, float | str]:
        """Train a model in place, and measure its batch-norm statistics again; see ``fit`` and ``Course``.

        Args:
            model: Changes.
            step: How long, how fast.
            teacher: Another one than the model before anything was taken away.
            features: What of the teacher's inner layers is learned as well.
            shaping: What else happens to the weights.

        Returns:
            Epochs, and the score on the validation samples.
        """
        course = Course(
            train=self.train,
            validation=self.validation,
            judge=self._score if shaping is None else lambda *judged: self._shaped(shaping, *judged),
            more_is_better=self.metric.more_is_better,
            seed=self.seed,
            beginning=self._beginning(step),
            watcher=self._watcher,
            checkpoint=self._checkpoint(),
            teacher=teacher if teacher is not None else self.teacher,
            features=features,
            before_step=shaping.before_step if shaping else None,
            settled=shaping.settled if shaping else 0.0,
            workers=self._workers,
            run=self.task.run("", self.train.sha256),
        )
        fitted = fit(model, step, course)
        if shaping is not None:
            shaping.settle()
        self._recalibrate_learned(model)
        score = self.judge(model)
        measured: dict[str, float | str] = {"epochs": len(fitted.history), "kept epoch": fitted.kept_epoch}
        return {**measured, **self.scored("", score)}

    def scored(self, when: str, score: float | None) -> dict[str, float | str]:
        """A validation score under its name, such as ``validation accuracy before``; nothing where there is none."""
        return {} if score is None else {f"validation {self.metric.name} {when}".rstrip(): score}

    def _recalibrate_learned(self, model: TrainedModel) -> None:
        """Frozen layers keep the statistics that the others have learned with."""
        learned = [layer for layer in batch_norms(model.native) if layer.trainable]
        recalibrate(model, self.train, seed=self.seed, layers=learned)

    def steps(self, step: TrainingStep) -> int:
        """How many steps of the optimizer a training takes."""
        return max(1, steps_per_epoch(len(self.train), step.batch_size) * step.epochs)

    def _beginning(self, step: TrainingStep) -> Beginning:
        task = self.task
        return Beginning(
            training=uuid.uuid4().hex[:8],
            kind=step.kind,
            artifact=task.artifact,
            metric=self.metric.name,
            epochs=step.epochs,
            steps=steps_per_epoch(len(self.train), step.batch_size),
            settings={**task.step, "seed": self.seed, "data": task.data},
        )

    def _shaped(self, shaping: Shaping, model: TrainedModel, samples: Dataset) -> float:
        shaping.settle()
        return self._score(model, samples)

    def _score(self, model: TrainedModel, samples: Dataset) -> float:
        return evaluate(model, samples, self.metric).score

    def _checkpoint(self) -> Checkpoint | None:
        if self.task.checkpoint is None:
            return None
        run = self.task.run(sha256_of(Path(self.task.source[0])), self.dataset.sha256)
        return Checkpoint(Path(self.task.checkpoint), run)


def carry_out(task: Task, watcher: Watcher) -> Outcome:
    """Load the model, let the pass change it, and save what came out.

    Raises:
        DeviceError: Other workers did not come, or were lost.
        TinsmithError: As the pass says.
    """
    from pydantic import TypeAdapter

    from tinsmith.compress.passes.table import pass_of
    from tinsmith.compress.passes.trained import TrainedPass
    from tinsmith.compress.recipe import RecipeStep

    target: Any = task.target
    step = TypeAdapter(RecipeStep).validate_python(task.step)
    workers = join(Cluster.of()) if step.needs.training else Alone()
    require("tensorflow", needed_for="training").config.experimental.enable_op_determinism()
    require("tf_keras", needed_for="training").utils.set_random_seed(task.seed)
    work = pass_of(step, target)
    if not isinstance(work, TrainedPass):
        raise TypeError(f"{work.kind} does not train")
    outcome = _outcome(task, work, watcher, workers)
    workers.leave()
    return outcome


def _outcome(task: Task, work: TrainedPass, watcher: Watcher, workers: Workers) -> Outcome:
    form: Any = task.source[1]
    source = Model(path=Path(task.source[0]), format=form)
    load = load_trained if task.native else load_trainable
    model = load(source, allow_unsafe=task.allow_unsafe)
    if work.opens_models:
        model = _opened(model)
    if not work.minds_marks:
        model.native.trainable = True
    done = work.transform(model, Workshop(task, model.inputs, watcher, workers))
    if not done.modified:
        return Outcome(model=task.source, stands_for=task.source, modified=False, measured=done.measured)
    saved = save_trainable(done.model, Path(f"{task.output}.keras"))
    stands_for = (str(saved.path), saved.format)
    return Outcome(model=done.artifact or stands_for, stands_for=stands_for, modified=True, measured=done.measured)


def _opened(model: TrainedModel) -> TrainedModel:
    """Its layers by themselves; see ``functional``."""
    whole = functional(model.native)
    return model if whole is model.native else as_trained(whole)


def as_trained(model: Any) -> TrainedModel:
    """A tf_keras model that a pass has built."""
    return from_keras(model, "tf_keras")
