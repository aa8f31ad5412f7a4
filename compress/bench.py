"""What a pass has at hand while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.convert.calibration import no_samples
from tinsmith.convert.data.hygiene import refuse_constant
from tinsmith.convert.delivery import Workbench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tinsmith.compress.passes.base import Form
    from tinsmith.compress.training.watching import Watcher
    from tinsmith.convert.data import Feeds
    from tinsmith.convert.model import Model

__all__ = ["Bench"]

_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench(Workbench):
    """A workbench with what passes that train need as well.

    Attributes:
        data: Names the samples, for the process that trains; None where the user gave none.
        teacher: The model before anything was taken away; None where the source is no Keras model.
        checkpoints: The folder in which a training keeps where it stands; None to keep nothing.
        watcher: Is told how a training goes; None where nobody watches.
        metric: What judges a model, by its name; None for the usual one.
        native: Train models in the framework that made them, which no pass can that takes them apart.
        artifact: Name of what is made in the end.
        number: The place of the pass in the plan, from 1: two passes of one kind keep their trainings apart by it.
        made: Forms that the passes before have brought the weights into.
        looks: Whether a pass is to look at what it did to each layer, for the report.
        beside: Folder for what is worked out once for many plans; None for ``folder``.
    """

    data: str | None = None
    teacher: Model | None = None
    checkpoints: Path | None = None
    watcher: Watcher | None = None
    metric: str | None = None
    native: bool = False
    artifact: str = ""
    number: int = 1
    made: frozenset[Form] = frozenset()
    looks: bool = True
    beside: Path | None = None

    @property
    def shelf(self) -> Path:
        """Where calibrations and the like are kept: by what they are of, for whoever wants them again."""
        return self.beside or self.folder

    def calibrating(self) -> Iterator[Feeds]:
        """The calibration samples from the start, 32 at a time; raises ``DataError`` for none, or of one value."""
        if self.roles is None:
            raise no_samples()
        calibration = self.roles.calibration
        refuse_constant(calibration)
        return (batch.feeds for batch in calibration.batches(_BATCH))
