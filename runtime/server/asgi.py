"""The same handler as an ASGI 3 application, for hosts that run uvicorn or another server of that kind."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import MissingDependencyError
from tinsmith.runtime.server.connection import ConnectionLimits
from tinsmith.runtime.server.http import BODILESS, MAX_HEAD_BYTES, checked_field
from tinsmith.runtime.server.listener import url_of
from tinsmith.runtime.server.messages import Head, Refusal, Request
from tinsmith.runtime.server.refusing import busy, defective, refused
from tinsmith.runtime.server.room import Room
from tinsmith.runtime.server.target import split_target

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import uvicorn

    from tinsmith.runtime.server.listener import ListenerLimits
    from tinsmith.runtime.server.messages import Handler, Response

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["Application", "UvicornListener", "uvicorn_server"]


# For closing what is left when the requests under way have ended.
_END_S = 5.0


class _Gone(Exception):  # noqa: N818 - it is no fault
    """The client left before it was answered."""


class Application:
    """An ASGI 3 application of HTTP and lifespan.

    A handler runs in one of ``threads`` threads; requests beyond ``waiting`` more are told to come back.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        limits: ConnectionLimits | None = None,
        bodies_bytes: int = 256 << 20,
        threads: int = 32,
        waiting: int = 224,
    ) -> None:
        self._handler = handler
        self._limits = limits or ConnectionLimits()
        self._room = Room(bodies_bytes)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="handler")
        self._places = threads + waiting
        self._taken = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One connection's lifespan or one request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise NotImplementedError(scope["type"])  # as ASGI wants it: the server then closes a websocket

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        self._pool.shutdown(wait=False, cancel_futures=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        deadline_s = time.monotonic() + self._limits.deadline_s
        try:
            response, close = await self._respond(scope, receive, deadline_s), False
        except Refusal as refusal:
            response, close = refused(refusal), True  # of its body, nobody knows how much is still to come
        except _Gone:
            return
        await _send(response, send, bare=scope["method"] == "HEAD", close=close)

    async def _respond(self, scope: Message, receive: Receive, deadline_s: float) -> Response:
        head = _head(scope)
        if head.body_bytes is not None and head.body_bytes > self._limits.max_body_bytes:
            raise self._too_large()
        refusal = self._refuse(head)
        if refusal is not None:
            return refusal
        if self._taken >= self._places:
            return busy("all threads are taken")
        self._taken += 1
        try:
            return await self._read_and_answer(head, receive, deadline_s)
        finally:
            self._taken -= 1

    async def _read_and_answer(self, head: Head, receive: Receive, deadline_s: float) -> Response:
        room_bytes = self._limits.max_body_bytes if head.body_bytes is None else head.body_bytes
        self._room.take(room_bytes)
        try:
            body = await self._within(self._body(receive), deadline_s)
            late_s = deadline_s + self._handler.extra_s(head)
            return await self._answer(Request(head=head, body=body, deadline_s=late_s), receive)
        finally:
            self._room.give_back(room_bytes)

    def _refuse(self, head: Head) -> Response | None:
        try:
            return self._handler.refuse(head)
        except Exception:  # noqa: BLE001 - a handler's defect costs one answer
            return defective()

    def _handle(self, request: Request) -> Response:
        try:
            return self._handler.answer(request)
        except Exception:  # noqa: BLE001 - as above
            return defective()

    async def _body(self, receive: Receive) -> bytes:
        parts = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            parts += message.get("body", b"")
            if len(parts) > self._limits.max_body_bytes:
                raise self._too_large()
            more = message.get("more_body", False)
        return bytes(parts)

    async def _within(self, body: Awaitable[bytes], deadline_s: float) -> bytes:
        try:
            return await asyncio.wait_for(body, deadline_s - time.monotonic())
        except asyncio.TimeoutError:
            raise Refusal(408, "slow", "the request did not arrive in time") from None

    async def _answer(self, request: Request, receive: Receive) -> Response:
        """Run the handler on a thread until it answers, its time is over, or the client leaves."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, self._handle, request)
        leaving = asyncio.ensure_future(receive())
        left_s = request.deadline_s + self._limits.grace_s - time.monotonic()
        either: set[asyncio.Future[Any]] = {running, leaving}
        await asyncio.wait(either, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            leaving.cancel()
            return running.result()
        running.cancel()  # one that runs already goes on, and what it gives is dropped
        if leaving.done():
            raise _Gone
        leaving.cancel()
        raise Refusal(504, "deadline", f"no answer within {self._limits.deadline_s:g} s")

    def _too_large(self) -> Refusal:
        return Refusal(
            413, "body-size", f"the body has more than the {self._limits.max_body_bytes} bytes that are taken"
        )


def _head(scope: Message) -> Head:
    target = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"]
    path, fields = split_target((target + b"?" + query if query else target).decode("latin-1"))
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    client = scope.get("client")
    return Head(
        method=scope["method"],
        path=path,
        query=fields,
        headers=headers,
        body_bytes=_body_bytes(headers),
        peer=client[0] if client else "",
    )


def _body_bytes(headers: dict[str, str]) -> int | None:
    """As the server, which frames the body, has read it."""
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else None


async def _send(response: Response, send: Send, *, bare: bool, close: bool) -> None:
    try:
        headers = _headers(response)
    except ValueError:
        response = defective()
        headers = _headers(response)
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bare else response.body})


def _headers(response: Response) -> list[tuple[bytes, bytes]]:
    fields = [("content-type", response.content_type), ("content-length", str(len(response.body)))]
    if response.status in BODILESS:
        fields = []
    fields += [checked_field(name, value) for name, value in response.headers]
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def uvicorn_server(
    application: Application, *, idle_s: float = 60.0, drain_s: float = 30.0, tls: tuple[Path, Path] | None = None
) -> uvicorn.Server:
    """A uvicorn that serves the application; call its ``run`` with ``sockets=[listen(host, port)]``.

    It parses with h11, which is as strict as ours. It has no time limit of its own for a head that comes slowly, and
    no cap on connections: where strangers may connect, a proxy belongs in front, or take ``Listener``.

    Args:
        application: What is served.
        idle_s: How long a connection may be idle.
        drain_s: How long a stop waits for requests that are under way.
        tls: Certificate and key, both as PEM.

    Raises:
        MissingDependencyError: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingDependencyError("uvicorn", extra="serve", needed_for="serving with ASGI") from error
    certificate, key = tls or (None, None)
    config = uvicorn.Config(
        application,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=max(1, round(idle_s)),
        timeout_graceful_shutdown=max(1, round(drain_s)),
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    return uvicorn.Server(config)


class UvicornListener:
    """A uvicorn in a thread of its own, started and stopped as a ``Listener`` is."""

    def __init__(
        self, sock: socket.socket, handler: Handler, *, limits: ListenerLimits, tls: tuple[Path, Path] | None = None
    ) -> None:
        """Take a socket that listens.

        Raises:
            MissingDependencyError: uvicorn is not installed.
        """
        self._sock = sock
        self.url = url_of(sock, encrypted=tls is not None)
        application = Application(handler, limits=limits.connection, bodies_bytes=limits.bodies_bytes)
        self._server = uvicorn_server(application, idle_s=limits.connection.idle_s, tls=tls)
        self._thread = threading.Thread(target=self._run, name="uvicorn", daemon=True)

    def start(self) -> None:
        """Accept from now on; returns at once."""
        self._thread.start()

    def stop(self, *, drain_s: float = 30.0) -> int:
        """Accept no more, and finish what is under way within ``drain_s``; gives 1 where it did not end, else 0."""
        self._server.config.timeout_graceful_shutdown = max(1, round(drain_s))
        self._server.should_exit = True
        self._thread.join(drain_s + _END_S)
        self._sock.close()
        return int(self._thread.is_alive())

    def _run(self) -> None:
        self._server.run(sockets=[self._sock])
