"""Recipes carried out and artifacts measured by the workers of a cluster.

A worker holds one ``Spread`` of its own machine, opened once for the subject: so jobs are watched there as they are
here. The source and one-file samples are sent where they are not; what a job has made comes back.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import threading
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from tinsmith.compress.search.subject import ARTIFACTS_NAME, artifact_in
from tinsmith.compress.search.trying import Crew, Outcome
from tinsmith.compress.search.workroom import PASSES_NAME
from tinsmith.convert.parcels import parcel_of_data, parcel_of_model
from tinsmith.convert.workers import Errand, Lost, Raised, Returned, results
from tinsmith.runtime.files import write_bytes, write_folder, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from tinsmith.compress.search.subject import Baseline, Subject
    from tinsmith.compress.search.timing import Stopwatch
    from tinsmith.compress.search.trying import Job
    from tinsmith.convert.cluster import Cluster
    from tinsmith.convert.parcels import Parcel, Place
    from tinsmith.convert.workers import Workers
    from tinsmith.runtime.measurement import Measurement

    Opens: TypeAlias = Callable[[Subject, Path], "Local"]
    Measures: TypeAlias = Callable[[Path, str, int], Measurement]

__all__ = ["DaskSpread", "DaskStopwatch", "Local"]

# A search that was killed says no goodbye: what nobody has used for so long is closed.
_IDLE_S = 600.0
# Says a folder apart from another one that has the same name on another machine.
_MARK = ".shared"


class Local(Crew, Protocol):
    """What carries jobs out on a worker's machine, such as ``LocalSpread``."""

    def close(self) -> None:
        """End what still runs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What a worker opens, and for which search.

    Attributes:
        subject: As it is called on the machine of the search.
        opens: Opens it.
        folder: Of the search.
        token: What stands in that folder, where a worker shares it.
    """

    subject: Subject
    opens: Opens
    folder: Path
    token: str

    @property
    def name(self) -> str:
        """The same for all jobs of a search, also of one that goes on."""
        return hashlib.sha256(pickle.dumps((self.subject, self.opens, self.folder))).hexdigest()[:16]

    @property
    def is_shared(self) -> bool:
        """Whether the folder of the search is that of this name here."""
        with contextlib.suppress(OSError):
            return (self.folder / _MARK).read_text(encoding="utf-8") == self.token
        return False


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
    """Carries out jobs on a cluster; a ``Crew``, which ends what it has opened on workers when its context ends.

    Args:
        workers: The cluster.
        subject: What all jobs are made of.
        opens: What carries jobs out on a worker's machine, from a subject and a folder; can be pickled by the name that
            it is imported by.
        folder: For what is made. Workers that have the same folder, by the same name, work in it; from others comes
            what they have made: artifacts, and what trainings gave.

    Raises:
        DataError: The samples can't be read.
        ModelError: The model can't.
        OutputError: The folder can't be written.
    """

    def __init__(self, workers: Workers, subject: Subject, opens: Opens, folder: Path) -> None:
        self._workers, self._subject, self._opens = workers, subject, opens
        self._baseline: Baseline | None = None
        self._folder, self._token = folder.absolute(), uuid.uuid4().hex
        self._parcels: dict[str, Parcel | Place] = {"model": parcel_of_model(subject.model)}
        if subject.data is not None:
            self._parcels["data"] = parcel_of_data(subject.data)
        (folder / ARTIFACTS_NAME).mkdir(exist_ok=True)
        write_text(folder / _MARK, self._token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.tell(_end, self._token)

    @property
    def baseline(self) -> Baseline:
        """What a worker knows once it has opened the source and the samples; raises as ``Cluster.run``."""
        if self._baseline is None:
            errand = Errand(work=_looked, task=self._order, parcels=self._parcels)
            (self._baseline,) = results(self._workers, [errand])
        return self._baseline

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """See ``Spread``."""
        errands = [Errand(work=_carry_out, task=(self._order, job), parcels=self._parcels) for job in jobs]
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
        return artifact_in(self._folder, sha256)

    @property
    def _order(self) -> _Order:
        return _Order(subject=self._subject, opens=self._opens, folder=self._folder, token=self._token)

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


class _Opened:
    """What this process has opened; jobs take turns, however many threads there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key = ("", "")
        self._found: Local | None = None
        self._idle: threading.Timer | None = None

    @contextlib.contextmanager
    def taken(self, order: _Order, work: Path) -> Iterator[Local]:
        """For as long as nobody else may have it; opened again for another search, for it holds samples."""
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            key = (order.name, order.token)
            if self._found is None or self._key != key:
                self.end(self._key[1])
                work.mkdir(parents=True, exist_ok=True)
                self._found, self._key = order.opens(order.subject, work), key
            try:
                yield self._found
            finally:
                self._idle = threading.Timer(_IDLE_S, self.end, [order.token])
                self._idle.daemon = True
                self._idle.start()

    def end(self, token: str) -> None:
        """Close what was opened for a search, whatever it does just now."""
        if self._found is not None and self._key[1] == token:
            found, self._found = self._found, None
            found.close()


_opened = _Opened()


def _there(order: _Order, places: Mapping[str, str]) -> _Order:
    """With the source and the samples as they are called on this worker."""
    subject = replace(order.subject, model=Path(places["model"]), data=places.get("data"))
    return replace(order, subject=subject)


def _work_of(order: _Order, folder: str) -> Path:
    return order.folder if order.is_shared else Path(folder) / "searches" / order.name


def _end(token: str) -> None:
    """On each worker: the search is over."""
    _opened.end(token)


def _looked(order: _Order, places: Mapping[str, str], folder: str) -> Baseline:
    """On a worker: what is known before anything is tried."""
    order = _there(order, places)
    with _opened.taken(order, _work_of(order, folder)) as local:
        return local.baseline


def _carry_out(task: tuple[_Order, Job], places: Mapping[str, str], folder: str) -> _Made:
    """On a worker: one job."""
    order, job = _there(task[0], places), task[1]
    work = _work_of(order, folder)
    with _opened.taken(order, work) as local:
        before = _folders(work / PASSES_NAME)
        ((_, outcome),) = local.outcomes([job])
        if work == order.folder or not outcome.sha256:
            return _Made(outcome=outcome, files={})
        found = [local.artifact(outcome.sha256)]
        if outcome.training_s and job.effort == "whole":
            new = _folders(work / PASSES_NAME) - before
            found += [path for result in new for path in result.rglob("*") if path.is_file()]
        files = {path.relative_to(work).as_posix(): path.read_bytes() for path in found}
        return _Made(outcome=outcome, files=files)


def _folders(folder: Path) -> set[Path]:
    """Those below it that are whole."""
    return {path for path in folder.glob("[!.]*") if path.is_dir()} if folder.is_dir() else set()


class DaskStopwatch:
    """Measures on the machine that a device is at; a ``Stopwatch``.

    A device that a worker has as a resource (``dask worker ... --resources "device:pi4=1"``) is measured by that
    worker, one artifact at a time, whoever else asks. Any other is measured from here.

    Args:
        cluster: Whose workers have devices.
        here: Measures from here, and knows all devices.
        there: Measures on a worker, by the device's name there; can be pickled by the name that it is imported by.

    Attributes:
        facts: See ``Stopwatch``.
    """

    def __init__(self, cluster: Cluster, here: Stopwatch, there: Measures) -> None:
        self._cluster, self._here, self._there = cluster, here, there
        self.facts = here.facts

    def __call__(self, artifact: Path, device: str, threads: int) -> Measurement:
        """See ``Stopwatch``.

        Raises:
            UnreachableError: The worker that had the device is gone.
            HostError: The scheduler is.
        """
        resource = f"device:{device}"
        if not self._cluster.offering(resource):
            return self._here(artifact, device, threads)
        parcels = {"artifact": parcel_of_model(artifact)}
        task = (self._there, device, threads)
        (measured,) = results(self._cluster, [Errand(work=_measured, task=task, parcels=parcels, resource=resource)])
        return measured


def _measured(task: tuple[Measures, str, int], places: Mapping[str, str], _: str) -> Measurement:
    """On a worker: one measurement."""
    measure, device, threads = task
    return measure(Path(places["artifact"]), device, threads)
