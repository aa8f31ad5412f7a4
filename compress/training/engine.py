"""The one training loop: every pass that trains calls ``fit``.

It is the same on Keras 3 and tf_keras models, and the same run to run: the order of the samples, what is drawn by
chance, and the arithmetic depend on the seed alone, so that a training that was killed goes on to the same weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.training.augmentation import augmented
from tinsmith.compress.training.averaging import WeightAverage
from tinsmith.compress.training.checkpoint import Standing
from tinsmith.compress.training.losses import TaughtLoss, check_heads
from tinsmith.compress.training.schedule import CosineSchedule
from tinsmith.compress.training.truth import check_truth, head_for, truth_of
from tinsmith.compress.training.watching import EpochRecord, StepRecord
from tinsmith.compress.training.workers import Alone
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import DataError, ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tinsmith.compress.training.checkpoint import Checkpoint
    from tinsmith.compress.training.features import FeatureTaps
    from tinsmith.compress.training.losses import Head
    from tinsmith.compress.training.settings import TrainingStep
    from tinsmith.compress.training.watching import Beginning, Watcher
    from tinsmith.compress.training.workers import Workers
    from tinsmith.convert.data import Batch, Dataset
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Course", "Fitted", "fit", "steps_per_epoch"]

# Between the seeds of two workers, who must not drop the same units; no epoch reaches the next one's.
_WORKERS_APART = 15_485_863


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a model is trained on, and who watches.

    Attributes:
        train: Samples to learn from.
        validation: Samples to judge by, never learned from; None where there are too few.
        judge: Scores the model on samples; None where nothing can be judged.
        seed: Of all chance.
        beginning: What the watcher is told at first.
        watcher: Is told how it goes.
        checkpoint: Where it is kept after each epoch; None to keep nothing.
        teacher: Whose answers are learned; None to learn from labels alone.
        features: What of the teacher's inner layers is learned as well; None for its answers alone.
        before_step: Is called with each step's number, from 0.
        settled: Share of the epochs after which a model may be kept as the best one: pruned all it should be.
        more_is_better: Of the scores.
        workers: Who learn a part of each batch.
        run: Names the settings and samples, the same for all workers.
    """

    train: Dataset
    validation: Dataset | None
    judge: Callable[[TrainedModel, Dataset], float] | None
    seed: int
    beginning: Beginning
    watcher: Watcher
    checkpoint: Checkpoint | None = None
    teacher: TrainedModel | None = None
    features: FeatureTaps | None = None
    before_step: Callable[[int], None] | None = None
    settled: float = 0.0
    more_is_better: bool = True
    workers: Workers = field(default_factory=Alone)
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """How a training went.

    Attributes:
        history: One record an epoch.
        kept_epoch: Whose weights the model has now, from 1; 0 for those it came with.
    """

    history: tuple[EpochRecord, ...]
    kept_epoch: int


def fit(model: TrainedModel, step: TrainingStep, course: Course) -> Fitted:
    """Train a model in place.

    Args:
        model: Of Keras 3 or tf_keras; its weights change.
        step: How long, how fast.
        course: On what.

    Returns:
        How it went. The model has the weights of the last epoch, or their mean over the last steps where the settings
        say ``average``; with ``patience``, those of the best epoch.

    Raises:
        DataError: The samples don't say what is right, or say what the model has no answer for.
        UsageError: The settings or the teacher don't fit the model, the checkpoint belongs to another training, or
            other workers start another one.
        DeviceError: Another worker was lost.
        ModelError: The loss is not a number any more.
    """
    _check(model, step, course)
    loop = _Loop(model, step, course)
    loop.restore()
    loop.meet()
    while not loop.ended:
        loop.epoch()
    course.watcher.ended(finished=True)
    return loop.finish()


def _check(model: TrainedModel, step: TrainingStep, course: Course) -> None:
    if not course.train.has_answers and course.teacher is None:
        raise DataError(
            f"{course.train.name} has no labels to learn from", hint="add y to the .npz; bn-recalibrate needs none"
        )
    check_truth(model, head_for(model, course.train), course.train)
    if not model.native.trainable_variables:
        raise UsageError("every weight of the model is frozen, so nothing can learn", hint="freeze less: freeze: 0")
    if step.augment and any(len(spec.shape) != 4 for spec in model.inputs):
        raise UsageError("augment is for images shaped [n, height, width, channels]", hint="leave augment out")
    if course.teacher is not None:
        _check_teacher(model, step, course, course.teacher)


def _check_teacher(model: TrainedModel, step: TrainingStep, course: Course, teacher: TrainedModel) -> None:
    if [s.shape for s in teacher.inputs] != [s.shape for s in model.inputs]:
        raise UsageError(
            f"the teacher takes {[list(s.shape) for s in teacher.inputs]}, but the student "
            f"{[list(s.shape) for s in model.inputs]}",
            hint="the teacher must take the student's input",
        )
    given, taught = ([list(s.shape[1:]) for s in one.outputs] for one in (model, teacher))
    if given != taught and _listens(step, course):
        raise UsageError(
            f"the teacher answers {taught}, but the model {given}, so it can't be learned from",
            hint="learn from labels alone: teacher_weight: 0; or make the new head first, and take away afterwards",
        )
    taught_head = _taught_head(step, course)
    if taught_head is not None:
        check_heads(head_for(model, course.train), taught_head)


def _taught_head(step: TrainingStep, course: Course) -> Head | None:
    """What the teacher answers; None where its answers, whatever else is learned of it, are not taken in."""
    if course.teacher is None or (step.teacher_weight == 0 and course.train.has_answers):
        return None
    return head_for(course.teacher, course.train)


def _listens(step: TrainingStep, course: Course) -> bool:
    """Whether anything of the teacher goes into the loss."""
    if course.teacher is None:
        return False
    return step.teacher_weight > 0 or course.features is not None or not course.train.has_answers


class _Loop:
    """The state of one training between two epochs."""

    def __init__(self, model: TrainedModel, step: TrainingStep, course: Course) -> None:
        self._model, self._settings, self._course = model, step, course
        self._keras = require(model.framework, needed_for="training")
        self._tf = require("tensorflow", needed_for="training")
        self._steps = steps_per_epoch(len(course.train), step.batch_size)
        self._schedule = CosineSchedule.of(
            peak=step.learning_rate, steps=max(1, self._steps * step.epochs), warmup=step.warmup
        )
        self._optimizer = _optimizer(self._keras, step)
        self._optimizer.build(model.native.trainable_variables)
        self._head = head_for(model, course.train)
        self._taking_in = _listens(step, course)
        self._objective = TaughtLoss(
            head=self._head,
            taught_head=_taught_head(step, course) or self._head,
            teacher_weight=step.teacher_weight,
            temperature=step.temperature,
        )
        self._learn: Any = None
        self._beginning = course.beginning
        self._history: list[EpochRecord] = []
        self._best: tuple[int, float, list[Any]] | None = None
        first = round(self._steps * step.epochs * (1 - step.average))
        self._average = WeightAverage(model.native.variables, first=first)

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or none of the last ones brought anything."""
        done = len(self._history)
        patience = self._settings.patience
        waited = done - self._best[0] if self._best is not None else 0
        return done >= self._settings.epochs or (patience is not None and waited >= patience)

    def restore(self) -> None:
        """Go on where the checkpoint stands, and tell the watcher from where it goes."""
        standing = self._course.checkpoint.load() if self._course.checkpoint else None
        if standing is not None:
            self._stand(standing)
            self._beginning = replace(self._beginning, training=standing.training, history=standing.history)
        self._course.watcher.began(self._beginning)

    def _stand(self, standing: Standing) -> None:
        _assign(self._model.native.variables, standing.variables)
        _assign(_variables(self._optimizer), standing.optimizer)
        self._average.numbers = None if standing.average is None else list(standing.average)
        for record in standing.history:
            self._history.append(record)
            if standing.best is not None:
                self._consider(record, standing.best)

    def meet(self) -> None:
        """Make sure that all workers start the same; raises ``UsageError``."""
        self._course.workers.agree(self._course.run, len(self._history), self._model.native.variables)

    def epoch(self) -> None:
        """Learn every sample once, judge, and keep where it stands."""
        number = len(self._history)
        started = time.perf_counter()
        self._draw_anew(number)
        losses = [self._step(number, at, batch) for at, batch in enumerate(self._batches(number))]
        if not np.isfinite(losses).all():
            raise ModelError(
                f"the loss is not a number any more in epoch {number + 1}",
                hint=f"lower learning_rate, which is {self._settings.learning_rate:g}",
            )
        course = self._course
        course.workers.level(self._model.native.variables)
        reached = self._take_average()
        score = course.judge(self._model, course.validation) if course.judge and course.validation else None
        record = EpochRecord(
            epoch=number + 1,
            epochs=self._settings.epochs,
            loss=float(np.mean(losses)),
            score=None if score is None else course.workers.mean(score),
            learning_rate=self._schedule((number + 1) * self._steps - 1),
            seconds=time.perf_counter() - started,
        )
        self._history.append(record)
        self._consider(record, None)
        if reached is not None:
            _assign(self._model.native.variables, reached)
        self._keep()
        course.watcher.epoch_done(record)

    def finish(self) -> Fitted:
        """Take the mean of the weights, or the best ones, where the settings ask for them."""
        kept = len(self._history)
        self._take_average()
        if self._best is not None:
            kept = self._best[0]
            _assign(self._model.native.variables, self._best[2])
        return Fitted(history=tuple(self._history), kept_epoch=kept)

    def _take_average(self) -> list[Any] | None:
        """Give the model the mean of its weights, as far as there is one; gives those that it had, or None."""
        if self._average.numbers is None:
            return None
        reached = _numbers(self._model.native.variables)
        _assign(self._model.native.variables, self._average.numbers)
        self._course.workers.level(self._model.native.variables)
        return reached

    def _consider(self, record: EpochRecord, best: Any) -> None:
        """Whether this epoch's weights are the best so far; ties go to the later one, which has trained longer."""
        if self._settings.patience is None or record.score is None:
            return
        if record.epoch <= self._course.settled * self._settings.epochs:
            return
        merit = record.score if self._course.more_is_better else -record.score
        if self._best is None or merit >= self._best[1]:
            self._best = (record.epoch, merit, best or _numbers(self._model.native.variables))

    def _keep(self) -> None:
        if self._course.checkpoint is not None:
            standing = Standing(
                training=self._beginning.training,
                variables=_numbers(self._model.native.variables),
                optimizer=_numbers(_variables(self._optimizer)),
                best=self._best[2] if self._best else None,
                average=self._average.numbers,
                history=tuple(self._history),
            )
            self._course.checkpoint.save(standing)

    def _draw_anew(self, number: int) -> None:
        """Make this epoch's chance depend on its number alone: kernels of traced functions keep a state otherwise."""
        if self._learn is None or _draws(self._model.native):
            workers = self._course.workers
            chance = self._course.seed * 1_000_003 + number + workers.index * _WORKERS_APART
            self._keras.utils.set_random_seed(chance % 2**31)
            self._learn = workers.learner(self._gradients, self._apply)

    def _step(self, number: int, at: int, batch: Batch) -> float:
        overall = number * self._steps + at
        if self._course.before_step:
            self._course.before_step(overall)
        rate = self._schedule(overall)
        self._optimizer.learning_rate.assign(rate)
        feeds = {spec.name: self._tf.constant(batch.feeds[spec.name], dtype=spec.dtype) for spec in self._model.inputs}
        truth = truth_of(self._head, batch)
        loss = float(self._learn(feeds, None if truth is None else self._tf.constant(truth)))
        self._average.take(overall)
        self._course.watcher.stepped(StepRecord(epoch=number + 1, step=at + 1, loss=loss, learning_rate=rate))
        return loss

    def _gradients(self, feeds: dict[str, Any], truth: Any) -> tuple[Any, list[Any]]:
        with self._tf.GradientTape() as tape:
            loss = self._loss(feeds, truth)
        return loss, tape.gradient(loss, self._model.native.trainable_variables)

    def _apply(self, gradients: list[Any]) -> None:
        """One step of the optimizer."""
        self._optimizer.apply_gradients(zip(gradients, self._model.native.trainable_variables, strict=True))

    def _loss(self, feeds: dict[str, Any], truth: Any) -> Any:
        features = self._course.features
        student = features.student if features else self._model
        answers, *maps = student.function(feeds, training=True).values()
        taught, *taught_maps = self._taught(feeds) or [None]
        loss = self._objective(answers, truth, taught) + sum(self._model.native.losses)
        return loss + features(maps, taught_maps) if features else loss

    def _taught(self, feeds: dict[str, Any]) -> list[Any]:
        """What the teacher says; nothing where nobody listens to it."""
        course = self._course
        teacher = course.features.teacher if course.features else course.teacher
        if teacher is None or not self._taking_in:
            return []
        given = dict(zip((spec.name for spec in teacher.inputs), feeds.values(), strict=True))
        return list(teacher.function(given).values())

    def _batches(self, number: int) -> Iterator[Batch]:
        """This epoch's batches; a last one below half the size is left out, too few for batch statistics."""
        settings, course = self._settings, self._course
        mixed = course.train.mixed_batches(settings.batch_size, seed=course.seed, epoch=number)
        rng = np.random.default_rng((course.seed, number, 1))
        for batch, _ in zip(mixed, range(self._steps), strict=False):
            for spec in self._model.inputs if settings.augment else ():
                images = np.asarray(batch.feeds[spec.name], dtype=np.float32)
                batch.feeds[spec.name] = augmented(images, settings.augment, rng)
            yield batch


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """How many batches an epoch has; a last one counts when it is half full."""
    whole, rest = divmod(samples, batch_size)
    return whole + (rest * 2 >= batch_size or whole == 0)


def _optimizer(keras: Any, step: TrainingStep) -> Any:
    decay = {"weight_decay": step.weight_decay} if step.weight_decay else {}
    if step.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(step.learning_rate, momentum=0.9, nesterov=True, **decay)
    else:
        optimizer = keras.optimizers.Adam(step.learning_rate, **decay)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def _draws(model: Any) -> bool:
    """Whether training draws anything by chance inside the model."""
    chance = ("Dropout", "Noise", "Random", "Attention", "LSTM", "GRU", "RNN")
    return any(word in type(layer).__name__ for layer in _layers(model) for word in chance)


def _layers(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


def _variables(optimizer: Any) -> list[Any]:
    return list(optimizer.variables)


def _numbers(variables: Any) -> list[Any]:
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables: Any, numbers: Any) -> None:
    for variable, array in zip(variables, numbers, strict=True):
        variable.assign(array)
