"""Sockets, threads and time limits of the listener; what ASGI does too is in contract/test_transports.py."""

import contextlib
import select
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from tinsmith.runtime.errors import HostError
from tinsmith.runtime.server.connection import ConnectionLimits
from tinsmith.runtime.server.listener import Listener, ListenerLimits, listen
from tinsmith.runtime.server.messages import Refusal, Response
from tinsmith.runtime.server.room import Room
from tinsmith.runtime.server.tls import server_context

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


class Handler:
    """Says when it was asked, and answers when it may."""

    def __init__(self, body=b"ok"):
        self.asked = threading.Semaphore(0)
        self.may = threading.Event()
        self.may.set()
        self.body = body

    def extra_s(self, head):
        return 0.0

    def refuse(self, head):
        return Response(status=429, body=b"full") if head.path == "/full" else None

    def answer(self, request):
        self.asked.release()
        self.may.wait(20)
        return Response(status=200, body=self.body)


def running(handler=None, *, connections=8, bodies_bytes=1 << 30, tls=None, host="127.0.0.1", **times):
    limits = ListenerLimits(
        connections=connections, bodies_bytes=bodies_bytes, connection=ConnectionLimits(**{"deadline_s": 20.0} | times)
    )
    return Listener(listen(host, 0), handler or Handler(), limits=limits, tls=tls)


def connect(listener):
    return socket.create_connection(("127.0.0.1", listener.port), timeout=20)


def all_of(sock):
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


def test_the_port_that_it_got_is_told():
    with running() as listener:
        assert listener.url == f"http://127.0.0.1:{listener.port}"
        assert listener.port > 0


def test_a_port_in_use_is_an_error_that_says_so():
    with running() as listener, pytest.raises(HostError) as caught:
        listen("127.0.0.1", listener.port)

    assert caught.value.exit_code == 3
    assert str(listener.port) in caught.value.message
    assert "in use" in caught.value.message
    assert "another port" in caught.value.hint


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "256.1.1.1"])
def test_a_host_that_is_not_this_machine_is_an_error(host):
    with pytest.raises(HostError, match=host):
        listen(host, 0)


def test_serves_ipv6():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 in this Python")
    try:
        probe = listen("::1", 0)
    except HostError as error:
        pytest.skip(error.message)
    with Listener(probe, Handler()) as listener:
        assert listener.url == f"http://[::1]:{listener.port}"
        with socket.create_connection(("::1", listener.port), timeout=20) as sock:
            sock.sendall(GET)
            assert status_of(sock.recv(1000)) == 200


def test_connections_beyond_the_cap_are_told_to_come_back_and_the_rest_is_served():
    with running(connections=1) as listener, connect(listener) as one:
        one.sendall(GET)
        assert status_of(one.recv(1000)) == 200
        with connect(listener) as two:
            refusal = all_of(two)
        one.sendall(GET)
        assert status_of(one.recv(1000)) == 200

    assert status_of(refusal) == 503
    assert b"\r\nRetry-After: 1\r\n" in refusal
    assert b"\r\nConnection: close\r\n" in refusal


def test_a_head_that_comes_too_slowly_is_refused():
    with running(head_s=0.03) as listener, connect(listener) as sock:
        sock.sendall(b"GET / HT")

        assert status_of(all_of(sock)) == 408


def test_a_head_that_trickles_does_not_gain_time():
    with running(head_s=0.1) as listener, connect(listener) as sock:
        sent = 0
        while not select.select([sock], [], [], 0.01)[0]:
            sock.sendall(b"GET /"[sent : sent + 1] or b"a")
            sent += 1

        assert status_of(sock.recv(1000)) == 408
        assert sent < 2000


def test_a_connection_that_idles_too_long_is_closed_without_a_word():
    with running(idle_s=0.25) as listener, connect(listener) as sock:
        sock.sendall(GET)
        answer = all_of(sock)

    assert status_of(answer) == 200
    assert answer.endswith(b"ok")


def test_a_client_that_does_not_read_is_cut():
    handler = Handler(bytes(20 << 20))
    with running(handler, write_s=0.05) as listener, connect(listener) as sock:
        sock.sendall(GET)
        assert handler.asked.acquire(timeout=20)
        wait_until(lambda: listener.connections == 0)


def wait_until(holds):
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_what_a_handler_gives_too_late_is_dropped():
    handler = Handler(b"late")
    handler.may.clear()
    with running(handler, deadline_s=0.02, grace_s=0.02) as listener:
        with connect(listener) as sock:
            sock.sendall(GET)
            answer = all_of(sock)
            handler.may.set()
        wait_until(lambda: listener.connections == 0)

    assert status_of(answer) == 504
    assert b"late" not in answer


def test_a_large_refused_body_is_not_read_and_its_answer_arrives():
    with running() as listener, connect(listener) as sock:
        sock.sendall(POST.replace(b" / ", b" /full ") % (4 << 20))
        sock.sendall(bytes(4 << 20))
        answer = all_of(sock)

    assert status_of(answer) == 429
    assert b"\r\nConnection: close\r\n" in answer


def test_a_small_refused_body_is_dropped_and_the_connection_lives():
    with running() as listener, connect(listener) as sock:
        sock.sendall(POST.replace(b" / ", b" /full ") % 5 + b"12345" + GET)
        answer = sock.recv(1000)
        while answer.count(b"HTTP/1.1") < 2:
            answer += sock.recv(1000)

    assert status_of(answer) == 429
    assert b"HTTP/1.1 200 OK" in answer


def test_bodies_beyond_the_room_of_all_are_refused():
    handler = Handler()
    handler.may.clear()
    with running(handler, bodies_bytes=10) as listener, connect(listener) as one, connect(listener) as two:
        one.sendall(POST % 6 + b"123456")
        assert handler.asked.acquire(timeout=20)
        two.sendall(POST % 6 + b"123456")
        assert status_of(two.recv(1000)) == 503
        handler.may.set()
        assert status_of(one.recv(1000)) == 200


def test_room_takes_one_that_is_larger_than_all_when_it_is_alone():
    room = Room(10)
    room.take(100)
    with pytest.raises(Refusal):
        room.take(1)
    room.give_back(100)
    room.take(5)
    room.take(5)
    with pytest.raises(Refusal):
        room.take(1)


def test_a_stop_finishes_what_is_under_way_and_closes_idle_connections():
    handler = Handler()
    listener = running(handler)
    listener.start()
    with connect(listener) as idle, connect(listener) as busy:
        idle.sendall(GET)
        assert status_of(idle.recv(1000)) == 200
        handler.may.clear()
        busy.sendall(GET)
        handler.asked.acquire()
        assert handler.asked.acquire(timeout=20)
        cut = []
        stopping = threading.Thread(target=lambda: cut.append(listener.stop(drain_s=20)))
        stopping.start()
        assert all_of(idle) == b""
        handler.may.set()
        answer = all_of(busy)
        stopping.join()

    assert cut == [0]
    assert status_of(answer) == 200
    with pytest.raises(ConnectionRefusedError):
        connect(listener)


def test_a_client_is_told_that_its_connection_ends():
    handler = Handler()
    handler.may.clear()
    with running(handler) as listener, connect(listener) as sock:
        sock.sendall(GET)
        assert handler.asked.acquire(timeout=20)
        (connection,) = listener._open
        connection.part()
        handler.may.set()

        assert b"\r\nConnection: close\r\n" in all_of(sock)


def test_a_stop_cuts_what_takes_longer_than_the_drain():
    handler = Handler()
    handler.may.clear()
    listener = running(handler)
    listener.start()
    with connect(listener) as sock:
        sock.sendall(GET)
        assert handler.asked.acquire(timeout=20)

        assert listener.stop(drain_s=0.01) == 1
        assert all_of(sock) == b""
    handler.may.set()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def make_certificate(folder: Path):
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    for kind, encryption in (
        ("key", serialization.NoEncryption()),
        ("locked", serialization.BestAvailableEncryption(b"x")),
    ):
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        (folder / f"{kind}.pem").write_bytes(pem)
    return folder / "certificate.pem", folder / "key.pem"


def test_serves_tls(certificate):
    trusting = ssl.create_default_context(cafile=certificate[0])
    body = bytes(n % 251 for n in range(1 << 20))
    with running(Handler(body), tls=server_context(*certificate)) as listener:
        assert listener.url.startswith("https://")
        with trusting.wrap_socket(connect(listener), server_hostname="127.0.0.1") as sock:
            assert sock.version() in {"TLSv1.2", "TLSv1.3"}
            sock.sendall(POST % len(body) + body)
            answer = b""
            while not answer.endswith(body):
                answer += sock.recv(1 << 16)
    assert status_of(answer) == 200


def test_tls_older_than_1_2_is_not_spoken(certificate):
    context = server_context(*certificate)

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_plain_client_on_a_tls_port_is_cut_and_the_next_is_served(certificate):
    trusting = ssl.create_default_context(cafile=certificate[0])
    with running(tls=server_context(*certificate)) as listener:
        with connect(listener) as sock, contextlib.suppress(ConnectionResetError):
            sock.sendall(GET)
            assert b"200" not in sock.recv(1000)
        with trusting.wrap_socket(connect(listener), server_hostname="127.0.0.1") as sock:
            sock.sendall(GET)
            assert status_of(sock.recv(1000)) == 200


def test_a_handshake_that_does_not_come_is_cut(certificate):
    with running(tls=server_context(*certificate), handshake_s=0.03) as listener, connect(listener) as sock:
        assert sock.recv(1000) == b""


def test_a_late_handler_is_answered_for_over_tls_too(certificate):
    trusting = ssl.create_default_context(cafile=certificate[0])
    handler = Handler()
    handler.may.clear()
    with running(handler, tls=server_context(*certificate), deadline_s=0.02, grace_s=0.02) as listener:
        with trusting.wrap_socket(connect(listener), server_hostname="127.0.0.1") as sock:
            sock.sendall(GET)
            assert status_of(sock.recv(1000)) == 504
        handler.may.set()


def test_certificates_that_can_t_be_used_are_errors(certificate, tmp_path):
    chain, key = certificate
    _, other = make_certificate(tmp_path)

    for pair in ((chain, other), (chain, key.with_name("locked.pem")), (key, key), (chain, tmp_path / "none.pem")):
        with pytest.raises(HostError, match=r"cannot (serve|read)"):
            server_context(*pair)
