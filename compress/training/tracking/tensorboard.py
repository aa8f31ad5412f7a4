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

    from tinsmith.compress.training.watching import Beginning

__all__ = ["TensorBoard"]

_VERSION = "brain.Event:2"


class TensorBoard:
    """One folder a training, named after it; one more event file in it each time that it goes on. See ``Tracker``.

    Args:
        folder: As ``tensorboard --logdir`` takes it.
    """

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)
        self._folder = folder
        self._tf = require("tensorflow", needed_for="TensorBoard's event files")
        self._writer: Any = None

    def open(self, beginning: Beginning) -> set[int]:
        """Begin a file; the figures of an epoch stand in one record, so that a kill can't part them."""
        run = self._folder / f"{beginning.name}-{beginning.training}"
        held = {epoch for path in run.glob("*tfevents*") for epoch in self._epochs(path)}
        run.mkdir(exist_ok=True)
        # nanoseconds: a training may go on within the second in which it was killed
        self._writer = self._tf.io.TFRecordWriter(
            str(run / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}.tinsmith")
        )
        self._write(file_version=_VERSION)
        if not beginning.history:
            self._write(step=0, summary=self._settings(beginning.settings))
        return held

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Write scalars."""
        value = self._tf.compat.v1.Summary.Value
        values = [value(tag=name, simple_value=figure) for name, figure in figures.items()]
        self._write(step=epoch, summary=self._tf.compat.v1.Summary(value=values))

    def close(self, *, finished: bool) -> None:  # noqa: ARG002 - TensorBoard does not tell the two apart
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, **facts: Any) -> None:
        event = self._tf.compat.v1.Event(wall_time=time.time(), **facts)
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def _settings(self, settings: Mapping[str, Any]) -> Any:
        """A table for the tab Text."""
        v1 = self._tf.compat.v1
        rows = [f"| {name} | `{json.dumps(value)}` |" for name, value in settings.items()]
        text = "\n".join(["| setting | value |", "|---|---|", *rows])
        plugin = v1.SummaryMetadata(plugin_data=v1.SummaryMetadata.PluginData(plugin_name="text"))
        tensor = self._tf.make_tensor_proto([text.encode()])
        return v1.Summary(value=[v1.Summary.Value(tag="settings/text_summary", metadata=plugin, tensor=tensor)])

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
