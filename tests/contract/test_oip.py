"""The Open Inference Protocol, judged by Triton's own client and by curl."""

import contextlib
import json
import shutil
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tinsmith.runtime.server.handler import ServerHandler
from tinsmith.runtime.server.models import Models
from tinsmith.runtime.server.servables import Servables, Source
from tinsmith.runtime.server.serving import Limits
from tinsmith.runtime.session import dequantize

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tritonclient import http as triton
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype

MODELS = {
    "cnn_tflite": ("FP32", (8, 8, 1)),
    "cnn_onnx": ("FP32", (8, 8, 1)),
    "cnn_int8_tflite": ("INT8", (8, 8, 1)),
    "dense_tflite": ("FP32", (4,)),
    "dense_onnx": ("FP32", (4,)),
}


@pytest.fixture(params=["fake", "models"])
def repository(request, open_repository, golden, tmp_path):
    """The golden models behind the fake repository of these tests, and behind the real one."""
    if request.param == "fake":
        yield open_repository()
        return
    paths = {model: shutil.copy(golden / model.replace("_tflite", ".tflite").replace("_onnx", ".onnx"), tmp_path)
             for model in MODELS}  # fmt: skip
    sources = [Source(name=name, path=Path(path)) for name, path in paths.items()]
    with contextlib.closing(
        # the trial in a child process has tests of its own, and takes seconds
        Models(sources, Servables(tmp_path / "store", unpack=None), vet=lambda servable, limits: None)
    ) as models:
        models.load_all()
        models.paths = paths
        yield models


@pytest.fixture
def damage(repository):
    """Makes the next load of a model fail: (name)."""

    def damaged(name):
        if isinstance(repository, Models):
            Path(repository.paths[name]).write_bytes(b"this is no model")
        else:
            repository.damaged.add(name)

    return damaged


@pytest.fixture
def client(server):
    opened = triton.InferenceServerClient(server.address)
    yield opened
    opened.close()


@pytest.fixture
def session(open_repository):
    """Bare sessions, without any server, by model."""
    fake = open_repository()

    def opened(model):
        with fake.lease(model) as served:
            return served.session

    return opened


@pytest.fixture
def bare(session):
    """What a bare session gives, in the stored types: (model, array) -> arrays by name."""
    return lambda model, array: session(model).run_raw({session(model).inputs[0].name: array})


def sample(model, batch=1, seed=0):
    datatype, shape = MODELS[model]
    rng = np.random.default_rng(seed)
    if datatype == "INT8":
        return rng.integers(-128, 128, (batch, *shape), np.int8)
    return rng.random((batch, *shape), np.float32)


def given(name, array, *, binary=True):
    asked = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return asked.set_data_from_numpy(array, binary_data=binary)


def tensor(client, model, array, *, binary):
    return given(client.get_model_metadata(model)["inputs"][0]["name"], array, binary=binary)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("binary_in", [True, False], ids=["binary-in", "json-in"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary-out", "json-out"])
def test_triton_client_gets_what_a_bare_session_gives(client, bare, model, binary_in, binary_out):
    array = sample(model)
    name, expected = next(iter(bare(model, array).items()))

    result = client.infer(
        model,
        [tensor(client, model, array, binary=binary_in)],
        outputs=[triton.InferRequestedOutput(name, binary_data=binary_out)],
        request_id="seven",
    )

    np.testing.assert_array_equal(result.as_numpy(name), expected)
    assert result.as_numpy(name).dtype == expected.dtype
    assert result.get_response()["id"] == "seven"
    assert result.get_response()["model_name"] == model


def test_all_outputs_come_where_none_is_named(client, bare):
    array = sample("cnn_onnx")

    result = client.infer("cnn_onnx", [tensor(client, "cnn_onnx", array, binary=True)], model_version="1")

    for name, expected in bare("cnn_onnx", array).items():
        np.testing.assert_array_equal(result.as_numpy(name), expected)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_triton_client_compresses_both_ways(client, bare, coding, binary):
    array = sample("dense_onnx", batch=300)  # an answer that is long enough to be compressed
    ((name, expected),) = bare("dense_onnx", array).items()

    result = client.infer(
        "dense_onnx",
        [tensor(client, "dense_onnx", array, binary=binary)],
        outputs=[triton.InferRequestedOutput(name, binary_data=binary)],
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )

    np.testing.assert_array_equal(result.as_numpy(name), expected)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_answer_is_compressed_when_asked_for(fetch, coding):
    document = {"inputs": [{"name": "x", "shape": [300, 4], "datatype": "FP32", "data": [1] * 1200}]}

    _, headers, body = fetch(
        "POST", "/v2/models/dense_onnx/infer", json.dumps(document).encode(), {"Accept-Encoding": coding}
    )

    assert headers["Content-Encoding"] == coding
    assert len(body) == int(headers["Content-Length"]) < 900


def test_server_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "tinsmith"
    assert {"binary_tensor_data", "model_configuration", "model_repository", "statistics"} <= {*metadata["extensions"]}


def test_model_metadata_shows_stored_types_and_free_axes(client):
    assert client.get_model_metadata("cnn_int8_tflite", "1") == {
        "name": "cnn_int8_tflite",
        "versions": ["1"],
        "platform": "tensorflow_tflite",
        "inputs": [{"name": "image", "datatype": "INT8", "shape": [-1, 8, 8, 1]}],
        "outputs": [{"name": "output_0", "datatype": "INT8", "shape": [-1, 3]}],
    }
    assert client.get_model_metadata("cnn_onnx")["platform"] == "onnx_onnxv1"


def test_a_quantized_input_takes_real_numbers_too(client, session):
    real = np.random.default_rng(3).random((2, 8, 8, 1), np.float32)

    result = client.infer("cnn_int8_tflite", [given("image", real)])

    expected = session("cnn_int8_tflite").run({"image": real})["output_0"]
    (answer,) = session("cnn_int8_tflite").outputs
    stored = result.as_numpy("output_0")
    assert stored.dtype == np.int8
    np.testing.assert_array_equal(dequantize(stored, answer.quantization), expected)


def test_configuration_leaves_the_batch_out_of_the_dimensions(client):
    configuration = client.get_model_config("cnn_onnx")

    assert configuration["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [8, 8, 1]}]
    assert configuration["max_batch_size"] == 1
    assert configuration["backend"] == "onnxruntime"
    assert len(configuration["parameters"]["sha256"]["string_value"]) == 64


def test_statistics_count_requests_samples_and_failures(client):
    for batch in (1, 5):
        client.infer("cnn_onnx", [tensor(client, "cnn_onnx", sample("cnn_onnx", batch), binary=True)])
    with pytest.raises(InferenceServerException):
        client.infer(
            "cnn_onnx", [triton.InferInput("image", [1, 8], "FP32").set_data_from_numpy(np.zeros((1, 8), "f4"))]
        )

    (told,) = client.get_inference_statistics("cnn_onnx", "1")["model_stats"]

    assert (told["name"], told["version"]) == ("cnn_onnx", "1")
    assert (told["inference_count"], told["execution_count"]) == (6, 2)
    times = told["inference_stats"]
    assert times["success"]["count"] == times["queue"]["count"] == times["compute_infer"]["count"] == 2
    assert times["fail"]["count"] == 1
    parts = sum(times[part]["ns"] for part in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert 0 < times["compute_infer"]["ns"] < parts <= times["success"]["ns"]
    (batch,) = told["batch_stats"]
    assert (batch["batch_size"], batch["compute_infer"]["count"]) == (1, 2)
    assert batch["compute_infer"]["ns"] == times["compute_infer"]["ns"]
    assert told["last_inference"] > 1_600_000_000_000
    assert {entry["name"] for entry in client.get_inference_statistics()["model_stats"]} == {*MODELS}


def test_batches_are_told_apart_however_they_came_about(golden, tmp_path, ask):
    limits = Limits(max_batch=4, max_delay_ms=5)
    source = Source(name="dense_onnx", path=golden / "dense.onnx", limits=limits)
    body = sample("dense_onnx").tobytes()
    with contextlib.closing(
        Models([source], Servables(tmp_path / "store", unpack=None), vet=lambda servable, limits: None)
    ) as models:
        models.load_all()
        handler = ServerHandler(models, limits=limits)
        raw = {"Inference-Header-Content-Length": "0"}
        with ThreadPoolExecutor(6) as pool:
            statuses = {
                *pool.map(lambda _: ask(handler, "POST", "/v2/models/dense_onnx/infer", body, raw).status, range(60))
            }
        (told,) = json.loads(ask(handler, "GET", "/v2/models/dense_onnx/stats").body)["model_stats"]

    assert statuses == {200}
    assert told["inference_count"] == 60
    runs = {batch["batch_size"]: batch["compute_infer"]["count"] for batch in told["batch_stats"]}
    assert sum(size * count for size, count in runs.items()) == 60
    assert sum(runs.values()) == told["execution_count"]
    assert all(batch["compute_infer"]["ns"] > 0 for batch in told["batch_stats"])


def test_models_are_unloaded_and_loaded_again(client, damage):
    assert {entry["name"]: entry["state"] for entry in client.get_model_repository_index()} == dict.fromkeys(
        MODELS, "READY"
    )

    client.unload_model("cnn_onnx")

    assert not client.is_model_ready("cnn_onnx")
    with pytest.raises(InferenceServerException) as caught:
        client.infer(
            "cnn_onnx", [triton.InferInput("image", [1, 8, 8, 1], "FP32").set_data_from_numpy(sample("cnn_onnx"))]
        )
    assert caught.value.status() == "503"
    (state,) = [entry for entry in client.get_model_repository_index() if entry["name"] == "cnn_onnx"]
    assert (state["state"], state["reason"]) == ("UNAVAILABLE", "unloaded")

    client.load_model("cnn_onnx")

    assert client.is_model_ready("cnn_onnx", "1")

    damage("dense_onnx")
    with pytest.raises(InferenceServerException, match=r"dense.onnx") as caught:
        client.load_model("dense_onnx")
    assert caught.value.status() == "400"
    assert client.is_model_ready("dense_onnx")
    with pytest.raises(InferenceServerException, match="load takes no parameters"):
        client.load_model("dense_onnx", config="{}")


@pytest.mark.parametrize("batch", [1, 3])
def test_curl_sends_a_raw_body(server, bare, tmp_path, batch):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    array = sample("cnn_tflite", batch)
    (tmp_path / "image.raw").write_bytes(array.tobytes())

    said = subprocess.run(
        [curl, "-sS", "--data-binary", "@image.raw", "-H", "Inference-Header-Content-Length: 0",
         f"http://{server.address}/v2/models/cnn_tflite/infer"],
        cwd=tmp_path, capture_output=True, check=True,
    ).stdout  # fmt: skip

    (output,) = json.loads(said)["outputs"]
    assert output["shape"] == [batch, 3]
    np.testing.assert_array_equal(
        np.array(output["data"], np.float32).reshape(batch, 3), bare("cnn_tflite", array)["score"]
    )


def test_curl_is_told_what_was_wrong(server):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")

    said = subprocess.run(
        [curl, "-sS", "-w", " %{http_code}", "-d", '{"inputs":[{"name":"imag"}]}',
         f"http://{server.address}/v2/models/cnn_tflite/infer"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip

    assert said == """{"error": "there is no input 'imag'; the model takes 'image'"} 400"""
