"""What a user can set about a training; the same words in every step that trains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tinsmith.compress.passes.base import Needs, Step

__all__ = ["Augmentation", "TrainingStep"]

Augmentation = Literal["flip", "shift"]


class TrainingStep(Step):
    """A step that trains: how long, how fast, and on what."""

    epochs: int = Field(default=10, ge=0, description="How often each training sample is seen, at most.")
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0, description="At its peak; a cosine takes it to 0.")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of all steps in which the rate rises to it.")
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled from the gradient (AdamW).")
    patience: int | None = Field(
        default=None, ge=1, description="Stop after so many epochs that brought nothing on the validation samples."
    )
    average: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of all steps, the last ones, over which weights are averaged; 0 keeps the last weights.",
    )
    augment: tuple[Augmentation, ...] = Field(
        default=(), description="Images only: flip left and right; shift by up to an eighth of the edge."
    )
    teacher_weight: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the loss that comes from the model before anything was taken away.",
    )
    temperature: float = Field(default=4.0, gt=0, description="Softens the teacher's answers.")

    @property
    def needs(self) -> Needs:
        """Samples; labels only where no teacher says what is right."""
        return Needs(data=True, labels=self.teacher_weight == 0, training=self.epochs > 0)
