"""Fine-tuning: the model goes on learning, all of it or its head alone, for its own classes or for new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, StrictInt, model_validator

from tinsmith.compress.passes.base import Effects
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.compress.training.settings import TrainingStep
from tinsmith.runtime.errors import DataError, RecipeError

if TYPE_CHECKING:
    from tinsmith.compress.bench import Bench
    from tinsmith.compress.training.workshop import Transformed, Workshop
    from tinsmith.convert.model import Model
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Finetune", "FinetuneStep"]


class FinetuneStep(TrainingStep):
    """Train the model on the samples' labels or numbers; with `freeze` and `classes`, on other classes than before."""

    kind: Literal["finetune"] = "finetune"
    freeze: StrictInt | str | tuple[str, ...] | None = Field(
        default=None,
        description="What keeps its weights: `backbone` (all but the head), the first N layers with weights, all but "
        "the last N (-N), none (0), or names such as [conv1, block2_*]; else what the model marks so itself.",
    )
    classes: int | None = Field(
        default=None, ge=2, description="Put a new head for so many classes on it, its weights drawn anew."
    )
    dropout: float | None = Field(
        default=None, gt=0, lt=1, description="Share of the features that are dropped before a new head in training."
    )
    teacher_weight: float = Field(default=0.0, ge=0, le=1, description="Share of the loss that the teacher gives.")

    @model_validator(mode="after")
    def _dropout_has_a_head(self) -> FinetuneStep:
        if self.dropout is not None and self.classes is None:
            message = "dropout goes before a new head: give classes"
            raise ValueError(message)
        return self

    @property
    def effects(self) -> Effects:
        """How often the model is right; a new head brings its own size."""
        if self.classes is None:
            return Effects(moves=frozenset(["accuracy"]))
        return Effects(
            moves=frozenset(["file", "zip", "flash", "ram", "latency", "accuracy"]),
            remark="other classes than before, so that no accuracy can be compared",
        )


class Finetune(TrainedPass):
    """Training as anybody knows it, with layers that stay as they are; see ``frozen`` and ``with_new_head``."""

    kind: ClassVar[str] = "finetune"
    reads = FinetuneStep
    minds_marks = True
    # freeze may name a model inside
    opens_models = False
    undoes = frozenset(["sparse", "clustered"])

    def requires(self, model: Model, bench: Bench) -> None:
        """Samples that say what is right, and a teacher where one is asked for.

        Raises:
            DataError: There are no samples, or they have neither labels nor numbers to predict.
            RecipeError: There is no teacher but the model itself.
        """
        super().requires(model, bench)
        if self._step.teacher_weight > 0 and bench.teacher is None:
            raise RecipeError(
                "finetune has no teacher: nothing was taken from the model yet",
                hint="leave teacher_weight out to learn from labels; `distill` learns from a teacher that you name",
            )
        if self._step.teacher_weight < 1 and bench.dataset is not None and not bench.dataset.has_answers:
            raise DataError(
                f"finetune needs labels or numbers to predict, and {bench.dataset.name} has none",
                hint="add y to the .npz; `bn-recalibrate` and `distill` can do without",
            )

    def transform(self, model: TrainedModel, shop: Workshop) -> Transformed:
        """Make the head, freeze, train, and hold the frozen layers to what they were.

        Raises:
            UnsupportedOperatorError: The model has no head that could be made anew.
            UsageError: There are no such layers to freeze.
            VerificationError: A frozen layer has changed.
        """
        from tinsmith.compress.training.freezing import frozen
        from tinsmith.compress.training.workshop import Transformed

        student = self._with_head(model)
        with frozen(student.native, self._step.freeze) as kept:
            measured = shop.fit(student, self._step)
            kept.verify()
        measured["weights trained"] = int(student.native.count_params()) - kept.parameters
        measured["weights frozen"] = kept.parameters
        return Transformed(model=student.native, modified=True, measured=measured)

    def _with_head(self, model: TrainedModel) -> TrainedModel:
        from tinsmith.compress.structure.head import with_new_head

        step = self._step
        return model if step.classes is None else with_new_head(model, step.classes, dropout=step.dropout)

    @property
    def _step(self) -> FinetuneStep:
        assert isinstance(self._settings, FinetuneStep)
        return self._settings
