"""Weights & Biases, offline: a folder that ``wandb sync`` can send later, if the user wants that."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.runtime.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.compress.training.tracking.trials import SearchEnd, SearchRun, TrialRun
    from tinsmith.compress.training.watching import Beginning

__all__ = ["Wandb", "open_wandb"]

_PROJECT = "tinsmith"
# Stands in the folder of a trial's run that is whole, and holds its mark.
_MARK_NAME = "tinsmith-mark.txt"


class Wandb:
    """One offline run a training, a trial and a search; see ``Tracker`` and ``TrialTracker``.

    The runs of a search are a group, named as it is; its own is written when it ends.

    Args:
        wandb: The package.
        folder: Runs lie in its subfolder ``wandb``.
    """

    def __init__(self, wandb: Any, folder: Path) -> None:
        self.place = str(folder)
        self._wandb, self._folder = wandb, folder
        self._run: Any = None
        self._search: SearchRun | None = None

    def open(self, beginning: Beginning) -> tuple[int, ...]:
        """Begin a run; that of a training that goes on takes the place of the one that broke off.

        An offline run can't be added to, and two of one name would be sent as one with its epochs twice.
        """
        self._run = self._begun(beginning.training, beginning.settings, name=beginning.name, job_type=beginning.kind)
        return ()

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Write a row of the history."""
        self._run.log(dict(figures), step=epoch, commit=True)

    def close(self, *, finished: bool) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish(exit_code=0 if finished else 1)
            self._run = None

    def open_search(self, search: SearchRun) -> dict[int, str]:
        """Find the trials that are there whole."""
        self._search = search
        marks = (self._folder / "wandb").glob(f"offline-run-*-{search.search}-*/{_MARK_NAME}")
        return {int(mark.parent.name.rpartition("-")[2]): mark.read_text(encoding="utf-8") for mark in marks}

    def tried(self, trial: TrialRun) -> None:
        """Write a run, and its mark when it is whole."""
        assert self._search is not None
        kind = {"name": trial.name, "group": self._search.search, "job_type": "trial", "notes": trial.remark}
        tags = [trial.state, *(["chosen"] if trial.chosen else ())]
        run = self._begun(f"{self._search.search}-{trial.number}", trial.settings, tags=tags, **kind)
        run.log(dict(trial.figures), step=trial.number, commit=True)
        folder = Path(run.dir).parent
        run.finish(exit_code=1 if trial.failed else 0)
        write_text(folder / _MARK_NAME, trial.mark)

    def end_search(self, end: SearchEnd) -> None:
        """Write the run of the search itself."""
        assert self._search is not None
        search = self._search
        run = self._begun(search.search, search.settings, name=search.name, group=search.search, job_type="search")
        run.summary.update({"ended": end.ended, "chosen": end.chosen})
        run.finish(exit_code=0 if end.finished else 1)
        self._wandb.teardown()

    def _begun(self, run: str, settings: Mapping[str, Any], **named: Any) -> Any:
        """A new run, in the place of any that has its id."""
        for broken_off in (self._folder / "wandb").glob(f"offline-run-*-{run}"):
            # its service lets go of an id some time after the run's end, but when it is stopped
            self._wandb.teardown()
            shutil.rmtree(broken_off)
        return self._wandb.init(
            project=_PROJECT,
            dir=str(self._folder),
            id=run,
            config=dict(settings),
            mode="offline",
            reinit="create_new",
            settings=self._settings(),
            **named,
        )

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
