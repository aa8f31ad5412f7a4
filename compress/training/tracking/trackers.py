"""Which trackers the user named, and how they are opened."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinsmith.compress.training.tracking.tracker import Tracked
from tinsmith.runtime.errors import OutputError

__all__ = ["Trackers", "open_trackers"]


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


def open_trackers(trackers: Trackers) -> tuple[Tracked, ...]:
    """Find out before hours of training whether each tracker can keep them.

    Raises:
        MissingDependencyError: A package of the extra ``tracking`` is not installed.
        UsageError: The address for MLflow is none.
        OutputError: A folder can't be written, a database can't be used, a server can't be reached.
    """
    opened: list[Tracked] = []
    if trackers.tensorboard:
        from tinsmith.compress.training.tracking.tensorboard import TensorBoard

        opened.append(Tracked(TensorBoard(_folder("tensorboard", trackers.tensorboard))))
    if trackers.mlflow:
        from tinsmith.compress.training.tracking.mlflow import open_mlflow

        opened.append(Tracked(open_mlflow(trackers.mlflow)))
    if trackers.wandb:
        from tinsmith.compress.training.tracking.wandb import open_wandb

        opened.append(Tracked(open_wandb(_folder("wandb", trackers.wandb))))
    return tuple(opened)


def _folder(option: str, name: str) -> Path:
    """Make a folder, and try whether it can be written; wandb would take another one without a word."""
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=name):
            return Path(name)
    except OSError as error:
        hint = f"name another folder with --{option}"
        raise OutputError(f"cannot write {name}: {error.strerror or error}", hint=hint) from error
