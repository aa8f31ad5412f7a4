"""Compressed bodies: what is undone, what is refused, and never more memory than is allowed."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.server.coding import check_coding, compress, unfold
from tinsmith.runtime.server.messages import Refusal, Response

PACK = {"gzip": gzip.compress, "deflate": zlib.compress}
coded = pytest.mark.parametrize("coding", PACK)


@coded
@given(body=st.binary(max_size=200))
def test_gives_what_was_packed(coding, body):
    assert unfold(PACK[coding](body), coding, limit_bytes=200) == body


@coded
def test_never_holds_more_than_its_limit(coding):
    bomb = PACK[coding](bytes(3_000_000))

    tracemalloc.start()
    with pytest.raises(Refusal) as caught:
        unfold(bomb, coding, limit_bytes=10_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert caught.value.status == 413
    assert peak < 200_000


@coded
@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-1], lambda b: b[:4], lambda b: b"", lambda b: b + b"x", lambda b: b * 2, lambda b: b"x" + b]
)
def test_refuses_what_is_damaged_or_followed_by_something(coding, spoil):
    with pytest.raises(Refusal) as caught:
        unfold(spoil(PACK[coding](b"some body")), coding, limit_bytes=100)

    assert (caught.value.status, caught.value.reason) == (400, "coding")


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress", "*"])
def test_other_codings_are_refused_by_name(coding):
    with pytest.raises(Refusal) as caught:
        check_coding({"content-encoding": coding})

    assert caught.value.status == 415
    assert ("Accept-Encoding", "gzip, deflate") in caught.value.headers


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, GZIP;q=0.5", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0", None),
        ("br, zstd", None),
        ("", None),
    ],
)
def test_an_answer_is_packed_as_the_client_takes_it(accept, coding):
    answer = compress(Response(status=200, body=b"x" * 5000, headers=(("A", "b"),)), accept)

    assert dict(answer.headers).get("Content-Encoding") == coding
    assert ("A", "b") in answer.headers
    undone = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[coding]
    assert undone(answer.body) == b"x" * 5000


def test_a_short_answer_is_not_worth_it():
    assert compress(Response(status=200, body=b"x" * 100), "gzip").headers == ()
