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

    from tinsmith.compress.training.watching import Beginning

__all__ = ["MLflow", "open_mlflow"]

_EXPERIMENT = "tinsmith"
_TAG = "tinsmith.training"
_NEEDED_FOR = "--mlflow"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https")
_VALUE_CHARACTERS = 6000


class MLflow:
    """One run a training, in the experiment ``tinsmith``; see ``Tracker``.

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

    def open(self, beginning: Beginning) -> set[int]:
        """Find the run of a training that goes on, or make one."""
        named = f"tags.`{_TAG}` = '{beginning.training}'"
        found = self._client.search_runs([self._experiment], named) if beginning.history else []
        if not found:
            self._run = self._create(beginning)
            return set()
        self._run = found[0].info.run_id
        self._client.update_run(self._run, status="RUNNING")
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

    def _create(self, beginning: Beginning) -> str:
        tags = {_TAG: beginning.training, "mlflow.source.name": "tinsmith"}
        run: str = self._client.create_run(self._experiment, run_name=beginning.name, tags=tags).info.run_id
        params = [self._entities.Param(name, _text(value)) for name, value in beginning.settings.items()]
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
