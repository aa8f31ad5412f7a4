"""What both transports make of the same requests: the listener, and the ASGI application in uvicorn."""

import contextlib
import http.client
import json
import socket
import threading

import pytest

from tinsmith.runtime.server.asgi import Application, uvicorn_server
from tinsmith.runtime.server.connection import ConnectionLimits
from tinsmith.runtime.server.listener import Listener, ListenerLimits, listen
from tinsmith.runtime.server.messages import Response

LIMITS = ConnectionLimits(max_body_bytes=1_000_000, deadline_s=20.0)
SHORT = ConnectionLimits(max_body_bytes=1_000_000, deadline_s=0.05, grace_s=0.05)


class Echo:
    """Answers with what it was asked; tells of what it saw, and waits where a test wants it to."""

    def __init__(self):
        self.bodies = 0
        self.go_on = threading.Event()

    def extra_s(self, head):
        return 0.0

    def refuse(self, head):
        if head.path == "/refused":
            return Response(status=401, body=b'{"error": "no"}', headers=(("WWW-Authenticate", "Bearer"),))
        if head.path == "/refuse-defect":
            raise KeyError("refuse")
        return None

    def answer(self, request):
        self.bodies += 1
        head = request.head
        if head.path == "/defect":
            raise KeyError("answer")
        if head.path == "/split":
            return Response(status=200, headers=(("A", "b\r\nC: d"),))
        if head.path == "/empty":
            return Response(status=204)
        if head.path == "/late":
            self.go_on.wait(20)
        if head.path == "/body":
            return Response(status=200, body=request.body, content_type="application/octet-stream")
        facts = {"method": head.method, "path": head.path, "query": dict(head.query), "bytes": head.body_bytes,
                 "peer": head.peer, "test": head.headers.get("x-test")}  # fmt: skip
        return Response(status=200, body=json.dumps(facts).encode(), headers=(("X-More", "é"),))


@contextlib.contextmanager
def listener(handler, limits):
    with Listener(listen("127.0.0.1", 0), handler, limits=ListenerLimits(connection=limits)) as running:
        yield running.port


@contextlib.contextmanager
def asgi(handler, limits):
    server = uvicorn_server(Application(handler, limits=limits), drain_s=1)
    sock = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    yield sock.getsockname()[1]
    server.should_exit = True
    thread.join()
    sock.close()


TRANSPORTS = {"listener": listener, "asgi": asgi}


@pytest.fixture(scope="module", params=TRANSPORTS)
def echo(request):
    """A server whose handler is ``echo.handler``, at ``echo.port``; ``echo.transport`` names what carries requests."""
    handler = Echo()
    with TRANSPORTS[request.param](handler, LIMITS) as port:
        yield type("Running", (), {"handler": handler, "port": port, "transport": request.param})
        handler.go_on.set()


@pytest.fixture
def client(echo):
    connection = http.client.HTTPConnection("127.0.0.1", echo.port, timeout=20)
    yield connection
    connection.close()


def ask(client, *arguments, **options):
    client.request(*arguments, **options)
    answer = client.getresponse()
    return answer, answer.read()


def raw(port, sent):
    """Send bytes, and give all that comes back until the server closes.

    A server that closes with bytes unread resets the connection, and what it said before may be lost with it: uvicorn
    does so, and ``Listener`` reads on for a while.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(sent)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_hands_the_head_to_the_handler(client):
    _, body = ask(client, "POST", "/v2/m%C3%A9?a=1&a=2&b=%20", b"xyz", {"X-Test": " 1\t2 "})

    assert json.loads(body) == {
        "method": "POST",
        "path": "/v2/mé",
        "query": {"a": "2", "b": " "},
        "bytes": 3,
        "peer": "127.0.0.1",
        "test": "1\t2",
    }


def test_joins_repeated_fields(client):
    client.putrequest("GET", "/")
    client.putheader("X-Test", "1")
    client.putheader("X-Test", "2")
    client.endheaders()

    assert json.loads(client.getresponse().read())["test"] == "1, 2"


def test_gives_type_length_date_and_further_fields(client):
    answer, body = ask(client, "GET", "/")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(body))
    assert answer.headers["Date"].endswith("GMT")
    assert answer.headers["X-More"] == "é"


@pytest.mark.parametrize("size", [0, 1, 20_000, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_carries_bodies_both_ways(client, size, chunked):
    body = bytes(n % 251 for n in range(size))
    sent = iter([body[: size // 2], body[size // 2 :]]) if chunked else body

    assert ask(client, "POST", "/body", sent, encode_chunked=chunked)[1] == body


def test_keeps_the_connection(client):
    for _ in range(3):
        ask(client, "POST", "/body", b"x" * 1000)
        kept = client.sock
    assert kept is client.sock
    assert kept is not None


def test_head_gives_the_length_and_no_body(client):
    answer, body = ask(client, "HEAD", "/")

    assert int(answer.headers["Content-Length"]) > 0
    assert body == b""
    assert ask(client, "GET", "/")[0].status == 200


def test_an_empty_answer_is_followed_by_the_next(client):
    assert ask(client, "GET", "/empty")[0].status == 204
    assert ask(client, "GET", "/")[0].status == 200


def test_a_refused_request_costs_nothing_but_its_answer(client, echo):
    before = echo.handler.bodies
    answer, body = ask(client, "POST", "/refused", b"x" * 1000)

    assert (answer.status, body) == (401, b'{"error": "no"}')
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert echo.handler.bodies == before
    assert ask(client, "GET", "/")[0].status == 200


def test_a_body_that_is_too_long_is_refused_before_it_is_sent(echo):
    answer = raw(echo.port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000001\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_that_is_too_long_is_refused(echo):
    chunk = b"%x\r\n" % 600_000 + bytes(600_000) + b"\r\n"
    before = echo.handler.bodies
    try:
        answer = raw(echo.port, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 2)
    except ConnectionError:
        assert echo.transport == "asgi"
    else:
        assert answer.startswith(b"HTTP/1.1 413 ")
    assert echo.handler.bodies == before


def test_a_go_ahead_is_given_only_to_those_that_are_not_refused(echo):
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", echo.port), timeout=20) as sock:
        sock.sendall(head % b"/body")
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"x")
        assert b"".join(iter(lambda: sock.recv(1000), b"")).endswith(b"\r\n\r\nx")

    assert raw(echo.port, head % b"/refused").startswith(b"HTTP/1.1 401 ")


def test_answers_pipelined_requests_in_order(echo):
    get = b"GET /%d HTTP/1.1\r\nHost: a\r\n%s\r\n"
    answer = raw(echo.port, get % (1, b"") + get % (2, b"") + get % (3, b"Connection: close\r\n"))

    assert [answer.find(b'"/%d"' % n) for n in (1, 2, 3)] == sorted(answer.find(b'"/%d"' % n) for n in (1, 2, 3))
    assert answer.count(b"HTTP/1.1 200 ") == 3


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no-host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", id="blank-before-colon"),
        pytest.param(b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", id="no-utf-8"),
        pytest.param(b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", id="hidden-slash"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", id="two-lengths"),
        pytest.param(b"\x16\x03\x01\r\n\r\n", id="tls"),
    ],
)
def test_malformed_requests_get_400_and_the_next_connection_is_unharmed(echo, client, sent):
    assert raw(echo.port, sent).startswith(b"HTTP/1.1 400 ")
    assert ask(client, "GET", "/")[0].status == 200


@pytest.mark.parametrize("path", ["/defect", "/refuse-defect", "/split"])
def test_a_defect_is_a_500_and_the_next_request_is_unharmed(client, path, capfd):
    answer, body = ask(client, "GET", path)

    assert answer.status == 500
    assert "error" in json.loads(body)
    assert "A" not in answer.headers
    assert "Traceback" in capfd.readouterr().err
    assert ask(client, "GET", "/")[0].status == 200


def test_a_client_that_leaves_harms_nobody(echo, client):
    for sent in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"):
        with socket.create_connection(("127.0.0.1", echo.port), timeout=20) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            assert b"200" not in sock.recv(1000)
    assert ask(client, "GET", "/")[0].status == 200


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_handler_that_overruns_its_deadline_is_answered_for(transport):
    handler = Echo()
    with TRANSPORTS[transport](handler, SHORT) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        answer, body = ask(client, "GET", "/late")
        client.close()
        handler.go_on.set()

    assert answer.status == 504
    assert "0.05 s" in json.loads(body)["error"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_body_that_comes_too_slowly_is_refused(transport):
    with (
        TRANSPORTS[transport](Echo(), SHORT) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as sock,
    ):
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")

        assert sock.recv(1000).startswith(b"HTTP/1.1 408 ")
