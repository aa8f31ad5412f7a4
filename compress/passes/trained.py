"""What all passes have in common that change a trained model: they run in the process that trains."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tinsmith.compress.passes.base import Pass, PassResult
from tinsmith.compress.training.process import run_apart
from tinsmith.compress.training.task import Task
from tinsmith.convert.model import Model
from tinsmith.convert.parity import EXACT
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from tinsmith.compress.bench import Bench
    from tinsmith.compress.passes.base import Step
    from tinsmith.compress.training.workshop import Transformed, Workshop
    from tinsmith.convert.model import Format
    from tinsmith.convert.parity import Tolerance
    from tinsmith.convert.trained import TrainedModel

__all__ = ["TrainedPass"]


class TrainedPass(Pass):
    """A pass on a Keras model, whatever Keras wrote it; the answers may move as far as the training takes them.

    Attributes:
        minds_marks: Whether layers that the model marks as not trainable stay as they are. A backbone that was frozen
            while its head learned must be able to learn when channels or bits are taken from it.
        opens_models: Whether models used as layers are opened first, so that their layers are seen like all others.
    """

    minds_marks: ClassVar[bool] = False
    opens_models: ClassVar[bool] = True

    def __init__(self, step: Any, *, target: Literal["tflite", "onnx"]) -> None:
        self._settings: Step = step
        self._target = target

    @property
    def takes(self) -> frozenset[Format]:
        """Keras models: a SavedModel has no layers any more."""
        return frozenset(["keras", "hdf5"])

    @property
    def gives(self) -> Format | None:
        """A .keras file."""
        return "keras"

    @property
    def tolerance(self) -> Tolerance:
        """None: what comes after is proven against what this pass gives."""
        return EXACT

    def requires(self, model: Model, bench: Bench) -> None:  # noqa: ARG002 - as every pass
        """Samples and labels, where the step needs them.

        Raises:
            DataError: They are not there.
        """
        needs = self._settings.needs
        if needs.data and bench.dataset is None:
            raise DataError(f"{self.kind} needs samples", hint="give them with --data")
        dataset = bench.dataset
        if needs.labels and dataset is not None and bench.teacher is None and not dataset.has_answers:
            raise DataError(
                f"{self.kind} needs labels, and {dataset.name} has none",
                hint="add y to the .npz, or learn from a teacher alone: teacher_weight: 1",
            )

    @abstractmethod
    def transform(self, model: TrainedModel, shop: Workshop) -> Transformed:
        """Change the model, in the process that trains.

        Args:
            model: Of tf_keras; may be changed in place.
            shop: Samples, teacher and engine.
        """

    def run(self, model: Model, bench: Bench) -> PassResult:
        """Hand the model to the process that trains, and wait; raises as the pass."""
        teacher = bench.teacher
        outcome = run_apart(
            Task(
                step=self._settings.document(),
                target=self._target,
                source=(str(model.path), model.format),
                output=str(bench.place(self.kind)),
                data=bench.data,
                teacher=None if teacher is None else (str(teacher.path), teacher.format),
                seed=bench.seed,
                allow_unsafe=bench.allow_unsafe,
                checkpoint=self._checkpoint(bench),
                metric=bench.metric,
                native=bench.native,
                artifact=bench.artifact,
                made=tuple(sorted(bench.made)),
            ),
            bench.watcher,
        )
        return PassResult(
            model=_model(outcome.model),
            modified=outcome.modified,
            measured=outcome.measured,
            stands_for=_model(outcome.stands_for),
        )

    def _checkpoint(self, bench: Bench) -> str | None:
        return None if bench.checkpoints is None else str(bench.checkpoints / f"{bench.number}-{self.kind}.npz")


def _model(named: tuple[str, str]) -> Model:
    form: Any = named[1]
    return Model(path=Path(named[0]), format=form)
