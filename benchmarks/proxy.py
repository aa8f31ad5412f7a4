"""A TCP proxy that counts bytes, and closes the connection after so many: a link that is cut at an exact place."""

from __future__ import annotations

import contextlib
import socket
import threading

_CHUNK_BYTES = 1 << 14


class Proxy:
    """Listens on this machine while its block lasts.

    Args:
        host: Where to connect to.
        port: Of it.
        cut_after_bytes: Close everything once so many have gone up; None for never.

    Attributes:
        up_bytes: Gone to the host.
        down_bytes: Come from it.
        port: Where it listens.
    """

    def __init__(self, host, port, *, cut_after_bytes=None):
        self._target, self._left = (host, port), cut_after_bytes
        self.up_bytes = self.down_bytes = 0
        self._sockets = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listening.close()
        self._cut()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._left is not None and self._left <= 0:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client, server):
        with contextlib.suppress(OSError):
            while chunk := client.recv(_CHUNK_BYTES):
                if self._left is not None:
                    chunk = chunk[: self._left]
                    self._left -= len(chunk)
                server.sendall(chunk)
                self.up_bytes += len(chunk)
                if self._left == 0:
                    break
        self._cut()

    def _down(self, server, client):
        with contextlib.suppress(OSError):
            while chunk := server.recv(_CHUNK_BYTES):
                client.sendall(chunk)
                self.down_bytes += len(chunk)
        self._cut()

    def _cut(self):
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
