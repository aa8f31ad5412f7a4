"""Measure batch-norm statistics again: the cheapest accuracy there is, without a label and without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from tinsmith.compress.passes.base import Effects, Needs, Step
from tinsmith.compress.passes.trained import TrainedPass

if TYPE_CHECKING:
    from tinsmith.compress.training.workshop import Transformed, Workshop
    from tinsmith.convert.trained import TrainedModel

__all__ = ["BnRecalibrate", "BnRecalibrateStep"]


class BnRecalibrateStep(Step):
    """Measure mean and variance of every batch-norm layer on samples; no weight is touched, and no label is read."""

    kind: Literal["bn-recalibrate"] = "bn-recalibrate"

    @property
    def needs(self) -> Needs:
        """Samples like those the model was trained on, and not the few that calibrate."""
        return Needs(data=True)

    @property
    def effects(self) -> Effects:
        """How often the model is right; its size and speed stay."""
        return Effects(moves=frozenset(["accuracy"]))


class BnRecalibrate(TrainedPass):
    """Statistics of what the layers really see; see ``recalibrate``."""

    kind: ClassVar[str] = "bn-recalibrate"
    reads = BnRecalibrateStep
    # a later finetune may freeze a model inside by its name
    opens_models = False

    def transform(self, model: TrainedModel, shop: Workshop) -> Transformed:
        """Measure, and leave a model without batch norm as it is."""
        from tinsmith.compress.training.workshop import Transformed

        before = shop.judge(model)
        layers = shop.recalibrate(model)
        measured: dict[str, float | str] = {"batch-norm layers": layers}
        measured |= shop.scored("before", before) | shop.scored("after", shop.judge(model))
        return Transformed(model=model.native, modified=layers > 0, measured=measured)
