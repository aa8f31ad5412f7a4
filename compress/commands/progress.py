"""How a training goes, on stderr: a bar on a terminal, else one line an epoch."""

from __future__ import annotations

import logging
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.commands.output import console

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tinsmith.compress.training.watching import Beginning, EpochRecord, StepRecord, Watcher

__all__ = ["Progress", "ProgressBar", "ProgressLines"]

logger = logging.getLogger(__name__)


class Progress:
    """A ``Watcher`` that shows each training as the present stderr can."""

    def __init__(self) -> None:
        self._shown: Watcher = ProgressLines()

    def began(self, beginning: Beginning) -> None:
        """Begin to show."""
        drawn = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self._shown = ProgressBar() if drawn and logger.isEnabledFor(logging.INFO) else ProgressLines()
        self._shown.began(beginning)

    def stepped(self, record: StepRecord) -> None:
        """Move on."""
        self._shown.stepped(record)

    def epoch_done(self, record: EpochRecord) -> None:
        """Show what the epoch came to."""
        self._shown.epoch_done(record)

    def ended(self, *, finished: bool) -> None:
        """Show no more."""
        self._shown.ended(finished=finished)


class ProgressLines:
    """A ``Watcher`` that logs a line an epoch; silent where the log is."""

    def __init__(self) -> None:
        self._beginning: Beginning | None = None
        self._seconds: list[float] = []

    def began(self, beginning: Beginning) -> None:
        """Say from where it goes on."""
        self._beginning = beginning
        self._seconds = []
        if beginning.history:
            logger.info("%s: goes on after epoch %d of %d", beginning.kind, len(beginning.history), beginning.epochs)

    def stepped(self, record: StepRecord) -> None:
        """Too often for a line."""

    def epoch_done(self, record: EpochRecord) -> None:
        """Say what it came to."""
        assert self._beginning is not None
        self._seconds.append(record.seconds)
        left_s = sum(self._seconds) / len(self._seconds) * (record.epochs - record.epoch)
        logger.info(
            "%s: epoch %d of %d, %s, %.1f s, at most %s left",
            self._beginning.kind,
            record.epoch,
            record.epochs,
            _figures(record.loss, record.learning_rate, _score(self._beginning, record)),
            record.seconds,
            timedelta(seconds=round(left_s)),
        )

    def ended(self, *, finished: bool) -> None:
        """Whoever started it says how it ended."""


class ProgressBar:
    """A ``Watcher`` that draws a bar and the figures below it; both stay when the training is over."""

    def __init__(self) -> None:
        self._live: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._beginning: Beginning | None = None
        self._score = ""
        self._figures = ""

    def began(self, beginning: Beginning) -> None:
        """Draw it where the training stands."""
        from rich.live import Live

        self._beginning = beginning
        self._bar = _bar()
        self._task = self._bar.add_task(beginning.kind, total=beginning.epochs * beginning.steps, at="")
        # nothing is redirected: stdout is the result's, and stderr the log's
        self._live = Live(
            get_renderable=self._view, console=console(stderr=True), redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()
        if beginning.history:
            self.epoch_done(beginning.history[-1])

    def stepped(self, record: StepRecord) -> None:
        """Move on."""
        self._move(record.epoch, record.step)
        self._figures = _figures(record.loss, record.learning_rate, self._score)

    def epoch_done(self, record: EpochRecord) -> None:
        """Show the epoch's own figures until the next step."""
        assert self._beginning is not None
        self._move(record.epoch, self._beginning.steps)
        self._score = _score(self._beginning, record)
        self._figures = _figures(record.loss, record.learning_rate, self._score)

    def ended(self, *, finished: bool) -> None:  # noqa: ARG002 - the bar shows how far it came
        """Leave the last state on the screen."""
        self._live.stop()

    def _move(self, epoch: int, step: int) -> None:
        assert self._beginning is not None
        epochs, steps = self._beginning.epochs, self._beginning.steps
        done = (epoch - 1) * steps + step
        self._bar.update(self._task, completed=done, at=f"epoch {epoch}/{epochs}  step {step}/{steps}")

    def _view(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        return Group(self._bar, Text(f"  {self._figures}", no_wrap=True, overflow="ellipsis"))


def _bar() -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[at]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )


def _score(beginning: Beginning, record: EpochRecord) -> str:
    return "" if record.score is None else f"{beginning.metric} {record.score:.4f}"


def _figures(loss: float, learning_rate: float, score: str) -> str:
    shown = [f"loss {loss:.4f}", *([score] if score else []), f"learning rate {learning_rate:.2e}"]
    return ", ".join(shown)
