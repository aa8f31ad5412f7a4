"""What every transport hands to the handler, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Handler", "Head", "Refusal", "Request", "Response"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A request before its body was read.

    Attributes:
        method: Such as ``GET``, in capitals.
        path: Percent-decoded, without the query; starts with a slash.
        query: The query's fields; the last one counts where a name comes twice.
        headers: By name in lower case; values stripped, those of repeated names joined by a comma and a space.
        body_bytes: Its Content-Length; 0 where there is no body, None where it comes in chunks.
        peer: The client's address, for the audit log.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body_bytes: int | None = 0
    peer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A whole request.

    Attributes:
        head: What came before the body.
        body: As it was sent: a Content-Encoding is not yet undone.
        deadline_s: On ``time.monotonic``'s clock; who can't answer by then need not begin.
    """

    head: Head
    body: bytes
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer.

    Attributes:
        status: Of HTTP.
        body: May be empty; a transport leaves it out for HEAD, and sends its length.
        content_type: Of the body.
        headers: Further ones.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Exception):  # noqa: N818 - it is no fault of the server's
    """A request that is not served, and why.

    Attributes:
        status: Of HTTP: 400 for what is wrong in itself, 401, 403, 404, 405, 408, 413, 415, 429 for a full queue, 503
            for a model that is not ready, 504 for a deadline that has passed.
        reason: A short name for metrics, such as ``shape`` or ``queue-full``; one of few.
        message: For people: what was wrong, where, and what would be right.
        retry_after_s: For 429 and 503, when it is worth trying again.
        headers: What else HTTP wants to be said, such as the methods that a path takes.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        retry_after_s: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.headers = headers


class Handler(Protocol):
    """Answers requests, whatever carried them; called from many threads at once. No method raises."""

    def refuse(self, head: Head) -> Response | None:
        """Look at a head alone, before a byte of the body is read or room is made for it.

        Returns:
            Why it is not served (no token, no such path, a body beyond the limit, no room in the queue), or None.
        """
        ...

    def extra_s(self, head: Head) -> float:
        """Seconds beyond the usual deadline that answering such a request may take; 0 for all but loading models."""
        ...

    def answer(self, request: Request) -> Response:
        """Serve a request that ``refuse`` let pass; a defect becomes a 500 with a line in the log."""
        ...
