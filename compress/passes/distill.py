"""Distillation: a smaller model learns the answers of the one before."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from tinsmith.compress.passes.base import Effects
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.compress.training.settings import TrainingStep
from tinsmith.runtime.errors import RecipeError

if TYPE_CHECKING:
    from tinsmith.compress.training.features import FeatureTaps
    from tinsmith.compress.training.workshop import Transformed, Workshop
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Distill", "DistillStep"]


class DistillStep(TrainingStep):
    """Train the model, one of the user's, or a narrower copy of it, on the answers of a teacher."""

    kind: Literal["distill"] = "distill"
    teacher: Path | None = Field(
        default=None, description="A Keras model; else the one before anything was taken away."
    )
    student: Path | None = Field(default=None, description="A Keras model to train instead of the present one.")
    width: float | None = Field(
        default=None, gt=0, lt=1, description="Train a copy with this share of the channels, its weights drawn anew."
    )
    teacher_weight: float = Field(default=0.9, ge=0, le=1, description="Share of the loss that the teacher gives.")
    features: tuple[str, ...] = Field(default=(), description="Layers whose attention maps are learned as well.")
    feature_weight: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _one_student(self) -> DistillStep:
        if self.student is not None and self.width is not None:
            message = "give either student or width"
            raise ValueError(message)
        return self

    @property
    def effects(self) -> Effects:
        """How often the model is right; a student of its own brings its own size."""
        if self.student is None and self.width is None:
            return Effects(moves=frozenset(["accuracy"]))
        return Effects(moves=frozenset(["file", "zip", "flash", "ram", "latency", "accuracy"]))


class Distill(TrainedPass):
    """Logits and attention maps of a teacher; see ``TaughtLoss`` and ``FeatureTaps``."""

    kind: ClassVar[str] = "distill"
    reads = DistillStep
    undoes = frozenset(["sparse", "clustered"])

    def transform(self, model: TrainedModel, shop: Workshop) -> Transformed:
        """Train.

        Raises:
            RecipeError: There is no teacher but the model itself.
        """
        from tinsmith.compress.training.workshop import Transformed

        step = self._step
        teacher = shop.load_path(step.teacher) if step.teacher else shop.teacher
        student = self._student(model, shop)
        if teacher is None:
            if student is model:
                raise RecipeError(
                    "distill has nobody to learn from: nothing was taken from the model yet",
                    hint="put channels, magnitude or clusters before it, or name a teacher, a student or a width",
                )
            teacher = model
        measured = shop.fit(student, step, teacher=teacher, features=self._features(student, teacher))
        measured |= shop.scored("of the teacher", shop.judge(teacher))
        return Transformed(model=student.native, modified=True, measured=measured)

    def _student(self, model: TrainedModel, shop: Workshop) -> TrainedModel:
        from tinsmith.compress.structure.narrowing import narrowed

        if self._step.student is not None:
            return shop.load_path(self._step.student)
        return model if self._step.width is None else narrowed(model, self._step.width)

    def _features(self, student: TrainedModel, teacher: TrainedModel) -> FeatureTaps | None:
        from tinsmith.compress.training.features import tap

        step = self._step
        return tap(student, teacher, step.features, step.feature_weight) if step.features else None

    @property
    def _step(self) -> DistillStep:
        assert isinstance(self._settings, DistillStep)
        return self._settings
