"""JSON as clients send it: both libraries must read and refuse the same."""

import json
import string
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinsmith.runtime.server.documents import (
    MAX_DEPTH,
    MAX_TEXT_BYTES,
    OrjsonDocuments,
    PlainDocuments,
    open_documents,
    shown,
)
from tinsmith.runtime.server.messages import Refusal

BOTH = (OrjsonDocuments(), PlainDocuments())


@pytest.fixture(params=BOTH, ids=lambda documents: documents.name)
def documents(request):
    return request.param


def outcome(documents, text):
    try:
        value = documents.read(text).value
    except Refusal as refusal:
        return refusal.status
    # 1, 1.0 and True are equal to Python, and are not to a tensor
    return repr(value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES.map(lambda value: json.dumps(value).encode()))
def test_both_read_the_same_texts_alike(text):
    assert outcome(BOTH[0], text) == outcome(BOTH[1], text)


@given(st.text(alphabet='[]{}",:\\ \n\t0123456789.eE+-truefalsnNIuDd/b\u00e9\ufeff\x00', max_size=14))
@example("1e400")
@example("-1e400")
@example("1" * 400)
@example("1" * 5000)
@example("18446744073709551616")
@example("18446744073709551615")
@example("-9223372036854775809")
@example('"\\ud800"')
@example('"\\uD800\\uDC00"')
@example('{"a":1,"a":2}')
@example("-0")
@example("NaN")
@example("-Infinity")
@example("\ufeff1")
def test_both_refuse_the_same_texts(text):
    assert outcome(BOTH[0], text.encode()) == outcome(BOTH[1], text.encode())


@given(st.binary(max_size=8))
def test_both_refuse_the_same_bytes(text):
    assert outcome(BOTH[0], b'"' + text + b'"') == outcome(BOTH[1], b'"' + text + b'"')


def test_utf_16_is_no_json(documents):
    with pytest.raises(Refusal):
        documents.read("[1]".encode("utf-16"))


@pytest.mark.parametrize(
    "text",
    ["[" * 41 + "]" * 41, '{"a":' * 41 + "1" + "}" * 41, "[" * 1_000_000, "[[]" * 1000, '["\\"[' + "[" * 50 + "]" * 50],
    ids=["lists", "objects", "unclosed", "half-closed", "after a string"],
)
def test_depth_is_bounded_before_anything_is_parsed(documents, text):
    with pytest.raises(Refusal, match="nested deeper than 40"):
        documents.read(text.encode())


@pytest.mark.parametrize(
    "text",
    [b"[0]" + b" " * MAX_TEXT_BYTES, b"[" + b"[]," * 600_000 + b"[]]", b"[" + b'"11",' * 600_000 + b"0]"],
    ids=["long", "lists", "strings"],
)
def test_what_would_fill_the_memory_is_never_parsed(documents, text):
    tracemalloc.start()
    with pytest.raises(Refusal) as caught:
        documents.read(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert caught.value.status == 413
    assert peak < 5_000_000


def test_the_worst_that_is_taken_grows_less_than_tenfold(documents):
    text = b"[" + b"1.5," * 100_000 + b"0]"

    tracemalloc.start()
    value = documents.read(text).value
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(value) == 100_001
    assert held < 10 * len(text)


def test_brackets_beside_each_other_and_in_strings_are_no_depth(documents):
    value = [[['[[["{{\\'] * 30] * 30, "[" * 100, {"\\": [[1]]}]

    assert documents.read(json.dumps(value).encode()).value == value
    assert documents.read(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@given(VALUES)
def test_booleans_are_never_overlooked(value):
    def holds(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return isinstance(value, bool) or any(map(holds, inner))

    text = json.dumps(value).encode()
    for documents in BOTH:
        try:
            document = documents.read(text)
        except Refusal:
            continue
        assert document.booleans or not holds(value)


def test_arrays_are_written_so_that_they_read_back_exactly(documents):
    rng = np.random.default_rng(0)
    arrays = {
        "float32": rng.standard_normal(50).astype(np.float32),
        "float64": rng.standard_normal(50),
        "int8": np.arange(-128, 128, dtype=np.int8),
        "uint64": np.array([0, 2**64 - 1], np.uint64),
        "bool": np.array([True, False]),
    }

    told = json.loads(documents.text({"outputs": arrays}))["outputs"]

    for dtype, array in arrays.items():
        np.testing.assert_array_equal(np.array(told[dtype], dtype), array)


def test_the_standard_library_serves_where_orjson_is_missing(monkeypatch):
    assert open_documents().name == "orjson"

    monkeypatch.setitem(sys.modules, "orjson", None)

    assert open_documents().name == "json"


@given(st.text() | st.integers() | st.lists(st.integers()) | st.none() | st.dictionaries(st.text(), st.text()))
def test_what_is_shown_of_a_request_is_short_and_printable(value):
    text = shown(value)

    assert len(text) <= 63
    assert text.isprintable()
    assert not set(text) & set(string.whitespace) - {" "}
