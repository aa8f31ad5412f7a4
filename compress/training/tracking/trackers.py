"""Which trackers the user named, and how they are opened."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tinsmith.compress.training.tracking.tracker import Tracked, Tracker
from tinsmith.compress.training.tracking.trials import TrialTracker
from tinsmith.runtime.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Trackers", "open_trackers", "open_trial_trackers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trackers:
    """Experiment trackers; nothing is sent anywhere unless the user names a server.

    Attributes:
        tensorboard: The folder for TensorBoard's event files; None for none.
        mlflow: A tracking address such as ``sqlite:///runs.db``; None for none.
        wandb: The folder for offline runs of Weights & Biases; None for none.
    """

    tensorboard: str | None = None
    mlflow: str | None = None
    wandb: str | None = None

    @property
    def named(self) -> bool:
        """Whether there is any."""
        return any((self.tensorboard, self.mlflow, self.wandb))


class _Tracker(Tracker, TrialTracker, Protocol):
    """What each of them is."""


def open_trackers(trackers: Trackers) -> tuple[Tracked, ...]:
    """Find out before hours of training whether each tracker can keep them.

    Raises:
        MissingDependencyError: A package of the extra ``tracking`` is not installed.
        UsageError: The address for MLflow is none.
        OutputError: A folder can't be written, a database can't be used, a server can't be reached.
    """
    return tuple(Tracked(tracker) for tracker in _opened(trackers))


def open_trial_trackers(trackers: Trackers) -> tuple[TrialTracker, ...]:
    """Find out before a search whether each tracker can keep its trials; raises as ``open_trackers``."""
    return tuple(_opened(trackers))


def _opened(trackers: Trackers) -> Iterator[_Tracker]:
    if trackers.tensorboard:
        from tinsmith.compress.training.tracking.tensorboard import TensorBoard

        yield TensorBoard(_folder("tensorboard", trackers.tensorboard))
    if trackers.mlflow:
        from tinsmith.compress.training.tracking.mlflow import open_mlflow

        yield open_mlflow(trackers.mlflow)
    if trackers.wandb:
        from tinsmith.compress.training.tracking.wandb import open_wandb

        yield open_wandb(_folder("wandb", trackers.wandb))


def _folder(option: str, name: str) -> Path:
    """Make a folder, and try whether it can be written; wandb would take another one without a word."""
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=name):
            return Path(name)
    except OSError as error:
        hint = f"name another folder with --{option}"
        raise OutputError(f"cannot write {name}: {error.strerror or error}", hint=hint) from error
