"""Recipes carried out and artifacts measured by the workers of a cluster.

A worker holds one workroom, made once of the subject; the source and one-file samples are sent where they are not. What
a job has made comes back, and lies on this machine like that of any other search.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import threading
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tinsmith.compress.search.trying import Outcome
from tinsmith.convert.parcels import parcel_of_data, parcel_of_model
from tinsmith.convert.workers import Errand, Lost, Raised, Returned, results
from tinsmith.runtime.errors import HostError
from tinsmith.runtime.files import write_bytes, write_folder, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tinsmith.compress.search.figures import Timed
    from tinsmith.compress.search.subject import Subject, Workroom
    from tinsmith.compress.search.trying import Job, Measure
    from tinsmith.convert.cluster import Cluster
    from tinsmith.convert.parcels import Parcel, Place
    from tinsmith.convert.workers import Workers

    # makes the workroom of a subject; the folder is for its work
    Rooms: TypeAlias = Callable[[Subject, Path], Workroom]

__all__ = ["DaskMeasure", "DaskSpread"]


# Below the folder of a workroom: what it has made, and what passes gave, by names that say what it is of.
_ARTIFACTS, _PASSES = "artifacts", "passes"
_MARK = ".shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A job, and what the workroom for it is made of.

    Attributes:
        subject: As it is called on the machine of the search.
        rooms: Makes the workroom.
        job: What to do there.
        folder: Of the search.
        token: What stands in that folder, where a worker shares it.
    """

    subject: Subject
    rooms: Rooms
    job: Job
    folder: Path
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What came of a job.

    Attributes:
        outcome: As the workroom said it.
        files: By where they belong below the folder of the search; none where the worker shares it.
    """

    outcome: Outcome
    files: Mapping[str, bytes]


class DaskSpread:
    """Carries out jobs on a cluster; a ``Spread``.

    Args:
        workers: The cluster.
        subject: What all jobs are made of.
        rooms: Makes the workroom of a worker from a subject and a folder; can be imported by its name.
        folder: For what is made. Workers that have the same folder, by the same name, work in it; from others comes
            what they have made: artifacts, and what trainings gave.

    Raises:
        DataError: The samples can't be read.
        ModelError: The model can't.
        OutputError: The folder can't be written.
    """

    def __init__(self, workers: Workers, subject: Subject, rooms: Rooms, folder: Path) -> None:
        self._workers, self._subject, self._rooms = workers, subject, rooms
        self._folder, self._token = folder.absolute(), uuid.uuid4().hex
        self._parcels: dict[str, Parcel | Place] = {"model": parcel_of_model(subject.model)}
        if subject.data is not None:
            self._parcels["data"] = parcel_of_data(subject.data)
        (folder / _ARTIFACTS).mkdir(exist_ok=True)
        write_text(folder / _MARK, self._token)

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """See ``Spread``."""
        errands = [Errand(work=_carry_out, task=self._order(job), parcels=self._parcels) for job in jobs]
        for fate in self._workers.run(errands):
            job = jobs[fate.number]
            match fate:
                case Raised():
                    raise fate.error
                case Lost():
                    yield job, Outcome(figures=None, failure=fate.reason)
                case Returned():
                    self._keep(fate.value.files)
                    yield job, fate.value.outcome

    def artifact(self, sha256: str) -> Path:
        """See ``Spread``."""
        found = next((self._folder / _ARTIFACTS).glob(f"{sha256}.*"), None)
        if found is None:
            raise HostError(
                f"{self._folder / _ARTIFACTS} has lost {sha256[:12]}…", hint="search again without --resume"
            )
        return found

    def _order(self, job: Job) -> _Order:
        return _Order(subject=self._subject, rooms=self._rooms, job=job, folder=self._folder, token=self._token)

    def _keep(self, files: Mapping[str, bytes]) -> None:
        """Put files where they belong, whole or not at all; what passes gave are folders."""
        results: dict[str, dict[str, bytes]] = {}
        for name, content in files.items():
            kind, entry, *inside = name.split("/", 2)
            if inside:
                results.setdefault(f"{kind}/{entry}", {})[inside[0]] = content
            else:
                write_bytes(self._folder / name, content)
        for name, inner in results.items():
            write_folder(self._folder / name, inner)


class _Kept:
    """The workroom of this process; jobs take turns in it, however many threads there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rooms: dict[str, Workroom] = {}

    def carry_out(self, order: _Order, folder: Path) -> _Made:
        """One job.

        Args:
            order: With the source and the samples as they are called here.
            folder: Of this worker.
        """
        shared = _is_shared(order)
        with self._lock:
            work = order.folder if shared else folder / "rooms" / _name(order)
            room = self._room(order, work)
            before = _folders(work / _PASSES)
            produced = room.carry_out(order.job)
            files = {} if shared or produced.path is None else {f"{_ARTIFACTS}/{produced.path.name}": produced.path}
            if files and produced.outcome.training_s and order.job.effort == "whole":
                for new in _folders(work / _PASSES) - before:
                    files |= {path.relative_to(work).as_posix(): path for path in new.rglob("*") if path.is_file()}
            return _Made(outcome=produced.outcome, files={name: path.read_bytes() for name, path in files.items()})

    def _room(self, order: _Order, work: Path) -> Workroom:
        """That of an order; a workroom holds samples, so that one is enough."""
        key = f"{_name(order)} {order.token}"
        if key not in self._rooms:
            self._rooms.clear()
            work.mkdir(parents=True, exist_ok=True)
            self._rooms[key] = order.rooms(order.subject, work)
        return self._rooms[key]


def _name(order: _Order) -> str:
    """The same for all jobs of a search, also of one that goes on."""
    return hashlib.sha256(pickle.dumps((order.subject, order.rooms, order.folder))).hexdigest()[:16]


_kept = _Kept()


def _is_shared(order: _Order) -> bool:
    """Whether the folder of the search is that of this name here."""
    with contextlib.suppress(OSError):
        return (order.folder / _MARK).read_text(encoding="utf-8") == order.token
    return False


def _folders(folder: Path) -> set[Path]:
    """Those below it that are whole."""
    return {path for path in folder.glob("[!.]*") if path.is_dir()} if folder.is_dir() else set()


def _carry_out(order: _Order, places: Mapping[str, str], folder: str) -> _Made:
    """On a worker: one job, with the source and the samples where they lie there."""
    subject = replace(order.subject, model=Path(places["model"]), data=places.get("data"))
    return _kept.carry_out(replace(order, subject=subject), Path(folder))


class DaskMeasure:
    """Measures on the machine that a device is at; a ``Measure``.

    A device that a worker has as a resource (``dask worker ... --resources "device:pi4=1"``) is measured by that
    worker, one artifact at a time, whoever else asks. Any other is measured from here.

    Args:
        cluster: Whose workers have devices.
        measure: Measures, here and there; can be pickled by the name that it is imported by.
    """

    def __init__(self, cluster: Cluster, measure: Measure) -> None:
        self._cluster, self._measure = cluster, measure

    def __call__(self, artifact: Path, device: str, threads: int) -> Timed:
        """See ``Measure``.

        Raises:
            UnreachableError: The worker that had the device is gone.
            HostError: The scheduler is.
        """
        resource = f"device:{device}"
        if not self._cluster.offering(resource):
            return self._measure(artifact, device, threads)
        parcels = {"artifact": parcel_of_model(artifact)}
        task = (self._measure, device, threads)
        (timed,) = results(self._cluster, [Errand(work=_measured, task=task, parcels=parcels, resource=resource)])
        return timed


def _measured(task: tuple[Measure, str, int], places: Mapping[str, str], _: str) -> Timed:
    """On a worker: one measurement."""
    measure, device, threads = task
    return measure(Path(places["artifact"]), device, threads)
