"""One event loop in one thread, shared by all SSH connections of this process.

Fifty boards at once then cost fifty sockets, and not fifty loops. Whoever calls waits in its own thread, with a time
limit that holds whatever the loop does.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

__all__ = ["LoopThread", "shared_loop", "wait"]

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_STOP_LIMIT_S = 2.0
_shared: dict[int, LoopThread] = {}
_lock = threading.Lock()


class LoopThread:
    """An event loop that runs in a thread of its own from the start."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_of_nobody)
        logging.getLogger("asyncio").addFilter(_is_news)  # once, however many loops there are
        self._thread = threading.Thread(target=self._loop.run_forever, name="tinsmith-ssh", daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Start a coroutine; its result comes by the future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, coroutine: Coroutine[Any, Any, _T], time_limit_s: float) -> _T:
        """The result of a coroutine.

        Raises:
            TimeoutError: It took longer; it is cancelled, and not waited for.
        """
        return wait(self.submit(coroutine), time_limit_s)

    def stop(self) -> None:
        """Cancel what still runs, end the thread and close the loop."""
        self.call(_cancel_others(), _STOP_LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _of_nobody(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a lost link leaves in tasks that nobody waits for any more; whoever waited has heard of it."""
    _logger.debug("%s", context.get("message", ""), exc_info=context.get("exception"))


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a word of asyncio is any: of writes to a link that is lost it says the same for each."""
    return "socket.send() raised exception" not in str(record.msg)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def wait(future: concurrent.futures.Future[_T], time_limit_s: float) -> _T:
    """The result of a future; raises as ``LoopThread.call``."""
    try:
        return future.result(time_limit_s)
    except (concurrent.futures.TimeoutError, asyncio.TimeoutError) as error:
        # in Python 3.10 these are no TimeoutError yet
        raise TimeoutError from error
    finally:
        # does nothing where it is done; else the limit has passed, or a person has pressed Ctrl-C
        future.cancel()


def shared_loop() -> LoopThread:
    """The loop of this process, started by the first who asks; a forked child gets its own."""
    with _lock:
        if os.getpid() not in _shared:
            loop = _shared[os.getpid()] = LoopThread()
            atexit.register(loop.stop)
        return _shared[os.getpid()]
