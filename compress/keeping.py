"""What keeps the results of passes, so that none runs twice on the same input."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any, Protocol

from tinsmith.compress.passes.base import PassResult
from tinsmith.convert.external_data import files_of
from tinsmith.convert.model import Model
from tinsmith.convert.tool_versions import tool_versions
from tinsmith.runtime.errors import OutputError
from tinsmith.runtime.files import sha256_of, staged_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tinsmith.convert.data import Dataset
    from tinsmith.convert.delivery import Job

    Steps = Sequence[Mapping[str, Any]]

__all__ = ["Keeper", "PassStore", "run_of"]

_RECORD = "result.json"
# Names with a dot in front are for the work; the others are results, which can be sent to other machines.
_LOCKS = ".locks"


class Keeper(Protocol):
    """Keeps what passes gave, by everything that it depends on: source, samples, seed, and all steps so far.

    Attributes:
        shelf: Folder for what passes work out once for many plans, such as calibrations; names say what it is of.
    """

    @property
    def shelf(self) -> Path:
        """See above."""
        ...

    def checkpoints(self, steps: Steps) -> Path:
        """The folder in which the last of ``steps`` keeps where its training stands."""
        ...

    def result(self, steps: Steps, taken: Model, make: Callable[[], PassResult]) -> PassResult:
        """What the last of ``steps`` gives.

        Args:
            steps: All of them so far, in full.
            taken: The model that the last one takes.
            make: Runs it, where that is not known yet.

        Raises:
            TinsmithError: Whatever ``make`` raises.
        """
        ...


def run_of(job: Job, dataset: Dataset | None, metric: str | None) -> str:
    """Names everything but the steps that passes depend on.

    Args:
        job: Source, seed and device.
        dataset: The samples; None where there are none.
        metric: What judges, as the user chose it.
    """
    said = {
        "source": sha256_of(*files_of(job.source)),
        "data": "" if dataset is None else dataset.sha256,
        "seed": job.seed,
        "metric": metric,
        "device": "" if job.device is None else job.device.name,
        "tools": tool_versions(),
    }
    return json.dumps(said, sort_keys=True)


class PassStore:
    """Results below a folder that several processes may share; one that is killed leaves nothing half.

    A process that wants what another one is making waits for it.

    Args:
        folder: Made where there is none.
        run: From ``run_of``.

    Raises:
        OutputError: The folder can't be made.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._run = hashlib.sha256(run.encode()).hexdigest()
        self._folder, self.shelf = folder, folder / f".shelf-{self._run[:16]}"
        try:
            for path in (folder, folder / _LOCKS, self.shelf):
                path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.from_os_error(folder, error) from error

    def checkpoints(self, steps: Steps) -> Path:
        """Apart for each training; see ``Keeper``."""
        folder = self._folder / f".begun-{self._key(steps)}"
        folder.mkdir(exist_ok=True)
        return folder

    def result(self, steps: Steps, taken: Model, make: Callable[[], PassResult]) -> PassResult:
        """See ``Keeper``."""
        key = self._key(steps)
        known = self._find(key, taken)
        if known is not None:
            return known
        with self._alone(key):
            known = self._find(key, taken)
            if known is None:
                self._put(key, taken, make())
                known = self._find(key, taken)
        if known is None:
            raise OutputError(f"what was just written to {self._folder} can't be read", hint="is the disk sound?")
        return known

    def _key(self, steps: Steps) -> str:
        return hashlib.sha256(json.dumps([self._run, *map(dict, steps)], sort_keys=True).encode()).hexdigest()[:32]

    def _find(self, key: str, taken: Model) -> PassResult | None:
        folder = self._folder / key
        try:
            said = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            model, stands_for = (_found(folder, said[name], taken) for name in ("model", "stands_for"))
        except (OSError, ValueError, KeyError):
            return None
        if model is None:
            return None
        return PassResult(model=model, modified=said["modified"], measured=said["measured"], stands_for=stands_for)

    def _put(self, key: str, taken: Model, result: PassResult) -> None:
        """Write it aside, and rename it; what can't be read any more makes room."""
        shutil.rmtree(self._folder / key, ignore_errors=True)
        with staged_folder(self._folder / key) as staged:
            model = _stored(result.model, taken, staged / "model")
            same = result.stands_for == result.model
            stands_for = model if same else _stored(result.stands_for, taken, staged / "stands-for")
            measured = dict(result.measured)
            said = {"model": model, "stands_for": stands_for, "modified": result.modified, "measured": measured}
            (staged / _RECORD).write_text(json.dumps(said, indent=2), encoding="utf-8")
        shutil.rmtree(self._folder / f".begun-{key}", ignore_errors=True)

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Keep others from making the same; the system lets go of it when this process ends, however it does."""
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context((self._folder / _LOCKS / key).open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise OutputError.from_os_error(self._folder, error) from error
            yield


def _stored(model: Model | None, taken: Model, folder: Path) -> dict[str, str] | None:
    """Where a copy of a model lies; nothing is copied of what went in."""
    if model is None:
        return None
    if model == taken:
        return {"taken": model.format}
    folder.mkdir()
    if model.path.is_dir():
        shutil.copytree(model.path, folder / model.path.name)
    else:
        for file in files_of(model):
            shutil.copyfile(file, folder / file.name)
    copy = Model(path=folder / model.path.name, format=model.format)
    return {
        "path": f"{folder.name}/{model.path.name}",
        "format": model.format,
        "sha256": sha256_of(*files_of(copy)),
    }


def _found(folder: Path, said: Mapping[str, Any] | None, taken: Model) -> Model | None:
    """The model again; raises ``ValueError`` where it is not what was written."""
    if said is None:
        return None
    if "taken" in said:
        return taken
    model = Model(path=folder / said["path"], format=said["format"])
    if sha256_of(*files_of(model)) != said["sha256"]:
        raise ValueError(f"{model.path} has changed")
    return model
