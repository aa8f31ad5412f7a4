"""Workers of a Dask cluster that the user has started: ``dask scheduler``, and ``dask worker`` on any machines.

Whoever reaches the scheduler can run code on its workers, and believes what they answer: this is Dask's way, so that a
cluster belongs into a network that can be trusted, or behind ``tls://``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import time
import uuid
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tinsmith.convert.errands import Answer, Lacking, packed, run_errand, take_parcel, version_here
from tinsmith.convert.frameworks import require
from tinsmith.convert.parcels import Parcel
from tinsmith.convert.workers import Lost, Raised, Returned
from tinsmith.runtime._version import __version__
from tinsmith.runtime.errors import HostError, UnreachableError, UsageError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Self

    from tinsmith.convert.workers import Errand, Fate

__all__ = ["Cluster"]

T = TypeVar("T")

_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx", "ucxx")
_CONNECT_S = 10.0
# A worker that has just been started imports for a while.
_ARRIVE_S = 30.0
_LOOK_EVERY_S = 1.0
# A worker that takes no parcel is asked no more often.
_TRIES = 2


class Cluster:
    """Workers behind a scheduler; a context manager.

    Args:
        scheduler: Its address, such as ``tcp://10.0.0.5:8786``.
        patience_s: How long there may be no worker: nannies start those again that died.

    Raises:
        UsageError: This is no address.
        HostError: Nobody answers there, no worker comes, or a worker has another version of tinsmith.
        MissingDependencyError: Dask is not installed.
    """

    def __init__(self, scheduler: str, *, patience_s: float = 60.0) -> None:
        if scheduler.partition("://")[0] not in _SCHEMES:
            raise UsageError(f"{scheduler!r} is no address of a scheduler", hint="name it as tcp://HOST:PORT")
        self.scheduler, self.patience_s = scheduler, patience_s
        self.client = _connected(scheduler)
        try:
            self._check_workers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def count(self) -> int:
        """See ``Workers``."""
        return max(1, self.offering(""))

    def offering(self, resource: str) -> int:
        """How many workers have a resource, such as ``device:pi4``; all of them have the one without a name.

        Raises:
            HostError: The scheduler is gone.
        """
        if self.client.status != "running":
            raise self.gone()
        try:
            workers = self.client.scheduler_info()["workers"].values()
        except (OSError, RuntimeError) as error:
            raise self.gone() from error
        return sum(1 for worker in workers if not resource or worker["resources"].get(resource))

    def run(self, errands: Sequence[Errand[T]]) -> Iterator[Fate[T]]:
        """See ``Workers``."""
        return _Round(self, errands).fates()

    def tell(self, what: Callable[[str], None], said: str) -> None:
        """See ``Workers``."""
        with contextlib.suppress(Exception):  # workers that are gone, or the scheduler
            self.client.run(what, said, on_error="ignore")

    def gone(self) -> HostError:
        """The error to raise where the scheduler does not answer any more."""
        return HostError(
            f"the scheduler {self.scheduler} is gone, or has dropped the work",
            hint="start it again; a search goes on where it was with --resume",
        )

    def close(self) -> None:
        """Let go of it; its workers go on."""
        with contextlib.suppress(Exception):
            self.client.close(timeout=_CONNECT_S)

    def _check_workers(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=min(self.patience_s, _ARRIVE_S))
        except TimeoutError:
            hint = f"start some: dask worker {self.scheduler} --nthreads 1"
            raise HostError(f"the scheduler {self.scheduler} has no workers", hint=hint) from None
        for address, version in self.client.run(version_here, on_error="return").items():
            if isinstance(version, OSError):
                continue  # it has just ended
            if version != __version__:
                has = f"tinsmith {version}" if isinstance(version, str) else f"no tinsmith: {first_line(version)}"
                raise HostError(
                    f"the worker {address} has {has}; here is {__version__}",
                    hint="install the same version on the machines of all workers",
                )


def _connected(scheduler: str) -> Any:
    distributed = require("distributed", needed_for="--scheduler")
    # what it says of lost workers is said by those who lost them
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        return distributed.Client(scheduler, timeout=_CONNECT_S, set_as_default=False, name="tinsmith")
    except (OSError, ValueError) as error:
        raise HostError(
            f"no scheduler answers at {scheduler}: {first_line(error)}",
            hint="start one with `dask scheduler`, and workers with `dask worker`",
        ) from error


class _Round(Generic[T]):
    """Some errands, from the first to the last.

    No more are given away than there are workers: the rest goes to whoever is done first, and none is held to blame for
    a worker that died before it began.
    """

    def __init__(self, cluster: Cluster, errands: Sequence[Errand[T]]) -> None:
        self._cluster, self._errands = cluster, errands
        self._waiting = deque(range(len(errands)))
        self._running: dict[str, tuple[int, Any]] = {}
        self._done: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._asked: dict[tuple[str, str], Counter[int]] = {}

    def fates(self) -> Iterator[Fate[T]]:
        """See ``Workers.run``."""
        try:
            while self._waiting or self._running:
                self._give()
                number, future = self._running.pop(self._next())
                fate = self._fate(number, future)
                if fate is None:
                    self._waiting.appendleft(number)
                else:
                    yield fate
        finally:
            with contextlib.suppress(Exception):
                self._cluster.client.cancel([future for _, future in self._running.values()])

    def _give(self) -> None:
        while self._waiting:
            errand = self._errands[self._waiting[0]]
            if len(self._running) >= max(1, self._cluster.offering(errand.resource)):
                return
            number, key = self._waiting.popleft(), f"tinsmith-{uuid.uuid4().hex}"
            needs = {errand.resource: 1} if errand.resource else None
            future = self._cluster.client.submit(
                run_errand, packed(errand), __version__, key=key, pure=False, resources=needs
            )
            self._running[key] = (number, future)
            future.add_done_callback(lambda future: self._done.put(future.key))

    def _next(self) -> str:
        """The key of one that is done; looks after the workers meanwhile."""
        seen_s = time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                return self._done.get(timeout=_LOOK_EVERY_S)
            lacking = self._lacking()
            if not lacking:
                seen_s = time.monotonic()
            elif time.monotonic() - seen_s > self._cluster.patience_s:
                raise lacking[0]

    def _lacking(self) -> list[HostError | UnreachableError]:
        """What nobody is there for, as an error that says so; empty where somebody is."""
        cluster = self._cluster
        if not cluster.offering(""):
            hint = "start some, and go on with --resume"
            return [HostError(f"the scheduler {cluster.scheduler} has no workers any more", hint=hint)]
        names = {self._errands[number].resource for number, _ in self._running.values()}
        return [
            UnreachableError(
                f"no worker of {cluster.scheduler} has {name} any more",
                hint=f'start one with: dask worker {cluster.scheduler} --resources "{name}=1"',
            )
            for name in sorted(names)
            if not cluster.offering(name)
        ]

    def _fate(self, number: int, future: Any) -> Fate[T] | None:
        """None where it has to be asked again."""
        if future.cancelled():
            raise self._cluster.gone()
        if future.status == "error":
            return Lost(number=number, reason=_reason(future.exception()))
        try:
            said = future.result(timeout=self._cluster.patience_s)
        except (OSError, asyncio.CancelledError, concurrent.futures.CancelledError) as error:
            raise self._cluster.gone() from error
        if isinstance(said, Lacking):
            self._send(said, number)
            return None
        if isinstance(said, Answer):
            return Returned(number=number, value=said.value)
        return Raised(number=number, error=said.error)

    def _send(self, lacking: Lacking, number: int) -> None:
        """Give a worker the files that it has asked for; one that has died meanwhile is no matter."""
        for called in lacking.parcels:
            parcel = self._errands[number].parcels[called]
            assert isinstance(parcel, Parcel)
            asked = self._asked.setdefault((lacking.worker, parcel.name), Counter())
            asked[number] += 1
            if asked[number] > _TRIES:
                raise HostError(f"the worker {lacking.worker} does not take {parcel.entry}", hint="look at its log")
            # another errand that asks for the first time did so before the files came
            why = self._handed(lacking.worker, parcel) if len(asked) == 1 or asked[number] > 1 else ""
            if why:
                hint = "free some space there, or start it with another --local-directory"
                raise HostError(f"the worker {lacking.worker} {why}", hint=hint)

    def _handed(self, worker: str, parcel: Parcel) -> str:
        said = self._cluster.client.run(take_parcel, parcel, parcel.content(), workers=[worker], on_error="return")
        return next((why for why in said.values() if isinstance(why, str)), "")


def _reason(error: Any) -> str:
    if type(error).__name__ == "KilledWorker":
        times = error.allowed_failures + 1
        return f"{times} workers died over it, one after the other, as where memory runs out"
    return f"{type(error).__name__}: {first_line(error)}"
