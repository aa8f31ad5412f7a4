"""One client's connection, served by a thread of its own from its first byte to its last."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tinsmith.runtime.server.http import CONTINUE, Incoming, head_of_response
from tinsmith.runtime.server.messages import Refusal, Request, Response
from tinsmith.runtime.server.refusing import defective, refused

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tinsmith.runtime.server.http import Received
    from tinsmith.runtime.server.messages import Handler
    from tinsmith.runtime.server.room import Room

__all__ = ["Connection", "ConnectionLimits"]

Answer = TypeVar("Answer", Response, "Response | None")

_RECEIVE_BYTES = 64 << 10
_MOST_BYTES = 1 << 20
# an answer up to this long is joined to its head; a longer one goes to the kernel beside it, uncopied
_JOIN_BYTES = 16 << 10
# what a refused request has still to send is read and dropped up to here, so that its connection can go on
_DROP_BYTES = 256 << 10
# a client that is told to go may still be sending; closing at once would reset the answer away before it is read
_LINGER_S = 1.0
_LINGER_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How long and how much one connection may take.

    Attributes:
        max_body_bytes: Of a request.
        deadline_s: From a request's first byte to its answer.
        grace_s: How much longer a handler may run before the client gets a 504 and the connection is cut.
        head_s: From the first byte of a head to its last.
        idle_s: Between two requests, and before the first.
        write_s: For one answer.
        handshake_s: Of TLS.
    """

    max_body_bytes: int = 64 << 20
    deadline_s: float = 5.0
    grace_s: float = 1.0
    head_s: float = 10.0
    idle_s: float = 60.0
    write_s: float = 30.0
    handshake_s: float = 10.0

    @property
    def shortest_s(self) -> float:
        """The shortest of the times."""
        return min(self.deadline_s, self.grace_s, self.head_s, self.idle_s, self.write_s, self.handshake_s)


class _Phase(enum.Enum):
    HANDSHAKE = enum.auto()
    IDLE = enum.auto()
    READING = enum.auto()
    HANDLING = enum.auto()
    WRITING = enum.auto()
    OVER = enum.auto()


class Connection:
    """Serves one client until either side has had enough.

    ``run`` belongs to the connection's thread; ``check``, ``part`` and ``cut`` may be called from any other. A thread
    that waits for bytes or runs a handler can't look at the clock, so somebody else must call ``check`` now and then.
    """

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        *,
        limits: ConnectionLimits,
        room: Room,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sock = sock
        self._handler = handler
        self._limits = limits
        self._room = room
        self._tls = tls
        self._clock = clock
        # what is being done, and until when it may take: one attribute, so that both are seen together
        self._watch = (_Phase.HANDSHAKE, clock() + limits.handshake_s)
        # whoever holds it decides who answers a request that is being handled: its thread, or nobody but a 504
        self._turn = threading.Lock()
        self._received: Received | None = None
        self._deadline_s = 0.0
        self._expired = False
        self._parting = False

    def run(self) -> None:
        """Serve until the client leaves, breaks the protocol or runs out of time; closes the socket."""
        try:
            self._serve()
        except OSError:
            pass  # the client is gone, or speaks no TLS: nobody is left to tell
        finally:
            with contextlib.suppress(OSError):
                self._sock.close()

    def check(self) -> None:
        """Put an end to what has gone on for too long."""
        watch = self._watch
        phase, due_s = watch
        if self._clock() < due_s:
            return
        if phase is _Phase.HANDLING:
            self._give_up(watch)
        elif phase in {_Phase.IDLE, _Phase.READING}:
            self._expired = True
            self._shut(socket.SHUT_RD)  # wakes the thread, which then says why
        else:
            self.cut()

    def part(self) -> None:
        """Finish the request that is under way, if there is one, and take no other."""
        self._parting = True
        if self._watch[0] is _Phase.IDLE:
            self._shut(socket.SHUT_RD)  # what has come already is still read

    def cut(self) -> None:
        """End it now."""
        self._shut(socket.SHUT_RDWR)

    def _serve(self) -> None:
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = str(self._sock.getpeername()[0])
        if self._tls is not None:
            # known to other threads before it waits for the client, so that they can cut it
            self._sock = wrapped = self._tls.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            wrapped.do_handshake()
        incoming = Incoming(max_body_bytes=self._limits.max_body_bytes, peer=peer)
        while self._serve_one(incoming):
            pass

    def _serve_one(self, incoming: Incoming) -> bool:
        """Serve one request; gives whether another may follow."""
        try:
            self._received = received = self._read_head(incoming)
            if received is None:
                return False
            refusal = self._guarded(lambda: self._handler.refuse(received.head))
            if refusal is None:
                return self._read_and_answer(incoming, received)
            whole = self._drop_body(incoming, received)
        except Refusal as error:
            refusal, whole = refused(error), False
        return self._write(refusal, keep_alive=whole) or self._linger()

    def _read_head(self, incoming: Incoming) -> Received | None:
        """The next head; None where the client has left, or sent nothing for too long."""
        self._received = None
        if not incoming.begun:
            self._watch = (_Phase.IDLE, self._clock() + self._limits.idle_s)
            if self._parting:  # by a call that saw an earlier phase
                self._shut(socket.SHUT_RD)
            data = self._sock.recv(_RECEIVE_BYTES)
            if not data:
                return None
            incoming.feed(data)
        now_s = self._clock()
        self._deadline_s = now_s + self._limits.deadline_s
        self._watch = (_Phase.READING, now_s + min(self._limits.head_s, self._limits.deadline_s))
        while (received := incoming.head()) is None:
            if not self._receive(incoming):
                return None
        return received

    def _receive(self, incoming: Incoming) -> bool:
        """Feed what comes next; gives False where the client has left in the middle of a request."""
        left_bytes = incoming.left_bytes
        if left_bytes and self._tls is None:
            # one call for the rest, in which the kernel waits, and not a thread of ours for each piece
            data = self._sock.recv(min(left_bytes, _MOST_BYTES), socket.MSG_WAITALL)
        else:
            data = self._sock.recv(_RECEIVE_BYTES)
        if not data and self._expired:
            raise Refusal(408, "slow", "the request did not arrive in time")
        incoming.feed(data)
        return bool(data)

    def _read_body(self, incoming: Incoming, received: Received) -> bytes | None:
        """The whole body; None where the client left before its end."""
        body = incoming.body()
        if body is not None:
            return body
        self._watch = (_Phase.READING, self._deadline_s)
        if received.expects_continue:
            self._sock.sendall(CONTINUE)
        while (body := incoming.body()) is None:
            if not self._receive(incoming):
                return None
        return body

    def _read_and_answer(self, incoming: Incoming, received: Received) -> bool:
        length = received.head.body_bytes
        room_bytes = self._limits.max_body_bytes if length is None else length
        self._room.take(room_bytes)
        try:
            body = self._read_body(incoming, received)
            if body is None:
                return False
            deadline_s = self._deadline_s + self._handler.extra_s(received.head)
            response = self._answer(Request(head=received.head, body=body, deadline_s=deadline_s))
        finally:
            self._room.give_back(room_bytes)
        return response is not None and self._write(response, keep_alive=True)

    def _answer(self, request: Request) -> Response | None:
        """What the handler says; None where it took so long that the client was told something else."""
        self._watch = (_Phase.HANDLING, request.deadline_s + self._limits.grace_s)
        response = self._guarded(lambda: self._handler.answer(request))
        with self._turn:
            if self._watch[0] is _Phase.OVER:
                return None
            self._watch = (_Phase.WRITING, self._clock() + self._limits.write_s)
        return response

    def _drop_body(self, incoming: Incoming, received: Received) -> bool:
        """Read a refused request to its end where that is short, and the client does not wait for a go-ahead."""
        length = received.head.body_bytes
        if length is None or length > _DROP_BYTES or received.expects_continue:
            return False
        return self._read_body(incoming, received) is not None

    def _write(self, response: Response, *, keep_alive: bool) -> bool:
        """Send an answer; gives whether the connection lives on."""
        received = self._received
        keep_alive = keep_alive and not self._parting and received is not None and received.keep_alive
        head, body = self._packed(response, keep_alive=keep_alive)
        self._watch = (_Phase.WRITING, self._clock() + self._limits.write_s)
        if len(body) <= _JOIN_BYTES or self._tls is not None:
            self._sock.sendall(head + body)
        else:
            self._send_both(head, body)
        return keep_alive

    def _packed(self, response: Response, *, keep_alive: bool) -> tuple[bytes, bytes]:
        received = self._received
        minor = 1 if received is None else received.minor
        try:
            head = head_of_response(response, keep_alive=keep_alive, minor=minor)
        except ValueError:
            response = defective()
            head = head_of_response(response, keep_alive=keep_alive, minor=minor)
        bare = received is not None and received.head.method == "HEAD"
        return head, b"" if bare else response.body

    def _send_both(self, head: bytes, body: bytes) -> None:
        sent = self._sock.sendmsg((head, body))
        if sent < len(head):
            self._sock.sendall(head[sent:])
            sent = len(head)
        if sent < len(head) + len(body):
            self._sock.sendall(memoryview(body)[sent - len(head) :])

    def _linger(self) -> bool:
        """Read on for a moment after the last answer, so that the client reads it; gives False."""
        self._watch = (_Phase.WRITING, self._clock() + _LINGER_S)
        self._shut(socket.SHUT_WR)
        left = _LINGER_BYTES
        while left > 0 and (data := self._sock.recv(_RECEIVE_BYTES)):
            left -= len(data)
        return False

    def _give_up(self, watch: tuple[_Phase, float]) -> None:
        """Answer in place of a handler that overran its deadline; what it gives later is dropped."""
        with self._turn:
            if self._watch is not watch:
                return
            self._watch = (_Phase.OVER, float("inf"))
        late = Refusal(504, "deadline", f"no answer within {self._limits.deadline_s:g} s")
        head, body = self._packed(refused(late), keep_alive=False)
        with contextlib.suppress(OSError):
            self._sock.setblocking(False)  # whoever calls has other connections to look after
            self._sock.send(head + body)
        self.cut()

    def _guarded(self, call: Callable[[], Answer]) -> Answer | Response:
        try:
            return call()
        except Exception:  # noqa: BLE001 - a handler's defect costs one answer, and not the connection
            return defective()

    def _shut(self, how: int) -> None:
        # not SSLSocket's own, which forgets its session while another thread reads
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, how)
