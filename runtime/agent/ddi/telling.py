"""What the server is told: the feedback that is owed to it, and what it need not take."""

from __future__ import annotations

import http.client
import logging
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.ddi.server import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.runtime.agent.ddi.journal import JournalFile
    from tinsmith.runtime.agent.ddi.server import HawkbitServer

__all__ = ["offer", "tell_what_is_owed"]

logger = logging.getLogger(__name__)

_LATER = (http.client.UNAUTHORIZED, http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)


def tell_what_is_owed(server: HawkbitServer, file: JournalFile) -> None:
    """Send feedback, oldest first, and forget each that the server has taken, or wants to hear no more of.

    410 is such an answer: the action is closed, perhaps by this very message before the client was cut off.

    Raises:
        DeviceError: The server does not take it now; it stays owed.
    """
    while file.journal.owed:
        said = file.journal.owed[0]
        try:
            server.post(f"{said.link}/feedback", said.document())
        except RefusedError as error:
            # 403 is the answer to a wrong token, and to more messages than the server's quota has room for
            if _may_change(error) or (error.status == http.client.FORBIDDEN and said.closes):
                raise
            logger.info("hawkBit takes no %r for action %s: %s", said.execution, said.action, error.message)
            if error.status != http.client.GONE:
                file.write(file.journal.dropped(said))
                continue
        file.write(file.journal.taken(said))


def offer(send: Callable[[], None], what: str) -> None:
    """Send what the server need not take.

    Raises:
        DeviceError: It does not answer, or not now.
    """
    try:
        send()
    except RefusedError as error:
        if _may_change(error):
            raise
        logger.info("hawkBit does not take %s: %s", what, error.message)


def _may_change(error: RefusedError) -> bool:
    """Whether the same request may be taken later."""
    return error.status in _LATER or error.status >= http.client.INTERNAL_SERVER_ERROR
