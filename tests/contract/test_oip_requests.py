"""Requests that are wrong in every way that could be thought of, and those that chance makes.

TINSMITH_REQUESTS=10000 makes that many instead of a few hundred.
"""

import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinsmith.runtime.server.documents import OrjsonDocuments, PlainDocuments
from tinsmith.runtime.server.serving import Limits
from tinsmith.runtime.tensors import TensorSpec

REQUESTS = int(os.environ.get("TINSMITH_REQUESTS", "200"))
DENSE = "/v2/models/dense_onnx/infer"
INT8 = "/v2/models/cnn_int8_tflite/infer"
X = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


def request(tensor=None, **fields):
    return {"inputs": [{**X, **(tensor or {})}], **fields}


def without(*names):
    return {name: value for name, value in X.items() if name not in names}


@pytest.fixture(params=[OrjsonDocuments, PlainDocuments], ids=["orjson", "json"])
def handler(request, open_handler):
    return open_handler(documents=request.param())


WRONG = {
    "no inputs": ({}, "'inputs' must be a list"),
    "inputs of none": ({"inputs": []}, "input 'x' is missing"),
    "inputs of another kind": ({"inputs": {"x": X}}, "'inputs' must be a list"),
    "an input of another kind": ({"inputs": [[1, 2, 3, 4]]}, "an input must be a JSON object"),
    "a list": ([X], "the request must be a JSON object"),
    "an unknown name": (request({"name": "y"}), "there is no input 'y'; the model takes 'x'"),
    "no name": ({"inputs": [without("name")]}, "there is no input None"),
    "a number as name": (request({"name": 1}), "there is no input 1"),
    "a list as name": (request({"name": ["x"]}), "there is no input list"),
    "the same twice": ({"inputs": [X, X]}, "input 'x' comes twice"),
    "one too many": ({"inputs": [X, {**X, "name": "z"}]}, "there is no input 'z'"),
    "another datatype": (request({"datatype": "FP64"}), "takes FP32, not 'FP64'"),
    "an unknown datatype": (request({"datatype": "fp32"}), "takes FP32, not 'fp32'"),
    "text": (request({"datatype": "BYTES", "data": ["a"] * 4}), "takes FP32, not 'BYTES'"),
    "no datatype": ({"inputs": [without("datatype")]}, "takes FP32, not None"),
    "no shape": ({"inputs": [without("shape")]}, "has shape None, but the model takes"),
    "a short shape": (request({"shape": [4]}), "has shape [4], but the model takes [?, 4]"),
    "a long shape": (request({"shape": [1] * 99}), "has shape [1, 1, 1, 1, 1, 1, 1, 1, ...]"),
    "a wrong length": (request({"shape": [1, 5]}), "has shape [1, 5], but the model takes [?, 4]"),
    "an empty batch": (request({"shape": [0, 4], "data": []}), "has shape [0, 4]"),
    "a negative batch": (request({"shape": [-1, 4]}), "has shape [-1, 4]"),
    "a real length": (request({"shape": [1.0, 4]}), "has shape [1.0, 4]"),
    "a boolean length": (request({"shape": [True, 4]}), "has shape [True, 4]"),
    "a batch beyond 32 bits": (request({"shape": [2**31, 4]}), "has shape [2147483648, 4]"),
    "a batch beyond 64 bits": (request({"shape": [2**64, 4]}), "input 'x' has shape ["),
    "a product beyond 32 bits": (request({"shape": [2**31 - 1, 4]}), "8,589,934,588 are needed where its data has 4"),
    "no data": ({"inputs": [without("data")]}, "the data must be a list, not None"),
    "data of another kind": (request({"data": "1234"}), "the data must be a list"),
    "too few": (request({"data": [1, 2, 3]}), "4 are needed where its data has 3"),
    "too many": (request({"data": [1, 2, 3, 4, 5]}), "4 are needed where its data has 5"),
    "nested wrongly": (request({"data": [[1, 2], [3, 4]]}), "1 are needed where its data has 2"),
    "nested too short": (request({"data": [[1, 2, 3]]}), "not nested as [1, 4] is"),
    "nested too deep": (request({"data": [[[1], [2], [3], [4]]]}), "FP32 takes numbers, not list"),
    "nested unevenly": (request({"shape": [2, 4], "data": [[1, 2, 3, 4], 5]}), "not nested as [2, 4] is"),
    "a number and a list": (request({"data": [1, [2], 3, 4]}), "FP32 takes numbers, not list"),
    "text as number": (request({"data": ["1", "2", "3", "4"]}), "FP32 takes numbers, not '1'"),
    "null as number": (request({"data": [1, None, 3, 4]}), "FP32 takes numbers, not None"),
    "a boolean as number": (request({"data": [1, True, 3, 4]}), "FP32 takes numbers"),
    "a number beyond float32": (request({"data": [1, 1e39, 3, 4]}), "beyond what FP32 holds"),
    "a number beyond float32, whole": (request({"data": [1, 10**39, 3, 4]}), "beyond what FP32 holds"),
    "an unknown output": (request(outputs=[{"name": "z"}]), "there is no output 'z'; the model gives 'y'"),
    "an output twice": (request(outputs=[{"name": "y"}, {"name": "y"}]), "asked for twice"),
    "outputs of another kind": (request(outputs={"name": "y"}), "'outputs' must be a list"),
    "binary_data as number": (request(outputs=[{"name": "y", "parameters": {"binary_data": 1}}]), "true or false"),
    "binary_data_output as text": (request(parameters={"binary_data_output": "yes"}), "true or false"),
    "an id of another kind": (request(id=7), "the id must be a string"),
    "parameters of another kind": (request(parameters=[1]), "must be a JSON object"),
    "a sequence": (request(parameters={"sequence_id": 3}), "sequences are not served"),
    "a priority": (request(parameters={"priority": 1}), "have no priorities"),
    "shared memory": (request({"parameters": {"shared_memory_region": "r"}}), "do not come in shared memory"),
    "classes": (request(outputs=[{"name": "y", "parameters": {"classification": 2}}]), "answers with classes"),
    "a timeout of another kind": (request(parameters={"timeout": 1.5}), "timeout must be a number of microseconds"),
    "a negative timeout": (request(parameters={"timeout": -1}), "timeout must be a number of microseconds"),
    "a boolean timeout": (request(parameters={"timeout": True}), "timeout must be a number of microseconds"),
    "binary data that is not there": (request({"parameters": {"binary_data_size": 16}}), "the body has"),
    "a deep document": (request(extra=json.loads("[" * 50 + "]" * 50)), "nested deeper than 40"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_are_told_why_and_the_next_one_is_served(handler, ask, name):
    document, reason = WRONG[name]

    response = ask(handler, "POST", DENSE, json.dumps(document).encode())

    assert response.status == 400
    assert reason in json.loads(response.body)["error"]
    assert ask(handler, "POST", DENSE, json.dumps(request()).encode()).status == 200


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "nan", ""])
def test_what_is_no_number_is_no_json(handler, ask, text):
    body = json.dumps(request()).encode().replace(b"[1, 2, 3, 4]", b"[1, 2, 3, " + text.encode() + b"]")

    assert ask(handler, "POST", DENSE, body).status == 400


@pytest.mark.parametrize(
    "tensor",
    [
        {},
        {"data": [[1, 2, 3, 4]]},
        {"data": [1.0, 2, 3e0, 4]},
        {"parameters": None},
        {"parameters": {"own": [1, {"deep": True}]}},
        {"extra": True},
    ],
)
def test_what_the_protocol_leaves_open_is_taken(handler, ask, tensor):
    plain = ask(handler, "POST", DENSE, json.dumps(request()).encode())

    other = ask(handler, "POST", DENSE, json.dumps(request(tensor, id=None, outputs=None, parameters=None)).encode())

    assert other == plain


def binary(array, *, size=None, header=None, datatype="FP32", shape=None, before=b"", name="x", **fields):
    data = array.tobytes()
    tensor = {
        "name": name,
        "shape": [*array.shape] if shape is None else shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": len(data) if size is None else size},
    }
    text = json.dumps({"inputs": [tensor], **fields}).encode() + before
    length = str(len(text)) if header is None else header(len(text))
    return text + data, {"Inference-Header-Content-Length": length}


ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.mark.parametrize("spaces", range(8))
def test_binary_data_may_lie_anywhere(handler, repository, ask, spaces):
    body, headers = binary(ROWS, before=b" " * spaces, parameters={"binary_data_output": True})

    response = ask(handler, "POST", DENSE, body, headers)

    length = int(dict(response.headers)["Inference-Header-Content-Length"])
    (told,) = json.loads(response.body[:length])["outputs"]
    with repository.lease("dense_onnx") as model:
        expected = model.session.run_raw({"x": ROWS})["y"]
    assert told == {
        "name": "y", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}
    }  # fmt: skip
    assert response.body[length:] == expected.tobytes()
    assert response.content_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 31}, "takes a binary_data_size of 32, not 31"),
        ({"size": -32}, "takes a binary_data_size of 32, not -32"),
        ({"size": 32.0}, "takes a binary_data_size of 32, not 32.0"),
        ({"size": True}, "takes a binary_data_size of 32, not True"),
        ({"shape": [3, 4]}, "takes a binary_data_size of 48, not 32"),
        ({"shape": [3, 4], "size": 48}, "its JSON and its inputs account for"),
        ({"shape": [2**31 - 1, 4]}, "takes a binary_data_size of 34,359,738,352"),
        ({"header": lambda length: str(length + 1)}, "this is no JSON"),
        ({"header": lambda length: str(length - 1)}, "this is no JSON"),
        ({"header": lambda length: "-1"}, "must be a number of bytes, not '-1'"),
        ({"header": lambda length: "1_0"}, "must be a number of bytes"),
        ({"header": lambda length: "9" * 30}, "must be a number of bytes"),
        ({"header": lambda length: "\u0664"}, "must be a number of bytes"),
        ({"header": lambda length: "99999"}, "Inference-Header-Content-Length is 99,999, but the body has"),
        ({"header": lambda length: "0"}, "takes a multiple of 16 bytes of FP32 [?, 4], and the body has"),
    ],
)
def test_byte_counts_must_be_exact(handler, ask, change, reason):
    response = ask(handler, "POST", DENSE, *binary(ROWS, **change))

    assert response.status == 400
    assert reason in json.loads(response.body)["error"]


@pytest.mark.parametrize("body", [ROWS.tobytes(), b"\x00" * 32, b""])
def test_a_raw_body_without_its_header_is_told_of_it(handler, ask, body):
    response = ask(handler, "POST", DENSE, body, {})

    assert response.status == 400
    assert "Inference-Header-Content-Length: 0" in json.loads(response.body)["error"]


@pytest.mark.parametrize("shape", [[0, 4], [2**31, 4]])
def test_how_many_samples_a_free_axis_takes_is_said(handler, ask, shape):
    body = json.dumps({"inputs": [{**X, "shape": shape, "data": []}]}).encode()
    response = ask(handler, "POST", DENSE, body, {})

    assert response.status == 400
    assert "from 1 to 2,147,483,647" in json.loads(response.body)["error"]


@pytest.mark.parametrize("extra", [1, -1, 16])
def test_a_body_that_is_longer_or_shorter_than_it_says_is_refused(handler, ask, extra):
    body, headers = binary(ROWS)
    body = body[:extra] if extra < 0 else body + bytes(extra)

    response = ask(handler, "POST", DENSE, body, headers)

    assert response.status == 400
    assert "account for" in json.loads(response.body)["error"]


@pytest.mark.parametrize("size", [0, 1, 15, 17, 24])
def test_a_raw_body_must_fill_whole_rows(handler, ask, size):
    assert ask(handler, "POST", DENSE, bytes(size), {"Inference-Header-Content-Length": "0"}).status == 400


def test_finite_numbers_are_a_choice_for_binary_data(open_handler, ask):
    body, headers = binary(np.array([[1, np.nan, np.inf, 4]], np.float32), parameters={"binary_data_output": True})

    assert ask(open_handler(), "POST", DENSE, body, headers).status == 200
    refused = ask(open_handler(limits=Limits(finite=True)), "POST", DENSE, body, headers)
    assert refused.status == 400
    assert "holds NaN or infinity" in json.loads(refused.body)["error"]


def test_an_output_that_json_can_not_say_is_refused_with_the_way_out(handler, ask):
    body, headers = binary(np.full((1, 4), np.inf, np.float32))

    response = ask(handler, "POST", DENSE, body, headers)

    assert response.status == 400
    assert "ask for it as binary data" in json.loads(response.body)["error"]


@pytest.mark.parametrize("number", [128, -129, 1.5, 2**70, 1.0])
def test_whole_numbers_must_fit_the_stored_type(handler, ask, number):
    tensor = {"name": "image", "shape": [1, 8, 8, 1], "datatype": "INT8", "data": [0] * 63 + [number]}

    response = ask(handler, "POST", INT8, json.dumps({"inputs": [tensor]}).encode())

    assert response.status == 400
    assert "INT8" in json.loads(response.body)["error"]


def test_a_quantized_input_takes_no_nan_even_where_others_do(handler, ask):
    body, headers = binary(np.full((1, 8, 8, 1), np.nan, np.float32), name="image")

    assert ask(handler, "POST", INT8, body, headers).status == 400


@pytest.fixture
def echo(repository):
    """Makes dense_onnx give back what it is fed, of a dtype and shape of the test's choice."""

    def taken(dtype, shape=(None, 4)):
        with repository.lease("dense_onnx") as model:
            model.inputs, model.outputs = ((TensorSpec(name=name, dtype=dtype, shape=shape),) for name in ("x", "y"))
            model.run = lambda feeds: {"y": feeds["x"]}

    return taken


TYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip


def extremes(dtype):
    if dtype == "bool":
        return np.array([True, False, False, True])
    limits = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    return np.array([limits.min, limits.max, 0, 1], dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "binary"])
def test_every_type_goes_in_and_out_exactly(handler, echo, ask, dtype, as_json):
    array = extremes(dtype).reshape(1, 4)
    echo(dtype)
    tensor = {"datatype": TYPES[dtype], "data": array.ravel().tolist()}
    if dtype == "float16" or not as_json:
        body, headers = binary(array, datatype=TYPES[dtype], parameters={"binary_data_output": not as_json})
    else:
        body, headers = json.dumps(request(tensor)).encode(), {}

    response = ask(handler, "POST", DENSE, body, headers)

    if dtype == "float16" and as_json:
        assert response.status == 400
        assert "FP16 has no form in JSON" in json.loads(response.body)["error"]
        return
    length = int(dict(response.headers).get("Inference-Header-Content-Length", len(response.body)))
    (told,) = json.loads(response.body[:length])["outputs"]
    assert told["datatype"] == TYPES[dtype]
    if as_json:
        np.testing.assert_array_equal(np.array(told["data"], dtype).reshape(1, 4), array)
        if dtype != "float32":
            assert told["data"] == array.ravel().tolist()
    else:
        assert response.body[length:] == array.tobytes()


@pytest.mark.parametrize("data", [[0, 1, 1, 0], [True, False, 1, True], [True, None, True, True]])
def test_a_bool_is_true_or_false(handler, echo, ask, data):
    echo("bool")

    assert ask(handler, "POST", DENSE, json.dumps(request({"datatype": "BOOL", "data": data})).encode()).status == 400


def test_a_bool_is_a_byte_of_0_or_1(handler, echo, ask):
    echo("bool")

    answer = ask(handler, "POST", DENSE, *binary(np.array([[0, 1, 2, 1]], np.uint8), datatype="BOOL"))

    assert answer.status == 400
    assert "a byte of 0 or 1" in json.loads(answer.body)["error"]


def test_fp16_has_no_form_in_json(handler, echo, ask):
    echo("float16")

    answer = ask(handler, "POST", DENSE, json.dumps(request({"datatype": "FP16"})).encode())

    assert answer.status == 400
    assert "FP16 has no form in JSON" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("shape", [(None, None), (None, 2, None)])
def test_a_raw_body_can_not_tell_two_free_axes(handler, echo, ask, shape):
    echo("float32", shape)

    answer = ask(handler, "POST", DENSE, bytes(16), {"Inference-Header-Content-Length": "0"})

    assert answer.status == 400
    assert "2 free axes" in json.loads(answer.body)["error"]


def test_inputs_of_one_batch_must_be_of_one_length(handler, repository, ask):
    with repository.lease("dense_onnx") as model:
        other = TensorSpec(name="z", dtype="float32", shape=(None, 4))
        model.inputs = (*model.inputs, other)
        model.run = lambda feeds: {"y": feeds["x"] + feeds["z"]}
    for rows, status in ((1, 200), (2, 400)):
        second = {**X, "name": "z", "shape": [rows, 4], "data": [1] * 4 * rows}

        assert ask(handler, "POST", DENSE, json.dumps({"inputs": [X, second]}).encode()).status == status


def test_large_nested_and_flat_data_are_the_same(handler, echo, ask):
    array = np.random.default_rng(0).random((2, 60, 50, 3), np.float32)
    echo("float32", (None, 60, 50, 3))

    for data in (array.tolist(), array.ravel().tolist()):
        answer = ask(handler, "POST", DENSE, json.dumps(request({"shape": [*array.shape], "data": data})).encode())
        told = json.loads(answer.body)["outputs"][0]["data"]
        np.testing.assert_array_equal(np.array(told, np.float32).reshape(array.shape), array)


# What chance makes: a whole request, then something done to it.

SMALL = st.sampled_from([0, 1, 2, 3, 4, 8, -1, 2**31, 2**63, 1.5, True, None, "x", [], {}])
JUNK = st.recursive(
    SMALL | st.text(max_size=3) | st.floats(allow_nan=False), lambda inner: st.lists(inner, max_size=4), max_leaves=5
)


@st.composite
def documents(draw):
    """A request for dense_onnx of which up to three fields are something else."""
    rows = draw(st.integers(1, 4))
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [n / 7 for n in range(4 * rows)]}
    document = {"inputs": [tensor], "id": draw(st.text(max_size=5)), "outputs": [{"name": "y"}]}
    for place in draw(st.lists(st.sampled_from(["tensor", "document", "output", "data", "shape"]), max_size=3)):
        value = draw(JUNK)
        if place == "tensor":
            tensor[draw(st.sampled_from(["name", "shape", "datatype", "data", "parameters", "other"]))] = value
        elif place == "document":
            document[draw(st.sampled_from(["inputs", "outputs", "id", "parameters", "other"]))] = value
        elif place == "output":
            document["outputs"] = [{"name": draw(st.sampled_from(["y", "z"])), "parameters": value}]
        elif isinstance(tensor[place], list) and tensor[place]:
            tensor[place][draw(st.integers(0, len(tensor[place]) - 1))] = value
    return document


@st.composite
def requests(draw):
    """A body and headers: JSON or binary, whole or with bytes changed, cut off, or put in."""
    document = draw(documents())
    headers = {}
    body = json.dumps(document).encode()
    if draw(st.integers(0, 2)) == 0:
        size = draw(st.sampled_from([16, 32, 48]))
        held = size + draw(st.sampled_from([0, 0, 0, 0, 0, -1, 16]))
        data = draw(st.binary(min_size=held, max_size=held))
        body = json.dumps(request({"parameters": {"binary_data_size": size}, "shape": [size // 16, 4]})).encode()
        length = len(body) + draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1]))
        headers["Inference-Header-Content-Length"] = draw(st.sampled_from([str(length)] * 6 + ["0", "x"]))
        body += data
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=4)) + body[at + draw(st.integers(0, 4)) :]
    if draw(st.integers(0, 9)) == 0:
        headers["Content-Encoding"] = draw(st.sampled_from(["gzip", "deflate", "br"]))
    return body, headers


chance = settings(
    max_examples=REQUESTS,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)


@pytest.fixture(scope="module")
def rows():
    """A thousand inputs for dense_onnx, and which of them is next."""
    return np.random.default_rng(7).standard_normal((1000, 4)).astype(np.float32)


def valid(row, *, as_json):
    if as_json:
        return json.dumps(request({"data": row.tolist()})).encode(), {}
    return binary(row[None], parameters={"binary_data_output": True})


def answer_of(response):
    length = dict(response.headers).get("Inference-Header-Content-Length")
    if length is None:
        return np.array(json.loads(response.body)["outputs"][0]["data"], np.float32)
    return np.frombuffer(response.body[int(length) :], np.float32)


@pytest.mark.parametrize("library", [OrjsonDocuments, PlainDocuments], ids=["orjson", "json"])
def test_chance_finds_no_defect_and_no_leak(open_handler, repository, ask, rows, library):
    """Between what chance makes, requests that are right must be answered as a bare session answers them."""
    handler = open_handler(documents=library())
    turn = iter(range(10**9))
    with repository.lease("dense_onnx") as model:
        expected = [model.session.run_raw({"x": row[None]})["y"].ravel() for row in rows]

    @chance
    @given(made=requests(), as_json=st.booleans())
    def every(made, as_json):
        response = ask(handler, "POST", DENSE, *made)
        assert response.status == 200 or 400 <= response.status < 500, (made, response)
        if response.status != 200:
            reason = json.loads(response.body)["error"]
            assert 0 < len(reason) < 500

        number = next(turn) % len(rows)
        served = ask(handler, "POST", DENSE, *valid(rows[number], as_json=as_json))
        np.testing.assert_array_equal(answer_of(served), expected[number])

    every()


@chance
@given(made=requests())
def test_both_json_libraries_answer_alike(made):
    fast, plain = (BARE[library].read_alike(*made) for library in (OrjsonDocuments, PlainDocuments))

    assert fast == plain


class Bare:
    """A reader without any server."""

    def __init__(self, library):
        from tinsmith.runtime.server.oip.request import InferenceReader

        spec = TensorSpec(name="x", dtype="float32", shape=(None, 4))
        answer = TensorSpec(name="y", dtype="float32", shape=(None, 3))
        self._reader = InferenceReader([spec], [answer], batches=True, finite=False, documents=library())

    def read_alike(self, body, headers):
        from tinsmith.runtime.server.messages import Refusal
        from tinsmith.runtime.server.oip.request import header_length

        try:
            lower = {name.lower(): value for name, value in headers.items()}
            asked = self._reader.read(body, header_length(lower))
        except Refusal as refusal:
            return refusal.status, refusal.reason
        return asked.feeds["x"].tobytes(), asked.id, asked.timeout_us, len(asked.outputs)


BARE = {library: Bare(library) for library in (OrjsonDocuments, PlainDocuments)}
