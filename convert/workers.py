"""Work that is spread over several processes or machines: what is asked for, and what can come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tinsmith.convert.parcels import Parcel, Place
    from tinsmith.runtime.errors import TinsmithError

__all__ = ["Errand", "Fate", "Lost", "Raised", "Returned", "Workers", "results"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand(Generic[T]):
    """One thing to do, by whoever is free.

    Attributes:
        work: A function that can be imported by its name; called with ``task``, where each parcel lies there, and a
            folder that it may fill, which is gone when the worker is.
        task: What to do; can be pickled.
        parcels: Files that it needs, by what it calls them.
        resource: What the worker must have to itself meanwhile, such as ``device:pi4``; empty for nothing.
    """

    work: Callable[[Any, Mapping[str, str], str], T]
    task: Any
    parcels: Mapping[str, Parcel | Place]
    resource: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned(Generic[T]):
    """It is done.

    Attributes:
        number: Which errand, from 0.
        value: What it returned.
    """

    number: int
    value: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """It can't be done.

    Attributes:
        number: Which errand, from 0.
        error: Why; names the worker.
    """

    number: int
    error: TinsmithError


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """It ended several workers, or failed in a way that nobody foresaw.

    Attributes:
        number: Which errand, from 0.
        reason: What is known of it.
    """

    number: int
    reason: str


Fate = Returned[T] | Raised | Lost


class Workers(Protocol):
    """Do errands, several at a time."""

    @property
    def count(self) -> int:
        """How many there are now, at least 1."""
        ...

    def run(self, errands: Sequence[Errand[T]]) -> Iterator[Fate[T]]:
        """Each errand's fate as soon as it is known, in any order; one whose worker dies goes to another.

        Raises:
            HostError: There is nobody to do anything any more.
            UnreachableError: No worker has the resource any more that an errand needs.
        """
        ...

    def tell(self, what: Callable[[str], None], said: str) -> None:
        """Call a function on each worker, also while it works; it can be imported by its name."""
        ...


def results(workers: Workers, errands: Sequence[Errand[T]]) -> list[T]:
    """What errands return, in their order; the first failure ends it.

    Raises:
        TinsmithError: An errand's error, or ``HostError`` where its workers were lost.
    """
    found: dict[int, T] = {}
    for fate in workers.run(errands):
        match fate:
            case Returned():
                found[fate.number] = fate.value
            case Raised():
                raise fate.error
            case Lost():
                raise HostError(f"a part of the work was lost: {fate.reason}", hint="look at the logs of the workers")
    return [found[number] for number in sorted(found)]
