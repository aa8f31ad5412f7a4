"""Which path and method leads to which function."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.server.messages import Refusal, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tinsmith.runtime.server.messages import Head

__all__ = ["Call", "Route", "Routes"]

_MODEL = "{model}"
_VERSION = "{version}"
_REMEMBERED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A whole request, with what its path says.

    Attributes:
        head: What came before the body.
        body: As it was sent.
        deadline_s: On ``time.monotonic``'s clock.
        model: Named by the path; empty where it names none.
        version: Named by the path; None where it names none.
        started_ns: When the body was there, on ``time.perf_counter_ns``'s clock.
    """

    head: Head
    body: bytes
    deadline_s: float
    model: str
    version: str | None
    started_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One call that the server knows.

    Attributes:
        method: ``GET`` or ``POST``; HEAD goes where GET does.
        path: With ``{model}`` and ``{version}`` as whole parts.
        endpoint: Answers; raises ``Refusal``.
        max_body_bytes: Of a request.
        runs: Whether it runs the model that the path names, which must be ready before a body is read.
        open: Whether it needs no token.
        extra_s: Beyond the usual deadline, for an endpoint that runs whole programs.
    """

    method: str
    path: str
    endpoint: Callable[[Call], Response]
    max_body_bytes: int = 1 << 16
    runs: bool = False
    open: bool = False
    extra_s: float = 0.0

    def takes(self, method: str) -> bool:
        """Whether this is the method, or HEAD for GET."""
        return method == self.method or (method == "HEAD" and self.method == "GET")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A route, and what the path put into its places."""

    route: Route
    model: str
    version: str | None


class Routes:
    """A table of routes; where two fit a path, the earlier one counts.

    Attributes:
        find: Gives the route of a method and a path; raises ``Refusal`` where there is no such path (404), or it does
            not take this method (405).
    """

    find: Callable[[str, str], Found]

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_length: dict[int, list[tuple[list[str], Route]]] = {}
        for route in routes:
            parts = route.path.split("/")
            self._by_length.setdefault(len(parts), []).append((parts, route))
        # clients ask for the same few paths again and again; refusals are not kept
        self.find = functools.lru_cache(maxsize=_REMEMBERED)(self._find)

    def _find(self, method: str, path: str) -> Found:
        parts = path.split("/")
        methods: set[str] = set()
        for pattern, route in self._by_length.get(len(parts), ()):
            places = _places(pattern, parts)
            if places is None:
                continue
            if route.takes(method):
                return Found(route=route, model=places.get(_MODEL, ""), version=places.get(_VERSION))
            methods |= {route.method, "HEAD"} if route.method == "GET" else {route.method}
        if not methods:
            raise Refusal(404, "path", "there is no such path")
        allowed = ", ".join(sorted(methods))
        raise Refusal(405, "method", f"this path takes {allowed} only", headers=(("Allow", allowed),))


def _places(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    places: dict[str, str] = {}
    for want, part in zip(pattern, parts, strict=True):
        if want != part:
            if want[:1] != "{" or not part:
                return None
            places[want] = part
    return places
