"""Many devices at once, each in a thread of its own, so many and no more."""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["in_order", "in_parallel"]

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class _Ended(Generic[_R]):
    result: _R


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


def in_parallel(
    work: Callable[[_T], _R], items: Sequence[_T], *, parallel: int, starting: Callable[[_T], bool] = lambda _: True
) -> Iterator[_R]:
    """Do the same for many; results come as they are done, in the thread that asks for them.

    Whoever stops asking, as Ctrl-C does, waits for nobody: what runs then ends with the process.

    Args:
        work: Done in a thread. What it raises is raised here when all that runs has ended; nothing else is begun.
        items: In the order in which they are begun.
        parallel: How many are done at once.
        starting: Asked before each, and told so that it begins; False begins nothing more.
    """
    ended: queue.SimpleQueue[_Ended[_R] | _Raised] = queue.SimpleQueue()
    waiting, running = deque(items), 0
    defect: BaseException | None = None
    while True:
        while waiting and running < parallel and defect is None and starting(waiting[0]):
            threading.Thread(target=_told, args=(work, waiting.popleft(), ended), daemon=True).start()
            running += 1
        if not running:
            break
        came = ended.get()
        running -= 1
        if isinstance(came, _Raised):
            defect = defect or came.error
        else:
            yield came.result
    if defect is not None:
        raise defect


def in_order(work: Callable[[_T], _R], items: Sequence[_T], *, parallel: int) -> list[_R]:
    """As ``in_parallel``, for all of them, with the results in the order of the items."""
    found = dict(in_parallel(lambda at: (at, work(items[at])), range(len(items)), parallel=parallel))
    return [found[at] for at in range(len(items))]


def _told(work: Callable[[_T], _R], item: _T, ended: queue.SimpleQueue[_Ended[_R] | _Raised]) -> None:
    try:
        ended.put(_Ended(work(item)))
    except BaseException as error:  # noqa: BLE001 - it is raised again where somebody hears it
        ended.put(_Raised(error))
