"""The server as a process: started by the command line, asked over HTTP, reloaded and ended by signals."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
PATIENCE_S = 120


class Running:
    """A server process, and requests to it."""

    def __init__(self, *arguments, home):
        environment = {**os.environ, "TMPDIR": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tinsmith", "serve", "--port", "0", *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.said = []
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("serving on "):
                self.port = int(line.rsplit(":", 1)[1])
                return
        self.process.communicate()

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def end(self):
        self.process.terminate()
        _, rest = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, rest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("served")
    shutil.copy(GOLDEN / "dense.tflite", path / "dense.tflite")
    shutil.copy(GOLDEN / "cnn.onnx", path / "cnn.onnx")
    return path


@pytest.fixture(scope="module")
def server(folder):
    running = Running(
        folder / "dense.tflite",
        f"pictures={folder / 'cnn.onnx'}",
        "--no-watch",
        "--audit",
        folder / "audit.jsonl",
        home=folder,
    )
    yield running
    running.process.kill()
    running.process.communicate()


def states(server):
    _, index = server.ask("POST", "/v2/repository/index")
    return {line["name"]: (line["state"], line["reason"]) for line in index}


def test_both_models_serve_under_their_names(server):
    assert states(server) == {"dense": ("READY", ""), "pictures": ("READY", "")}


def test_an_answer_is_the_models(server):
    from tinsmith.runtime.session import open_vetted

    with open_vetted(GOLDEN / "dense.tflite", engine=None, accelerator="cpu", threads=1) as session:
        (spec,), (out,) = session.inputs, session.outputs
        values = np.linspace(0, 1, int(np.prod(spec.fixed(1))), dtype=np.float32)
        expected = session.run({spec.name: values.reshape(spec.fixed(1))})[out.name]
    tensor = {"name": spec.name, "datatype": "FP32", "shape": list(spec.fixed(1)), "data": values.tolist()}

    status, answer = server.ask("POST", "/v2/models/dense/infer", json.dumps({"inputs": [tensor]}))

    assert status == 200
    assert np.float32(answer["outputs"][0]["data"]).tolist() == expected.ravel().tolist()


def reloaded(server, until):
    """Ask for the models to be read again, and wait until the index shows it."""
    server.process.send_signal(signal.SIGHUP)
    for _ in range(20_000):
        found = states(server)
        if until(found):
            return found
    raise AssertionError(found)


def test_a_bad_file_leaves_the_old_model_serving_and_says_why(server, folder):
    whole = (folder / "dense.tflite").read_bytes()
    (folder / "dense.tflite").write_bytes(whole[: len(whole) // 2])
    try:
        found = reloaded(server, lambda index: index["dense"][1])
        assert found["dense"][0] == "READY"
        assert "dense.tflite" in found["dense"][1]
        assert server.ask("GET", "/v2/models/dense/ready")[0] == 200
    finally:
        (folder / "dense.tflite").write_bytes(whole)
    assert reloaded(server, lambda index: not index["dense"][1])["dense"] == ("READY", "")


def test_what_happened_stands_in_an_audit_log_that_holds(server, folder):
    from tinsmith.runtime.audit import verify_log

    events = [json.loads(line)["event"] for line in (folder / "audit.jsonl").read_text().splitlines()]

    verify_log(folder / "audit.jsonl")
    assert events[:2] == ["load", "load"]


def test_a_port_in_use_is_named(server, folder):
    ended = subprocess.run(
        [sys.executable, "-m", "tinsmith", "serve", folder / "dense.tflite", "--port", str(server.port)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 3
    assert f"port {server.port}" in ended.stderr
    assert "hint:" in ended.stderr


def test_a_server_that_can_serve_nothing_says_so_and_ends(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))

    running = Running(tmp_path / "broken.tflite", home=tmp_path)

    assert running.process.returncode == 4
    assert "broken.tflite" in running.said[-2]


def test_a_signal_ends_it_and_frees_its_port_and_files(folder, tmp_path):
    running = Running(folder / "dense.tflite", "--no-watch", home=tmp_path)

    code, rest = running.end()

    assert (code, rest) == (0, "")
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", running.port)):
        pass
    assert not list(tmp_path.rglob("*.tflite"))


def test_uvicorn_serves_the_same(folder, tmp_path):
    running = Running(folder / "dense.tflite", "--no-watch", "--transport", "uvicorn", home=tmp_path)

    assert states(running) == {"dense": ("READY", "")}
    assert running.ask("GET", "/v2/models/none")[0] == 404
    assert running.end() == (0, "")


def test_settings_without_sense_are_a_usage_error(tmp_path):
    path = tmp_path / "serve.json"
    path.write_text('{"models": []}')
    ended = subprocess.run(
        [sys.executable, "-m", "tinsmith.runtime.server", path], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: the settings {path} says models")


def test_the_waiting_server_needs_neither_numpy_nor_what_a_board_has_not():
    code = (
        "import sys, tinsmith.runtime.server.server, tinsmith.runtime.server.settings; "
        "print([m for m in ('numpy', 'click', 'rich', 'pydantic', 'asyncio', 'email', 'http.server', 'PIL', 'orjson') "
        "if m in sys.modules])"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
