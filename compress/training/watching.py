"""Who is told how a training goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EpochRecord", "Watcher", "Watchers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What one epoch came to.

    Attributes:
        epoch: From 1.
        epochs: Of the whole training, at most.
        loss: Mean over the steps.
        score: Of the metric on the validation samples; None where there are none.
        learning_rate: Of the last step.
        seconds: It took.
    """

    epoch: int
    epochs: int
    loss: float
    score: float | None
    learning_rate: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """For the checkpoint and the wire."""
        return asdict(self)


class Watcher(Protocol):
    """Is told what happens, and never changes it."""

    def stepped(self, *, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """A batch was learned; all counts from 1."""
        ...

    def epoch_done(self, record: EpochRecord) -> None:
        """An epoch was learned, and its model judged."""
        ...


class Watchers:
    """Several watchers as one."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def stepped(self, *, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.stepped(epoch=epoch, epochs=epochs, step=step, steps=steps, loss=loss)

    def epoch_done(self, record: EpochRecord) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.epoch_done(record)
