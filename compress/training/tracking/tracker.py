"""What a tracker does, and the watcher that tells it."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

from tinsmith.runtime.errors import OutputError, TinsmithError, first_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from tinsmith.compress.training.watching import Beginning, EpochRecord, StepRecord

__all__ = ["Tracked", "Tracker", "translated"]

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Keeps one run at a time; a training that goes on after a kill goes on in its run.

    Attributes:
        place: Where it writes, for messages.
    """

    place: str

    def open(self, beginning: Beginning) -> Collection[int]:
        """Open the run of a training, and give the epochs that it holds already."""
        ...

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Add an epoch, whole or not at all."""
        ...

    def close(self, *, finished: bool) -> None:
        """End the run; it may be opened again where it is not finished."""
        ...


class Tracked:
    """A ``Watcher`` that tells a tracker each epoch once, whenever the training was killed.

    An epoch is in the checkpoint before it is told. So what a run holds, the checkpoint holds as well, and what the
    kill has kept from the run is told again when the training goes on.

    Raises:
        OutputError: The tracker failed. The training ends then, and its checkpoint stays.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._metric = ""

    def began(self, beginning: Beginning) -> None:
        """Open the run, and tell what it lacks."""
        self._metric = beginning.metric
        with translated(self._tracker.place):
            held = set(self._tracker.open(beginning))
        for record in beginning.history:
            if record.epoch not in held:
                self.epoch_done(record)

    def stepped(self, record: StepRecord) -> None:
        """Trackers keep epochs."""

    def epoch_done(self, record: EpochRecord) -> None:
        """Tell an epoch."""
        figures = {"loss": record.loss, "learning_rate": record.learning_rate, "seconds": record.seconds}
        if record.score is not None:
            figures[self._metric] = record.score
        with translated(self._tracker.place):
            self._tracker.log(record.epoch, figures)

    def ended(self, *, finished: bool) -> None:
        """Close the run; what goes wrong with one that broke off must not hide why it did."""
        try:
            with translated(self._tracker.place):
                self._tracker.close(finished=finished)
        except OutputError as error:
            if finished:
                raise
            logger.warning("%s", error.message)


@contextlib.contextmanager
def translated(place: str) -> Iterator[None]:
    """Make whatever a tracker raises an ``OutputError``."""
    try:
        yield
    except TinsmithError:
        raise
    except Exception as error:  # the trackers' errors share no base of their own
        hint = "once that is mended, run it again with --resume; or leave this tracker out"
        raise OutputError(f"cannot keep runs in {place}: {first_line(error)}", hint=hint) from error
