"""Weights & Biases, offline: a folder that ``wandb sync`` can send later, if the user wants that."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tinsmith.compress.training.watching import Beginning

__all__ = ["Wandb", "open_wandb"]

_PROJECT = "tinsmith"


class Wandb:
    """One offline run a training; see ``Tracker``.

    Args:
        wandb: The package.
        folder: Runs lie in its subfolder ``wandb``.
    """

    def __init__(self, wandb: Any, folder: Path) -> None:
        self.place = str(folder)
        self._wandb, self._folder = wandb, folder
        self._run: Any = None

    def open(self, beginning: Beginning) -> tuple[int, ...]:
        """Begin a run; that of a training that goes on takes the place of the one that broke off.

        An offline run can't be added to, and two of one name would be sent as one with its epochs twice.
        """
        for broken_off in (self._folder / "wandb").glob(f"offline-run-*-{beginning.training}"):
            shutil.rmtree(broken_off)
        self._run = self._wandb.init(
            project=_PROJECT,
            dir=str(self._folder),
            id=beginning.training,
            name=beginning.name,
            job_type=beginning.kind,
            config=dict(beginning.settings),
            mode="offline",
            reinit="create_new",
            settings=self._settings(),
        )
        return ()

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Write a row of the history."""
        self._run.log(dict(figures), step=epoch, commit=True)

    def close(self, *, finished: bool) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish(exit_code=0 if finished else 1)
            self._run = None

    def _settings(self) -> Any:
        """Nothing is printed, and nothing is kept of the console, the machine, its packages or the user's code."""
        return self._wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            host="",
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
        )


def open_wandb(folder: Path) -> Wandb:
    """Have the package at hand; raises ``MissingDependencyError``."""
    return Wandb(require("wandb", needed_for="--wandb"), folder)
