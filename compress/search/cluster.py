"""Recipes carried out and artifacts measured by the workers of a cluster.

A worker holds one workroom, made once of the subject; the source and one-file samples are sent where they are not. What
a job has made comes back, and lies on this machine like that of any other search.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tinsmith.compress.search.trying import Outcome
from tinsmith.convert.parcels import parcel_of_data, parcel_of_model
from tinsmith.convert.workers import Errand, Raised, Returned, results
from tinsmith.runtime.errors import HostError
from tinsmith.runtime.files import staged_folder, write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tinsmith.compress.search.figures import Timed
    from tinsmith.compress.search.subject import Subject, Workroom
    from tinsmith.compress.search.trying import Job, Measure
    from tinsmith.convert.cluster import Cluster
    from tinsmith.convert.workers import Workers

    # makes the workroom of a subject; the folder is for its work
    Rooms: TypeAlias = Callable[[Subject, Path], Workroom]

__all__ = ["DaskMeasure", "DaskSpread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A job, and what the workroom for it is made of."""

    subject: Subject
    rooms: Rooms
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What came of a job, with the files of the artifact.

    Attributes:
        outcome: What came of it.
        entry: Name of the artifact; empty where there is none.
        content: Of each file, by its name.
    """

    outcome: Outcome
    entry: str = ""
    content: Mapping[str, bytes]


class DaskSpread:
    """Carries out jobs on a cluster; a ``Spread``.

    Args:
        workers: The cluster.
        subject: What all jobs are made of.
        rooms: Makes the workroom of a worker; a function that can be imported by its name.
        artifacts: The folder for what is made; it is there.

    Raises:
        DataError: The samples can't be read.
        ModelError: The model can't.
    """

    def __init__(self, workers: Workers, subject: Subject, rooms: Rooms, artifacts: Path) -> None:
        self._workers, self._subject, self._rooms, self._artifacts = workers, subject, rooms, artifacts
        self._parcels: dict[str, Any] = {"model": parcel_of_model(subject.model)}
        if subject.data is not None:
            self._parcels["data"] = parcel_of_data(subject.data)

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """See ``Spread``."""
        orders = [_Order(subject=self._subject, rooms=self._rooms, job=job) for job in jobs]
        errands = [Errand(work=_carry_out, task=order, parcels=self._parcels) for order in orders]
        for fate in self._workers.run(errands):
            job = jobs[fate.number]
            match fate:
                case Raised():
                    raise fate.error
                case Returned():
                    self._keep(fate.value)
                    yield job, fate.value.outcome
                case _:
                    yield job, Outcome(figures=None, failure=fate.reason)

    def artifact(self, sha256: str) -> Path:
        """See ``Spread``."""
        found = [*self._artifacts.glob(f"{sha256}.*"), *self._artifacts.glob(f"{sha256}/artifact.*")]
        if not found:
            raise HostError(f"{self._artifacts} has lost the artifact {sha256[:12]}…", hint="search again without it")
        return found[0]

    def _keep(self, made: _Made) -> None:
        """Put the artifact in its place; one with files beside it gets a folder, for they have names of their own."""
        if not made.entry:
            return
        place = self._artifacts / made.outcome.sha256
        if len(made.content) == 1:
            write_bytes(place.with_suffix(Path(made.entry).suffix), made.content[made.entry])
            return
        with staged_folder(place) as staged:
            for name, content in made.content.items():
                called = f"artifact{Path(name).suffix}" if name == made.entry else name
                (staged / called).write_bytes(content)


class _Kept:
    """The workroom of this process; jobs take turns in it, however many threads there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rooms: dict[str, Workroom] = {}

    def carry_out(self, order: _Order, folder: Path) -> _Made:
        """One job."""
        with self._lock:
            produced = self._room_for(order, folder).carry_out(order.job)
        if produced.path is None:
            return _Made(outcome=produced.outcome, content={})
        parcel = parcel_of_model(produced.path)
        return _Made(outcome=produced.outcome, entry=parcel.entry, content=parcel.content())

    def _room_for(self, order: _Order, folder: Path) -> Workroom:
        name = hashlib.sha256(pickle.dumps((order.subject, order.rooms))).hexdigest()
        if name not in self._rooms:
            self._rooms.clear()  # a workroom holds samples: one is enough
            work = folder / "rooms" / name[:16]
            work.mkdir(parents=True, exist_ok=True)
            self._rooms[name] = order.rooms(order.subject, work)
        return self._rooms[name]


_kept = _Kept()


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
