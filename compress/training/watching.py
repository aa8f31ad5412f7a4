"""Who is told how a training goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Beginning", "EpochRecord", "StepRecord", "Watcher", "Watchers"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What one step of the optimizer came to.

    Attributes:
        epoch: From 1.
        step: Within the epoch, from 1.
        loss: Of its batch.
        learning_rate: It was taken with.
    """

    epoch: int
    step: int
    loss: float
    learning_rate: float

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What is going to be trained.

    Attributes:
        training: Names the training, 8 hex digits drawn by chance; one that goes on after a kill keeps it.
        kind: Of the pass.
        artifact: Name of what is made in the end; empty where nobody said it.
        metric: What the scores are of.
        epochs: At most.
        steps: In each epoch.
        settings: The recipe's step in full, the seed, and what names the samples.
        history: The epochs that were done before it was killed.
    """

    training: str
    kind: str
    artifact: str
    metric: str
    epochs: int
    steps: int
    settings: Mapping[str, Any]
    history: tuple[EpochRecord, ...] = ()

    @property
    def name(self) -> str:
        """For people: the artifact and the pass, such as ``small-distill``."""
        stem = self.artifact.rpartition(".")[0] or self.artifact
        return f"{stem}-{self.kind}" if stem else self.kind

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Beginning:
        """The same again."""
        return cls(**{**document, "history": tuple(EpochRecord(**record) for record in document["history"])})


class Watcher(Protocol):
    """Is told what happens, and never changes it.

    A recipe may train several times: each training begins and ends, whatever becomes of it.
    """

    def began(self, beginning: Beginning) -> None:
        """A training is about to start, or to go on."""
        ...

    def stepped(self, record: StepRecord) -> None:
        """A batch was learned; not every one is told."""
        ...

    def epoch_done(self, record: EpochRecord) -> None:
        """An epoch was learned, and its model judged."""
        ...

    def ended(self, *, finished: bool) -> None:
        """It is over: all epochs that were needed are done, or it broke off."""
        ...


class Watchers:
    """Several watchers as one."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def began(self, beginning: Beginning) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.began(beginning)

    def stepped(self, record: StepRecord) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.stepped(record)

    def epoch_done(self, record: EpochRecord) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.epoch_done(record)

    def ended(self, *, finished: bool) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.ended(finished=finished)
