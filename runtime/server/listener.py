"""Plain sockets and a thread for each connection: the transport of devices.

Interpreters run on the thread of the connection that wants them, so a request is never handed over.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import HostError
from tinsmith.runtime.server.connection import Connection, ConnectionLimits
from tinsmith.runtime.server.http import head_of_response
from tinsmith.runtime.server.refusing import busy
from tinsmith.runtime.server.room import Room

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from tinsmith.runtime.server.messages import Handler

__all__ = ["Listener", "ListenerLimits", "listen", "url_of"]

_BACKLOG = 128
_HINTS = {
    errno.EADDRINUSE: "stop what listens there (`ss -ltnp` names it), or choose another port; 0 takes a free one",
    errno.EACCES: "ports below 1024 need a right of their own; choose a higher one",
    errno.EADDRNOTAVAIL: "this machine has no such address; `ip addr` lists those that it has",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLimits:
    """How much a listener takes on.

    Attributes:
        connections: At once; further ones are told to come back.
        bodies_bytes: Of all requests that are being read or answered.
        connection: What each of them may take.
    """

    connections: int = 256
    bodies_bytes: int = 256 << 20
    connection: ConnectionLimits = field(default_factory=ConnectionLimits)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: A name or an address, IPv4 or IPv6.
        port: 0 for any that is free.

    Raises:
        HostError: The address is not this machine's, or the port is in use or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _cannot_listen(host, port, error) from error
    return sock


def url_of(sock: socket.socket, *, encrypted: bool) -> str:
    """The address of a socket that listens, such as ``http://127.0.0.1:8080``."""
    name, port = sock.getsockname()[:2]
    host = f"[{name}]" if sock.family == socket.AF_INET6 else name
    return f"{'https' if encrypted else 'http'}://{host}:{port}"


def _cannot_listen(host: str, port: int, error: OSError) -> HostError:
    reason = error.strerror or str(error)
    return HostError(
        f"cannot listen on {host} port {port}: {reason}", hint=_HINTS.get(error.errno or 0, "check host and port")
    )


class Listener:
    """Accepts connections and has each one served; start and stop it, or use it as a context manager."""

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        *,
        limits: ListenerLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._sock = sock
        self._handler = handler
        self._limits = limits or ListenerLimits()
        self._tls = tls
        self._room = Room(self._limits.bodies_bytes)
        self._url = url_of(sock, encrypted=tls is not None)
        self._changed = threading.Condition()
        self._open: set[Connection] = set()
        self._stopping = False
        self._wake, self._woken = socket.socketpair()
        self._threads = [
            threading.Thread(target=self._accept, name="accept", daemon=True),
            threading.Thread(target=self._watch, name="watch", daemon=True),
        ]

    @property
    def port(self) -> int:
        """The one that it got."""
        return int(self._url.rsplit(":", 1)[1])

    @property
    def url(self) -> str:
        """Such as ``http://127.0.0.1:8080``."""
        return self._url

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def start(self) -> None:
        """Accept from now on; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self, *, drain_s: float = 30.0) -> int:
        """Accept no more, finish what is under way, and cut what takes longer than ``drain_s``.

        Returns:
            How many connections had to be cut.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._wake.send(b"x")
        self._threads[0].join()
        for connection in self._now():
            connection.part()
        with self._changed:
            self._changed.wait_for(lambda: not self._open, drain_s)
        left = self._now()
        for connection in left:
            connection.cut()
        self._wake.close()
        self._woken.close()
        return len(left)

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _accept(self) -> None:
        self._sock.setblocking(False)
        with selectors.DefaultSelector() as selector, self._sock:
            selector.register(self._sock, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping:
                selector.select()
                self._accept_one()

    def _accept_one(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except BlockingIOError:
            return  # the client has left, or another process took it
        except OSError:
            time.sleep(0.1)  # no file descriptor is free, say; it would go on failing at once
            return
        sock.setblocking(True)
        if self._stopping or self.connections >= self._limits.connections or not self._serve(sock):
            self._turn_away(sock)

    def _serve(self, sock: socket.socket) -> bool:
        """Give a connection its thread; gives False where there is none to be had."""
        connection = Connection(sock, self._handler, limits=self._limits.connection, room=self._room, tls=self._tls)
        with self._changed:
            self._open.add(connection)
            self._changed.notify_all()
        try:
            threading.Thread(target=self._run, args=(connection,), name="connection", daemon=True).start()
        except RuntimeError:  # the system gives no further thread
            self._forget(connection)
            return False
        return True

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        with self._changed:
            self._open.discard(connection)
            if self._stopping:
                self._changed.notify_all()

    def _turn_away(self, sock: socket.socket) -> None:
        response = busy("all connections are taken")
        with contextlib.suppress(OSError), sock:
            sock.setblocking(False)
            if self._tls is None:
                sock.send(head_of_response(response, keep_alive=False) + response.body)
            sock.shutdown(socket.SHUT_WR)

    def _watch(self) -> None:
        """Look at the clock for all connections, none of which can."""
        tick_s = min(0.25, max(0.005, self._limits.connection.shortest_s / 4))
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open or self._stopping)
                if self._stopping and not self._open:
                    return
            time.sleep(tick_s)
            for connection in self._now():
                connection.check()

    def _now(self) -> list[Connection]:
        with self._changed:
            return list(self._open)
