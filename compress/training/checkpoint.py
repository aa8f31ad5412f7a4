"""Where a training stands, on disk: everything that makes the rest of it come out as if nothing had happened."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.training.watching import EpochRecord
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Sequence[NDArray[Any]]

__all__ = ["Checkpoint", "Standing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a training stands after a whole number of epochs.

    Attributes:
        training: Its name; see ``Beginning``.
        variables: Of the model, in its own order.
        optimizer: Of the optimizer, in its own order.
        best: The model's variables where they scored best; None where the last ones are kept.
        average: Of the model's variables over the last steps; None where none has been counted in.
        history: One record an epoch.
    """

    training: str
    variables: Arrays
    optimizer: Arrays
    best: Arrays | None
    average: Arrays | None
    history: tuple[EpochRecord, ...]


class Checkpoint:
    """One file that is replaced after each epoch, whole or not at all.

    Args:
        path: Ends in .npz.
        run: Names the training: what it starts from, on which data, with which settings. Another one is refused.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._run = run

    def save(self, standing: Standing) -> None:
        """Put it in place of the last one; raises ``OutputError`` when the disk is full, and the last one stays."""
        said = {
            "run": self._run,
            "training": standing.training,
            "history": [record.to_json() for record in standing.history],
            "best": standing.best is not None,
            "average": standing.average is not None,
        }
        arrays: dict[str, Any] = {"said": np.frombuffer(json.dumps(said).encode(), np.uint8)}
        groups = {
            "variable": standing.variables,
            "optimizer": standing.optimizer,
            "best": standing.best or (),
            "average": standing.average or (),
        }
        for name, group in groups.items():
            arrays |= {f"{name}{at}": array for at, array in enumerate(group)}
        with staged_file(self._path) as staged, staged.open("wb") as stream:
            np.savez(stream, **arrays)

    def load(self) -> Standing | None:
        """What was saved last; None where nothing was.

        Raises:
            UsageError: It belongs to another training, or is damaged.
        """
        if not self._path.exists():
            return None
        try:
            with np.load(self._path, allow_pickle=False) as content:
                said = json.loads(content["said"].tobytes())
                arrays = {name: content[name] for name in content.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(
                f"the checkpoint {self._path} is damaged: {error}", hint="delete it, and start again without --resume"
            ) from error
        if said["run"] != self._run:
            raise UsageError(
                f"the checkpoint {self._path} belongs to another training: the model, the data or the settings differ",
                hint="start again without --resume",
            )
        return Standing(
            training=said["training"],
            variables=_group(arrays, "variable"),
            optimizer=_group(arrays, "optimizer"),
            best=_group(arrays, "best") if said["best"] else None,
            average=_group(arrays, "average") if said["average"] else None,
            history=tuple(EpochRecord(**record) for record in said["history"]),
        )


def _group(arrays: dict[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    count = sum(1 for key in arrays if key.startswith(name) and key[len(name) :].isdigit())
    return [arrays[f"{name}{at}"] for at in range(count)]
