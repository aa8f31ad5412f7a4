"""TensorBoard's event files, in the form that TensorFlow has for them; the package tensorboard is not needed.

A file is a sequence of TFRecords that hold one ``tensorflow.Event`` each (tensorflow/core/util/event.proto).
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tinsmith.compress.training.tracking.trials import SearchEnd, SearchRun, TrialRun
    from tinsmith.compress.training.watching import Beginning

__all__ = ["TensorBoard"]

_VERSION = "brain.Event:2"


class TensorBoard:
    """One folder a training or a search, named after it; see ``Tracker`` and ``TrialTracker``.

    Of a training there is one more event file each time that it goes on; of a search there is one for each trial, whose
    number is the step of its figures.

    Args:
        folder: As ``tensorboard --logdir`` takes it.
    """

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)
        self._folder = folder
        self._tf = require("tensorflow", needed_for="TensorBoard's event files")
        self._writer: Any = None
        self._search = folder

    def open(self, beginning: Beginning) -> set[int]:
        """Begin a file; the figures of an epoch stand in one record, so that a kill can't part them."""
        run = self._folder / f"{beginning.name}-{beginning.training}"
        held = {epoch for path in run.glob("*tfevents*") for epoch in self._epochs(path)}
        run.mkdir(exist_ok=True)
        self._begin(run / _file_name("tinsmith"))
        if not beginning.history:
            self._write(step=0, summary=self._summary([self._table("settings", beginning.settings)]))
        return held

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Write scalars."""
        self._write(step=epoch, summary=self._summary(self._scalars(figures)))

    def close(self, *, finished: bool) -> None:  # noqa: ARG002 - TensorBoard does not tell the two apart
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def open_search(self, search: SearchRun) -> dict[int, str]:
        """Find the trials in the names of the files that are there."""
        self._search = self._folder / f"{search.name}-{search.search}"
        self._search.mkdir(exist_ok=True)
        if not any(self._search.glob("*tfevents*.settings")):
            self._put(_file_name("settings"), 0, [self._table("settings", search.settings)])
        trials = (path.name.split(".trial-")[1].split("-") for path in self._search.glob("*tfevents*.trial-*"))
        return {int(number): mark for number, mark in trials}

    def tried(self, trial: TrialRun) -> None:
        """Write a file: scalars, and a table for the tab Text."""
        name = _file_name(f"trial-{trial.number}-{trial.mark}")
        for outdated in self._search.glob(f"*tfevents*.trial-{trial.number}-*"):
            # files are read in the order of their names, and it keeps its place among the trials
            name = f"{outdated.name.rpartition('-')[0]}-{trial.mark}"
            outdated.unlink()
        became = {"name": trial.name, "state": trial.state, "remark": trial.remark, "chosen": trial.chosen}
        table = self._table("trial", {**became, **trial.settings})
        self._put(name, trial.number, [*self._scalars(trial.figures), table])

    def end_search(self, end: SearchEnd) -> None:
        """Say why, and what was chosen."""
        if end.ended:
            for outdated in self._search.glob("*tfevents*.ended"):
                outdated.unlink()
            self._put(
                _file_name("ended"), end.chosen or 0, [self._table("ended", {"why": end.ended, "chosen": end.chosen})]
            )

    def _put(self, name: str, step: int, values: list[Any]) -> None:
        """Write a whole file, or none: TensorBoard does not read it before it has its name."""
        staged = self._search / "part"
        self._begin(staged)
        self._write(step=step, summary=self._summary(values))
        self.close(finished=True)
        staged.replace(self._search / name)

    def _begin(self, path: Path) -> None:
        self._writer = self._tf.io.TFRecordWriter(str(path))
        self._write(file_version=_VERSION)

    def _write(self, **facts: Any) -> None:
        event = self._tf.compat.v1.Event(wall_time=time.time(), **facts)
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def _summary(self, values: list[Any]) -> Any:
        return self._tf.compat.v1.Summary(value=values)

    def _scalars(self, figures: Mapping[str, float]) -> list[Any]:
        value = self._tf.compat.v1.Summary.Value
        return [value(tag=name, simple_value=figure) for name, figure in figures.items()]

    def _table(self, name: str, settings: Mapping[str, Any]) -> Any:
        """For the tab Text."""
        v1 = self._tf.compat.v1
        rows = [f"| {setting} | `{json.dumps(value)}` |" for setting, value in settings.items()]
        text = "\n".join(["| setting | value |", "|---|---|", *rows])
        plugin = v1.SummaryMetadata(plugin_data=v1.SummaryMetadata.PluginData(plugin_name="text"))
        tensor = self._tf.make_tensor_proto([text.encode()])
        return v1.Summary.Value(tag=f"{name}/text_summary", metadata=plugin, tensor=tensor)

    def _epochs(self, path: Path) -> set[int]:
        """The epochs that a file holds, up to where a kill has cut it off."""
        epochs = set()
        try:
            for record in self._tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = self._tf.compat.v1.Event.FromString(record)
                epochs |= {event.step} if any(value.tag == "loss" for value in event.summary.value) else set()
        except self._tf.errors.DataLossError:
            pass
        return epochs


def _file_name(ending: str) -> str:
    # nanoseconds: a training may go on within the second in which it was killed
    return f"events.out.tfevents.{time.time_ns()}.{os.getpid()}.{ending}"
