"""Requests out of bytes in any pieces, beside h11 as an outside judge; answers to bytes."""

import itertools

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinsmith.runtime.server.http import MAX_FIELDS, MAX_HEAD_BYTES, Incoming, head_of_response
from tinsmith.runtime.server.messages import Refusal, Response

MAX_BODY_BYTES = 1000
TOKENS = "abcXYZ019!#$%&'*+-.^_`|~"
names = st.text(TOKENS, min_size=1, max_size=12).filter(
    lambda name: name.lower() not in {"host", "content-length", "transfer-encoding", "expect", "connection"}
)
# no blanks at the ends, which mean nothing; bytes above 0x7f are allowed and mean latin-1
values = st.text('\t "(),/:;<=>?@[]{}abcXYZ019~éÿ', max_size=20).map(str.strip)
paths = st.lists(st.text("abcXYZ019-._~!$&'()*+,;=:@ é中", min_size=1, max_size=8), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
queries = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=3).filter(
    lambda query: all(text.isprintable() and is_utf8(text) for pair in query.items() for text in pair)
)


def is_utf8(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def percent(text):
    return "".join(
        c if c.isascii() and (c.isalnum() or c in "/-._~") else "".join(f"%{b:02x}" for b in c.encode()) for c in text
    )


@st.composite
def requests(draw):
    """The bytes of a request with what must be understood of it: method, path, query, headers, body."""
    method = draw(st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "M-SEARCH"]))
    path, query = draw(paths), draw(queries)
    fields = draw(st.lists(st.tuples(names, values), max_size=5))
    body = draw(st.binary(max_size=60))
    target = percent(path) + ("?" + "&".join(f"{percent(n)}={percent(v)}" for n, v in query.items()) if query else "")
    fields.append(("Host", "a:1"))
    if draw(st.booleans()):
        fields.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
        sent = draw(chunks(body))
    else:
        fields += [("Content-Length", str(len(body)))] * (draw(st.integers(1, 2)) if body else draw(st.integers(0, 1)))
        sent = body
    fields = draw(st.permutations(fields))
    blanks = draw(st.sampled_from(["", " ", "\t "]))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}:{blanks}{value}" for name, value in fields)]
    head = "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
    headers = {}
    for name, value in fields:
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None or name == "Content-Length" else f"{known}, {value}"
    return head + sent, (method, path, query, headers, body)


@st.composite
def chunks(draw, body):
    cuts = sorted(draw(st.sets(st.integers(1, len(body) - 1), max_size=4))) if len(body) > 1 else []
    edges = [0, *cuts, len(body)]
    parts = [body[a:b] for a, b in itertools.pairwise(edges) if a != b]
    extension = draw(st.sampled_from(["", ";a", ';a="b" ; c']))
    sent = b"".join(
        f"{len(part):{draw(st.sampled_from('xX'))}}{extension}\r\n".encode() + part + b"\r\n" for part in parts
    )
    return sent + b"000\r\n" + draw(st.sampled_from([b"", b"Trailer: 1\r\n"])) + b"\r\n"


def understood(raw, pieces=None):
    """All requests in some bytes, and the status of what ended them; bytes come in pieces of the sizes given."""
    incoming = Incoming(max_body_bytes=MAX_BODY_BYTES, peer="p")
    found, received, at = [], None, 0
    sizes = iter(pieces or [])
    while True:
        try:
            if received is None:
                received = incoming.head()
            body = None if received is None else incoming.body()
        except Refusal as refusal:
            return found, refusal.status, refusal.reason
        if body is not None:
            found.append((received, body))
            received = None
        elif at == len(raw):
            return found, None, None
        else:
            piece = raw[at : at + next(sizes, len(raw))]
            incoming.feed(piece)
            at += len(piece)


pieces = st.lists(st.integers(1, 30), max_size=60)


@settings(max_examples=50)
@given(st.lists(requests(), min_size=1, max_size=3), pieces)
def test_gives_every_request_of_a_connection_whatever_pieces_it_comes_in(sent, pieces):
    found, status, _ = understood(b"".join(raw for raw, _ in sent), pieces)

    assert status is None
    assert [(r.head.method, r.head.path, r.head.query, r.head.headers, body) for r, body in found] == [
        facts for _, facts in sent
    ]
    assert all(r.keep_alive and r.head.peer == "p" for r, _ in found)


def mutated(raw, changes):
    for at, byte in changes:
        raw = raw[: at % (len(raw) + 1)] + byte + raw[at % (len(raw) + 1) + 1 :]
    return raw


broken = st.builds(
    mutated,
    st.lists(requests(), min_size=1, max_size=2).map(lambda sent: b"".join(raw for raw, _ in sent)),
    st.lists(
        st.tuples(
            st.integers(0, 400), st.sampled_from([b"", b"\n", b"\r", b"\r\n", b" ", b":", b"\x00", b"%", b"0", b"g"])
        ),
        max_size=4,
    ),
)


@given(broken | st.binary(max_size=100), pieces)
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [1] * 40)
@example(b"GET / HTTP/3.1\r\nA: b\nX\r\n\r\n", [1] * 40)
def test_any_bytes_mean_the_same_in_any_pieces_and_nothing_but_a_refusal_is_raised(raw, pieces):
    assert understood(raw, pieces) == understood(raw)


def as_h11(raw):
    """What h11 makes of the first request: method, target, headers and body, or None where it refuses."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    connection.receive_data(raw)
    request, body = None, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return request.method.decode(), request.headers, body
            else:
                return None
    except h11.RemoteProtocolError:
        return None


@settings(max_examples=50)
@given(broken)
def test_what_we_take_h11_takes_and_understands_alike(raw):
    """We are stricter, so only one direction: where both read a request, no two readers disagree on where it ends."""
    found, _, _ = understood(raw)
    if not found:
        return
    received, body = found[0]
    seen = as_h11(raw.removeprefix(b"\r\n"))

    assert seen is not None
    method, headers, seen_body = seen
    assert (method, seen_body) == (received.head.method, body)
    ours = received.head.headers
    assert {name.decode() for name, _ in headers} == set(ours)
    for name, value in headers:
        # h11 writes the coding in small letters
        said = ours[name.decode()].lower() if name == b"transfer-encoding" else ours[name.decode()]
        assert value.decode("latin-1").strip(" \t") in said


def one(raw):
    found, status, _ = understood(raw)
    assert status is None, status
    ((received, body),) = found
    return received, body


def refused(raw):
    found, status, _ = understood(raw)
    assert not found
    return status


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00", 400, id="tls-on-a-plain-port-is-told-at-once"),
        pytest.param(b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="method-in-small-letters"),
        pytest.param(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="two-blanks"),
        pytest.param(b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, id="blank-behind-the-version"),
        pytest.param(b"GET /\r\nHost: a\r\n\r\n", 400, id="http-0.9"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, id="http-2"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, id="bare-line-feeds"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no-host"),
        pytest.param(GET + b"Host: b\r\n\r\n", 400, id="two-hosts"),
        pytest.param(GET + b"A : b\r\n\r\n", 400, id="blank-before-the-colon"),
        pytest.param(GET + b"A: b\r\n c\r\n\r\n", 400, id="folded"),
        pytest.param(GET + b": b\r\n\r\n", 400, id="no-name"),
        pytest.param(GET + b"A: b\x00\r\n\r\n", 400, id="nul"),
        pytest.param(GET + b"A: b\rc\r\n\r\n", 400, id="bare-carriage-return"),
        pytest.param(GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="two-lengths"),
        pytest.param(GET + b"Content-Length: 1, 1\r\n\r\n", 400, id="list-of-lengths"),
        pytest.param(GET + b"Content-Length: +1\r\n\r\n", 400, id="signed-length"),
        pytest.param(GET + "Content-Length: ²\r\n\r\n".encode("latin-1"), 400, id="superscript-length"),
        pytest.param(GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, id="length-and-chunks"),
        pytest.param(GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, id="other-coding"),
        pytest.param(GET + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", 501, id="two-codings"),
        pytest.param(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, id="chunks-in-1.0"),
        pytest.param(GET + b"Expect: 200-ok\r\n\r\n", 417, id="other-expectation"),
        pytest.param(GET + b"Content-Length: 1001\r\n\r\n", 413, id="body-too-long"),
        pytest.param(GET + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431, id="too-many-fields"),
        pytest.param(GET + b"A: " + b"b" * MAX_HEAD_BYTES, 431, id="head-too-long"),
        pytest.param(b"GET /" + b"a" * MAX_HEAD_BYTES, 414, id="target-too-long"),
        pytest.param(b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="relative-target"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="connect"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="asterisk"),
        pytest.param(b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="fragment"),
        pytest.param(b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="broken-escape"),
        pytest.param(b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="no-utf-8"),
        pytest.param(b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="hidden-nul"),
        pytest.param(b"GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="hidden-slash"),
        pytest.param(b"GET /?a=%0a HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="hidden-line-end"),
    ],
)
def test_refuses(raw, status):
    assert refused(raw) == status


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"g\r\n", 400, id="no-hex"),
        pytest.param(b"-1\r\n", 400, id="sign"),
        pytest.param(b"1\n", 400, id="bare-line-feed"),
        pytest.param(b"1;a\nb\r\n", 400, id="bare-line-feed-in-an-extension"),
        pytest.param(b"1;a\rb\r\n", 400, id="bare-carriage-return-in-an-extension"),
        pytest.param(b"2\r\nabc\r\n", 400, id="longer-than-it-says"),
        pytest.param(b"1\r\na\r\r\n", 400, id="wrong-end"),
        pytest.param(b"3e9\r\n", 413, id="too-long"),
        pytest.param(b"3e8\r\n" + b"a" * 1000 + b"\r\n1\r\n", 413, id="too-long-together"),
        pytest.param(b"1;" + b"a" * 2000, 400, id="endless-extension"),
        pytest.param((b"1;" + b"a" * 900 + b"\r\na\r\n") * 30, 400, id="many-extensions"),
        pytest.param(b"0\r\n" + b"A: b\r\n" * 4000, 400, id="endless-trailers"),
        pytest.param(b"0\r\nA b\r\n\r\n", 400, id="trailer-without-a-colon"),
    ],
)
def test_refuses_chunks(sent, status):
    assert refused(CHUNKED + sent) == status


def test_a_body_of_the_greatest_length_is_taken():
    assert one(CHUNKED + b"3e8\r\n" + b"a" * 1000 + b"\r\n0\r\n\r\n")[1] == b"a" * 1000
    assert one(GET + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000)[1] == b"a" * 1000


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "Foo, Close", False),
        ("1.1", "keep-alive", True),
        ("1.0", None, False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_a_connection_is_kept_where_the_client_says_so(version, connection, kept):
    said = f"Connection: {connection}\r\n" if connection else ""

    assert one(f"GET / HTTP/{version}\r\nHost: a\r\n{said}\r\n".encode())[0].keep_alive is kept


def test_a_go_ahead_is_expected_in_1_1_only():
    for version, expected in (("1.1", True), ("1.0", False)):
        raw = f"POST / HTTP/{version}\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n".encode()

        assert one(raw)[0].expects_continue is expected


def test_an_absolute_target_means_its_path():
    assert one(b"GET http://b:1/c?d=e HTTP/1.1\r\nHost: a\r\n\r\n")[0].head.path == "/c"
    assert one(b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n")[0].head.path == "/"


def test_the_last_of_a_querys_fields_counts_and_plus_is_a_blank():
    assert one(b"GET /?a=1&a=2+3&b&=c&& HTTP/1.1\r\nHost: a\r\n\r\n")[0].head.query == {"a": "2 3", "b": "", "": "c"}


def test_the_length_of_a_chunked_body_is_not_known_before():
    assert one(CHUNKED + b"0\r\n\r\n")[0].head.body_bytes is None


def test_a_head_is_not_taken_for_the_one_before_it():
    heads = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in (1, 1, 2)]

    assert [r.head.path for r, _ in understood(b"".join(heads))[0]] == ["/1", "/1", "/2"]


words = st.text(TOKENS, min_size=1, max_size=10)


@given(
    st.sampled_from([200, 404, 503, 299]),
    st.binary(max_size=50),
    st.lists(st.tuples(words.map(lambda name: f"X-{name}"), values), max_size=3),
    st.booleans(),
)
def test_h11_reads_every_answer(status, body, fields, keep_alive):
    response = Response(status=status, body=body, content_type="text/plain", headers=tuple(fields))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(head_of_response(response, keep_alive=keep_alive) + body)
    head = client.next_event()
    seen = dict(head.headers)

    assert head.status_code == status
    assert seen[b"content-length"] == str(len(body)).encode()
    assert seen[b"content-type"] == b"text/plain"
    assert b"GMT" in seen[b"date"]
    assert (seen.get(b"connection") == b"close") is not keep_alive
    assert {n.lower().encode(): v.encode("latin-1") for n, v in fields}.items() <= seen.items()
    assert not body or client.next_event().data == body


def test_1_0_is_told_that_its_connection_is_kept():
    assert b"\r\nConnection: keep-alive\r\n" in head_of_response(Response(status=200), keep_alive=True, minor=0)


def test_an_answer_without_content_gives_no_length():
    assert b"Content-" not in head_of_response(Response(status=204), keep_alive=True)


@pytest.mark.parametrize("field", [("A", "b\r\nC: d"), ("A", "b\n"), ("A\r\nB", "c"), ("", "a"), ("A", "b\x00")])
def test_an_answer_that_would_be_split_is_a_defect(field):
    with pytest.raises(ValueError, match="no header field"):
        head_of_response(Response(status=200, headers=(field,)), keep_alive=True)
