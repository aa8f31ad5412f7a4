"""MLServer and LitServe, in an environment of their own, each with the few lines that its documentation asks for."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

from benchmarks.subjects import BUILD

_PEERS = BUILD / "serving-peers"
_PACKAGES = ("mlserver==1.7.1", "litserve==0.2.19", "onnxruntime", "orjson")
_START_S = 120

_MLSERVER = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload):
        (given,) = payload.inputs
        (answer,) = self._session.run(None, {given.name: self.decode(given, default_codec=NumpyCodec)})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", answer)])
"""

_LITSERVE = """
import sys

import litserve
import numpy as np
import onnxruntime


class Onnx(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name

    def decode_request(self, request):
        (given,) = request["inputs"]
        return np.array(given["data"], np.float32).reshape(given["shape"])

    def predict(self, x):
        return self._session.run(None, {self._name: x})[0]

    def encode_response(self, output):
        return {"outputs": [{"name": "y", "shape": list(output.shape), "data": output.ravel().tolist()}]}


if __name__ == "__main__":
    server = litserve.LitServer(Onnx(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
"""


@contextlib.contextmanager
def mlserver(model):
    """MLServer without worker processes, which would only add a hand-over here; gives its port."""
    port, grpc_port, metrics_port = _free_ports(3)
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": 0,
    }
    served = {"name": "mnist", "implementation": "onnx_runtime.Onnx", "parameters": {"uri": str(model)}}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "onnx_runtime.py").write_text(_MLSERVER)
        (Path(folder) / "settings.json").write_text(json.dumps(settings))
        (Path(folder) / "model-settings.json").write_text(json.dumps(served))
        with _running([_program("mlserver"), "start", "."], folder, f"http://127.0.0.1:{port}/v2/models/mnist/ready"):
            yield (port,)


@contextlib.contextmanager
def litserve(model):
    """LitServe as it comes; gives its port."""
    (port,) = _free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "server.py").write_text(_LITSERVE)
        command = [_program("python"), "server.py", str(model), str(port)]
        with _running(command, folder, f"http://127.0.0.1:{port}/health"):
            yield (port,)


def _program(name):
    if not (_PEERS / ".ready").exists():
        venv.create(_PEERS, with_pip=True, clear=True)
        subprocess.run([_PEERS / "bin" / "pip", "install", "-q", *_PACKAGES], check=True)
        (_PEERS / ".ready").touch()
    return str(_PEERS / "bin" / name)


@contextlib.contextmanager
def _running(command, folder, health):
    with (Path(folder) / "log").open("w+") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            _wait_for(health, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(health, process, log):
    until = time.monotonic() + _START_S
    while not _healthy(health):
        if process.poll() is not None or time.monotonic() > until:
            log.seek(0)
            raise RuntimeError(f"the peer did not start: {log.read()[-2000:]}")
        time.sleep(0.2)


def _healthy(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _free_ports(count):
    """Ports that nobody listens on now; the peers can't say which one they got."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]
