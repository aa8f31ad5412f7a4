"""What the handler lets through, what it refuses, and how it says so; no network in between."""

import gzip
import json
import logging
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from tinsmith.runtime.errors import ModelError
from tinsmith.runtime.server.documents import PlainDocuments
from tinsmith.runtime.server.handler import Pages
from tinsmith.runtime.server.messages import Head, Refusal, Request, Response
from tinsmith.runtime.server.serving import Limits
from tinsmith.runtime.server.tokens import Tokens

INFER = "/v2/models/dense_onnx/infer"
GOOD = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
BODY = json.dumps(GOOD).encode()
TOKEN = "right-and-long-enough"


def error(response):
    document = json.loads(response.body)
    assert [*document] == ["error"]
    assert response.content_type == "application/json"
    return document["error"]


def test_a_good_request_is_answered(handler, ask):
    response = ask(handler, "POST", INFER, BODY)

    assert response.status == 200
    assert [output["shape"] for output in json.loads(response.body)["outputs"]] == [[1, 3]]


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v3", 404, None),
        ("GET", "/v2/", 404, None),
        ("GET", "/v2/models", 404, None),
        ("GET", "/v2/models//ready", 404, None),
        ("GET", "/v2/models/dense_onnx/versions/", 404, None),
        ("GET", "/", 404, None),
        ("GET", "/metrics", 404, None),
        ("GET", INFER, 405, "POST"),
        ("POST", "/v2", 405, "GET, HEAD"),
        ("DELETE", "/v2/models/dense_onnx", 405, "GET, HEAD"),
        ("GET", "/v2/repository/index", 405, "POST"),
        ("GET", "/v2/models/other", 404, None),
        ("GET", "/v2/models/dense_onnx/versions/2", 404, None),
        ("POST", "/v2/models/other/infer", 404, None),
        ("POST", "/v2/repository/models/other/load", 404, None),
    ],
)
def test_wrong_paths_and_methods_are_refused(handler, ask, method, path, status, allow):
    response = ask(handler, method, path, b"")

    assert response.status == status
    assert dict(response.headers).get("Allow") == allow
    assert error(response)


def test_head_asks_for_what_get_does(handler, ask):
    assert ask(handler, "HEAD", "/v2/models/dense_onnx") == ask(handler, "GET", "/v2/models/dense_onnx")


def test_a_model_that_is_not_ready_is_refused_before_its_body_is_read(handler, repository):
    repository.unload("dense_onnx")

    response = handler.refuse(Head(method="POST", path=INFER, body_bytes=1 << 20))

    assert response.status == 503
    assert ("Retry-After", "2") in response.headers


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(open_handler, repository):
    handler = open_handler(limits=Limits(max_body_bytes=1000))

    assert handler.refuse(Head(method="POST", path=INFER, body_bytes=1000)) is None
    assert handler.refuse(Head(method="POST", path=INFER, body_bytes=1001)).status == 413
    assert handler.refuse(Head(method="POST", path="/v2/repository/index", body_bytes=1 << 20)).status == 413
    with repository.lease("dense_onnx") as model:
        assert model.statistics.snapshot().failures == {"too-large": 1}


def test_a_body_of_unknown_length_is_held_to_the_limit_afterwards(open_handler):
    handler = open_handler(limits=Limits(max_body_bytes=1000))
    head = Head(method="POST", path=INFER, body_bytes=None)

    assert handler.refuse(head) is None
    assert handler.answer(Request(head=head, body=bytes(1001), deadline_s=time.monotonic() + 5)).status == 413


@pytest.fixture
def guarded(open_handler, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    return open_handler(token=Tokens(tokens).admit)


@pytest.mark.parametrize("sent", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer", TOKEN])
def test_without_the_token_nothing_is_told_but_health(guarded, ask, sent):
    handler = guarded
    headers = {} if sent is None else {"Authorization": sent}

    for method, path in (("GET", "/v2"), ("POST", INFER), ("GET", "/nothing"), ("DELETE", "/v2")):
        response = ask(handler, method, path, BODY, headers)
        assert response.status == 401
        assert ("WWW-Authenticate", "Bearer") in response.headers
        assert TOKEN not in error(response)
    assert ask(handler, "GET", "/v2/health/live", b"", headers).status == 200
    assert ask(handler, "GET", "/v2/health/ready", b"", headers).status == 200


@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN}"])
def test_with_the_token_all_is_served(guarded, ask, sent):
    assert ask(guarded, "POST", INFER, BODY, {"Authorization": sent}).status == 200


def test_a_transport_that_forgets_to_ask_first_gets_no_further(open_handler):
    handler = open_handler(token=lambda token: False)
    request = Request(head=Head(method="POST", path=INFER), body=BODY, deadline_s=time.monotonic() + 5)

    assert handler.answer(request).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example", "Host": "127.0.0.1:8000"}, 403),
        ({"Origin": "null", "Host": "127.0.0.1:8000"}, 403),
        ({"Origin": "http://[", "Host": "127.0.0.1:8000"}, 403),
        ({"Origin": "http://127.0.0.1:9000", "Host": "127.0.0.1:8000"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://127.0.0.1:8000", "Host": "127.0.0.1:8000"}, 200),
        ({"Origin": "https://board.example", "Host": "upstream:8000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "anything"}, 200),
    ],
)
def test_pages_of_other_sites_change_nothing_here(handler, repository, ask, headers, status):
    assert ask(handler, "POST", "/v2/repository/models/dense_onnx/unload", b"", headers).status == status
    assert ("dense_onnx" in {state.name for state in repository.index() if state.state == "READY"}) == (status == 403)


def test_the_repository_is_told_who_asked(handler, repository, ask):
    ask(handler, "POST", "/v2/repository/models/dense_onnx/unload")
    ask(handler, "POST", "/v2/repository/models/cnn_onnx/load")

    assert repository.asked == [("unload", "dense_onnx", "192.0.2.7"), ("load", "cnn_onnx", "192.0.2.7")]


def test_the_server_is_not_ready_before_all_its_models_are(handler, repository, ask):
    repository.unload("dense_onnx")
    repository.ready = False

    response = ask(handler, "GET", "/v2/health/ready")

    assert response.status == 503
    assert "dense_onnx" in error(response)
    assert dict(response.headers)["Retry-After"] == "1"
    assert ask(handler, "GET", "/v2/health/live").status == 200


def test_the_index_can_leave_out_what_is_not_ready(handler, repository, ask):
    repository.unload("dense_onnx")

    told = json.loads(ask(handler, "POST", "/v2/repository/index", b'{"ready": true}').body)

    assert "dense_onnx" not in {entry["name"] for entry in told}
    assert len(told) == 4
    assert ask(handler, "POST", "/v2/repository/index", b'{"ready": 1}').status == 400
    assert ask(handler, "POST", "/v2/repository/index", b"[]").status == 400


def test_pages_are_served_where_there_are_some(open_handler, ask):
    page = Response(status=200, body=b"<html>", content_type="text/html")
    handler = open_handler(pages=Pages(status=lambda: page, metrics=lambda: "up 1\n"))

    assert ask(handler, "GET", "/") == page
    assert ask(handler, "GET", "/metrics").body == b"up 1\n"
    assert ask(handler, "GET", "/metrics").content_type.startswith("text/plain; version=0.0.4")


def test_predict_is_given_the_unfolded_body_and_counted(handler, repository, ask, monkeypatch):
    def predict(model, head, body, deadline_s):
        answered = model.infer({"x": np.frombuffer(body, np.float32)[None]}, deadline_s=deadline_s)
        return Response(status=200, body=answered.outputs["y"].tobytes(), content_type=head.headers["content-type"])

    module = SimpleNamespace(predict=predict)
    monkeypatch.setitem(sys.modules, "tinsmith.runtime.server.predict", module)
    row = np.arange(4, dtype=np.float32)

    response = ask(
        handler,
        "POST",
        "/v2/models/dense_onnx/versions/1/predict",
        gzip.compress(row.tobytes()),
        {"Content-Type": "image/x-own", "Content-Encoding": "gzip"},
    )

    with repository.lease("dense_onnx") as model:
        assert response.body == model.session.run_raw({"x": row[None]})["y"].tobytes()
        assert model.statistics.snapshot().success.count == 1
    assert response.content_type == "image/x-own"


def test_many_clients_at_once_get_each_its_own_answer(handler, repository, ask):
    rows = np.random.default_rng(1).standard_normal((200, 1, 4)).astype(np.float32)
    with repository.lease("dense_onnx") as model:
        expected = [model.session.run_raw({"x": row})["y"].ravel() for row in rows]

    def one(number):
        if number % 3 == 2:
            return ask(handler, "POST", INFER, BODY[: number % len(BODY)]).status
        data = rows[number].ravel().tolist()
        response = ask(handler, "POST", INFER, json.dumps({"inputs": [{**GOOD["inputs"][0], "data": data}]}).encode())
        return np.array(json.loads(response.body)["outputs"][0]["data"], np.float32)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(len(rows))))

    for number, answer in enumerate(answers):
        np.testing.assert_array_equal(answer, 400 if number % 3 == 2 else expected[number])


def failing(repository, error):
    with repository.lease("dense_onnx") as model:

        def infer(feeds, *, deadline_s):
            raise error

        model.infer = infer
        return model


def test_a_defect_is_one_line_in_the_log_and_nothing_to_the_client(handler, repository, ask, caplog):
    failing(repository, KeyError("the\nsecret"))

    with caplog.at_level(logging.INFO):
        response = ask(handler, "POST", INFER, BODY)

    assert response.status == 500
    assert "secret" not in error(response)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "POST '/v2/models/dense_onnx/infer': KeyError" in record.getMessage()
    assert "test_oip_handler.py:" in record.getMessage()


def test_a_full_queue_is_told_before_a_body_is_read_and_after(handler, repository, ask):
    with repository.lease("dense_onnx") as model:
        model.full = True
    early = handler.refuse(Head(method="POST", path=INFER, body_bytes=100))
    model.full = False
    failing(repository, Refusal(429, "queue-full", "the queue is full", retry_after_s=3))
    late = ask(handler, "POST", INFER, BODY)

    for response in (early, late):
        assert (response.status, dict(response.headers)["Retry-After"]) == (429, "3")
    assert model.statistics.snapshot().failures == {"queue-full": 2}


def test_an_engine_that_fails_on_fixed_lengths_and_real_numbers_is_the_servers_fault(handler, repository, ask):
    model = failing(repository, ModelError("onnxruntime failed while running the model: bad node"))

    response = ask(handler, "POST", INFER, BODY)

    assert response.status == 500
    assert "bad node" in error(response)
    assert model.statistics.snapshot().failures == {"engine": 1}


@pytest.mark.parametrize(("dtype", "shape"), [("int64", (None, 4)), ("float32", (None, None))])
def test_an_engine_that_fails_on_what_no_check_foresees_may_be_the_clients_fault(
    handler, repository, ask, dtype, shape
):
    from tinsmith.runtime.tensors import TensorSpec

    model = failing(repository, ModelError("index out of range"))
    model.inputs = (TensorSpec(name="x", dtype=dtype, shape=shape),)
    datatype = {"int64": "INT64", "float32": "FP32"}[dtype]

    assert ask(handler, "POST", INFER, BODY.replace(b"FP32", datatype.encode())).status == 400


@pytest.mark.parametrize(("timeout", "expected_s"), [(None, 5), (0, 5), (2_000_000, 2), (9_000_000, 5)])
def test_a_timeout_shortens_the_deadline_and_never_lengthens_it(handler, repository, ask, timeout, expected_s):
    seen = []
    with repository.lease("dense_onnx") as model:
        run = model.infer

        def infer(feeds, *, deadline_s):
            seen.append(deadline_s - time.monotonic())
            return run(feeds, deadline_s=deadline_s)

        model.infer = infer
    parameters = {} if timeout is None else {"timeout": timeout}

    assert ask(handler, "POST", INFER, json.dumps({**GOOD, "parameters": parameters}).encode()).status == 200
    assert expected_s - 1 < seen[0] <= expected_s


def test_a_request_that_comes_too_late_is_refused(handler, ask):
    assert ask(handler, "POST", INFER, BODY, timeout_s=-1).status == 504


def test_without_orjson_the_answers_are_the_same(handler, open_handler, ask):
    other = open_handler(documents=PlainDocuments())
    told = [json.loads(ask(each, "POST", INFER, BODY).body) for each in (handler, other)]
    data = [np.float32(document["outputs"][0].pop("data")) for document in told]

    assert told[0] == told[1]
    np.testing.assert_array_equal(*data)


def test_waiting_for_a_model_needs_no_numpy():
    code = (
        "import sys, time\n"
        "from tinsmith.runtime.server.handler import ServerHandler\n"
        "from tinsmith.runtime.server.messages import Head, Request\n"
        "from tinsmith.runtime.server.serving import Limits, ModelState\n"
        "class Waiting:\n"
        "    ready = False\n"
        "    def index(self): return [ModelState(name='m', version='', state='LOADING')]\n"
        "handler = ServerHandler(Waiting(), limits=Limits())\n"
        "for path in ('/v2', '/v2/health/ready', '/v2/health/live'):\n"
        "    handler.answer(Request(head=Head(method='GET', path=path), body=b'', deadline_s=time.monotonic() + 9))\n"
        "heavy = {'numpy', 'click', 'rich', 'pydantic'} & set(sys.modules)\n"
        "print(heavy or 'none')\n"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said == "none\n"


def test_a_head_that_comes_again_is_read_with_the_tensors_that_come_with_it(handler, ask):
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}

    def answer(values):
        response = ask(handler, "POST", INFER, head + np.float32(values).tobytes(), headers)
        return response.status, json.loads(response.body)

    first, second, again = answer([1, 2, 3, 4]), answer([4, 3, 2, 1]), answer([1, 2, 3, 4])

    assert (first[0], second[0]) == (200, 200)
    assert first == again != second
    assert answer([1, 2, 3, 4, 5])[0] == 400
    assert answer([1, 2, 3])[0] == 400
    assert answer([1, 2, 3, 4]) == first
