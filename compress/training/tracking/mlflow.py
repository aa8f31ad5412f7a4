"""MLflow: a database file, or a server that the user names."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.compress.training.tracking.tracker import translated
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.compress.training.tracking.trials import SearchEnd, SearchRun, TrialRun
    from tinsmith.compress.training.watching import Beginning

__all__ = ["MLflow", "open_mlflow"]

_EXPERIMENT = "tinsmith"
_TAG = "tinsmith.training"
_SEARCH_TAG = "tinsmith.search"
_TRIAL_TAG = "tinsmith.trial"
_MARK_TAG = "tinsmith.mark"
_CHOSEN_TAG = "tinsmith.chosen"
_PARENT_TAG = "mlflow.parentRunId"
_MOST_TRIALS = 10_000
_NEEDED_FOR = "--mlflow"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https")
_VALUE_CHARACTERS = 6000


class MLflow:
    """One run a training or a search, in the experiment ``tinsmith``; see ``Tracker`` and ``TrialTracker``.

    Trials are runs nested under that of their search.

    Args:
        client: An ``MlflowClient``.
        place: Its tracking address.
    """

    def __init__(self, client: Any, place: str) -> None:
        self.place = place
        self._client = client
        self._entities = require("mlflow.entities", needed_for=_NEEDED_FOR)
        found = client.get_experiment_by_name(_EXPERIMENT)
        self._experiment = found.experiment_id if found else client.create_experiment(_EXPERIMENT)
        self._run = ""
        self._trials: dict[int, str] = {}

    def open(self, beginning: Beginning) -> set[int]:
        """Find the run of a training that goes on, or make one."""
        if not (beginning.history and self._found(_TAG, beginning.training)):
            self._run = self._create(beginning.name, {_TAG: beginning.training}, beginning.settings)
            return set()
        return {metric.step for metric in self._client.get_metric_history(self._run, "loss")}

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Write metrics, in one transaction."""
        now_ms = int(time.time() * 1e3)
        metrics = [self._entities.Metric(name, figure, now_ms, epoch) for name, figure in figures.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self, *, finished: bool) -> None:
        """Say how it ended."""
        if self._run:
            self._client.set_terminated(self._run, "FINISHED" if finished else "FAILED")
            self._run = ""

    def open_search(self, search: SearchRun) -> dict[int, str]:
        """Find the run of a search that goes on, or make one."""
        if not self._found(_SEARCH_TAG, search.search):
            self._run = self._create(search.name, {_SEARCH_TAG: search.search}, search.settings)
        named = f"tags.`{_PARENT_TAG}` = '{self._run}'"
        runs = self._client.search_runs([self._experiment], named, max_results=_MOST_TRIALS)
        tags = {run.info.run_id: run.data.tags for run in runs}
        self._trials = {int(tags[run][_TRIAL_TAG]): run for run in tags}
        return {number: tags[run][_MARK_TAG] for number, run in self._trials.items() if _MARK_TAG in tags[run]}

    def tried(self, trial: TrialRun) -> None:
        """Write a run, or change what is said of it; its mark comes last, so that a kill leaves none to be believed."""
        run = self._alike(trial) or self._written(trial)
        tags = {"tinsmith.state": trial.state, "tinsmith.remark": trial.remark, _CHOSEN_TAG: _yes_or_no(trial.chosen)}
        for name, value in {**tags, _MARK_TAG: trial.mark}.items():
            self._client.set_tag(run, name, value[:_VALUE_CHARACTERS])

    def end_search(self, end: SearchEnd) -> None:
        """Say how it ended, and with which trial."""
        said = {"tinsmith.ended": end.ended, _CHOSEN_TAG: "none" if end.chosen is None else str(end.chosen)}
        for name, value in said.items() if end.ended else ():
            self._client.set_tag(self._run, name, value[:_VALUE_CHARACTERS])
        self.close(finished=end.finished)

    def _alike(self, trial: TrialRun) -> str:
        """The run of a trial, if it holds the same choices and figures; what holds others is deleted."""
        run = self._trials.get(trial.number, "")
        if run:
            held = self._client.get_run(run)
            texts = {name: _text(value) for name, value in trial.settings.items()}
            if (held.data.params, held.data.metrics) == (texts, dict(trial.figures)):
                return run
            self._client.delete_run(run)
        return ""

    def _written(self, trial: TrialRun) -> str:
        tags = {_PARENT_TAG: self._run, _TRIAL_TAG: str(trial.number)}
        run = self._trials[trial.number] = self._create(trial.name, tags, trial.settings)
        now_ms = int(time.time() * 1e3)
        metrics = [self._entities.Metric(name, figure, now_ms, 0) for name, figure in trial.figures.items()]
        self._client.log_batch(run, metrics=metrics)
        self._client.set_terminated(run, "FAILED" if trial.failed else "FINISHED")
        return run

    def _found(self, tag: str, value: str) -> bool:
        """Whether there is a run of that name; it is the present one then, and runs."""
        found = self._client.search_runs([self._experiment], f"tags.`{tag}` = '{value}'")
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        return bool(found)

    def _create(self, name: str, tags: Mapping[str, str], settings: Mapping[str, Any]) -> str:
        tags = {**tags, "mlflow.source.name": "tinsmith"}
        run: str = self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id
        params = [self._entities.Param(name, _text(value)) for name, value in settings.items()]
        self._client.log_batch(run, params=params)
        return run


def open_mlflow(address: str) -> MLflow:
    """Reach a database or a server.

    Args:
        address: ``sqlite:///runs.db``, another database as SQLAlchemy writes it, or ``http(s)://``.

    Raises:
        MissingDependencyError: MLflow, or what it needs for a database, is not installed.
        UsageError: It is no such address.
        OutputError: The database can't be used, or the server can't be reached.
    """
    scheme, colon, rest = address.partition("://")
    family = scheme.partition("+")[0]
    if not colon or family not in (*_DATABASES, *_SERVERS):
        raise UsageError(f"{address} is no tracking address of MLflow", hint="name one such as sqlite:///runs.db")
    tracking = require("mlflow.tracking", needed_for=_NEEDED_FOR)
    if family in _DATABASES:
        require("sqlalchemy", needed_for=_NEEDED_FOR)
        require("alembic", needed_for=_NEEDED_FOR)
    if family == "sqlite":
        _check_sqlite(Path(rest.removeprefix("/").partition("?")[0]))
    with translated(address), warnings.catch_warnings():
        # its store is imported here, and uses what newer versions of SQLAlchemy warn of
        warnings.simplefilter("ignore")
        return MLflow(tracking.MlflowClient(address), address)


def _check_sqlite(path: Path) -> None:
    """Find out at once what MLflow would try again and again for two minutes."""
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}", hint="create the folder first")
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.Error as error:
        raise OutputError(f"{path} is no database that can be written: {error}", hint="name another file") from error


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:_VALUE_CHARACTERS]


def _yes_or_no(said: bool) -> str:
    return "yes" if said else "no"
