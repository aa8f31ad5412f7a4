"""The server over HTTP: what it adds to a bare run, how many requests beside MLServer and LitServe, and its memory.

The peers live in an environment of their own; wrk makes the load. Each server is started anew for each round, alone,
in an order that turns, and shares the machine's cores with wrk, as all of them do.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure
from benchmarks.peers import litserve, mlserver
from benchmarks.subjects import data_folder, mobilenet_v2_int8
from benchmarks.wrk import Load, wrk

_ROUNDS = 3
_SECONDS = 6
_CLIENTS = (1, 16)
_FLOATS = 784
_CALLS = 5000
_WARM = 300
_STARTS = 21
# 784 floats as people write them: in JSON the digits are what is paid for
_PICTURE = [round(n % 255 / 255, 6) for n in range(_FLOATS)]
_DATATYPES = {"float32": "FP32", "int8": "INT8", "uint8": "UINT8"}
_IMAGE_BYTES = 224 * 224 * 3


def figures():
    yield from _import_time()
    yield from _memory()
    yield from _overhead()
    model = _mnist()
    if model is None or shutil.which("wrk") is None:
        yield Figure(name="requests a second beside MLServer and LitServe", value=None, bar=3,
                     seen="set TINSMITH_DATA, and install wrk")  # fmt: skip
        return
    yield from _throughput(model)


def _mnist():
    data = data_folder()
    path = data and data / "onnx" / "mnist.onnx"
    return path if path and path.exists() else None


@contextlib.contextmanager
def tinsmith(models, **settings):
    """The server in a process of its own: its port and its process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.json"
        named = [{"name": name, "path": str(path)} for name, path in models.items()]
        path.write_text(json.dumps({"models": named, "host": "127.0.0.1", "port": 0, **settings}))
        command = [sys.executable, "-m", "tinsmith.runtime.server", str(path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield _port_of(process), process
            finally:
                process.terminate()
                process.wait()


def _port_of(process):
    """The server says where it serves once it does; the rest of what it says goes where ours goes."""
    for line in process.stderr:
        if line.startswith("serving on "):
            return int(line.rsplit(":", 1)[1])
        sys.stderr.write(line)
    raise RuntimeError(f"the server ended with {process.wait()}")


def _throughput(model):
    """Requests a second and p99, by server, body and clients, round by round."""
    servers = {
        "tinsmith": lambda: tinsmith({"mnist": model}),
        "MLServer": lambda: mlserver(model),
        "LitServe": lambda: litserve(model),
    }
    rounds = []
    for number in range(_ROUNDS):
        order = list(servers)[:: 1 if number % 2 == 0 else -1]
        rounds.append({name: _loads(name, servers[name], model) for name in order})
    for clients in _CLIENTS:
        for peer, bar in (("MLServer", 2.5 if clients == 1 else 3.0), ("LitServe", 5.0)):
            yield from _beside(rounds, ("json", clients), peer, bar)
    for clients in _CLIENTS:
        yield _rate(rounds, ("binary", clients), ("json", clients), "MLServer", 5.0)


def _loads(name, serve, model):
    with serve() as (port, *_):
        bodies = {"json": _json_load(name, port, model)}
        if name == "tinsmith":
            bodies["binary"] = _binary_load(port, model)
        return {
            (body, clients): wrk(load, clients=clients, seconds=_SECONDS)
            for body, load in bodies.items()
            for clients in _CLIENTS
        }


def _beside(rounds, what, peer, bar):
    yield _rate(rounds, what, what, peer, bar)
    ratios = [r["tinsmith"][what].p99_ms / r[peer][what].p99_ms for r in rounds]
    ours, theirs = (median(r[name][what].p99_ms for r in rounds) for name in ("tinsmith", peer))
    yield Figure(
        name=f"p99 against {peer}'s, JSON, {_clients(what[1])}",
        value=round(median(ratios), 3),
        bar=1.0,
        seen=f"[{min(ratios):.3f} to {max(ratios):.3f}; medians {ours:.2f} and {theirs:.2f} ms]",
    )


def _rate(rounds, what, beside, peer, bar):
    ratios = [r["tinsmith"][what].rate / r[peer][beside].rate for r in rounds]
    ours, theirs = median(r["tinsmith"][what].rate for r in rounds), median(r[peer][beside].rate for r in rounds)
    body = "JSON" if what == beside else "binary, against its JSON"
    return Figure(
        name=f"requests a second against {peer}'s, {body}, {_clients(what[1])}",
        value=round(median(ratios), 2),
        bar=bar,
        at_least=True,
        seen=f"[{min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} rounds in turn; "
        f"medians {ours:,.0f} and {theirs:,.0f} a second]",
    )


def _clients(number):
    return f"{number} client{'s' if number > 1 else ''}"


def _json_load(name, port, model):
    path = "/predict" if name == "LitServe" else "/v2/models/mnist/infer"
    document = {"inputs": [_input_of(model) | {"data": _PICTURE}]}
    body = json.dumps(document, separators=(",", ":")).encode()
    return Load(url=f"http://127.0.0.1:{port}{path}", body=body, headers={"Content-Type": "application/json"})


def _binary_load(port, model):
    import numpy as np

    tensor = np.array(_PICTURE, "<f4").tobytes()
    return Load(
        url=f"http://127.0.0.1:{port}/v2/models/mnist/infer",
        **_binary(_input_of(model), tensor),
    )


def _binary(described, tensor):
    document = {
        "inputs": [described | {"parameters": {"binary_data_size": len(tensor)}}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    return {"body": text + tensor, "headers": {"Inference-Header-Content-Length": str(len(text))}}


def _input_of(model):
    from tinsmith.runtime.session import open_session

    with open_session(model) as session:
        (spec,) = session.inputs
        return {"name": spec.name, "datatype": _DATATYPES[spec.dtype], "shape": list(spec.fixed(1))}


def _overhead():
    """150 kB in, a model that costs next to nothing, one kept connection."""
    with tempfile.TemporaryDirectory() as folder:
        model = _light_model(Path(folder) / "light.onnx")
        bare_ms = sorted(_bare_ms(model))
        with tinsmith({"light": model}) as (port, _):
            served_ms = sorted(_served_ms(port, _input_of(model)))
    middle = median(bare_ms)
    seen = (
        f"[{len(served_ms):,} requests of {_IMAGE_BYTES:,} bytes: "
        f"{median(served_ms):.3f} ms, p99 {_p99(served_ms):.3f}; bare run {middle:.3f} ms, p99 {_p99(bare_ms):.3f}]"
    )
    yield Figure(name="p50 added to a bare run by a request over HTTP", value=round(median(served_ms) - middle, 3),
                 bar=0.3, unit=" ms", seen=seen)  # fmt: skip
    yield Figure(name="p99 of a request less the median of a bare run", value=round(_p99(served_ms) - middle, 3),
                 bar=1.0, unit=" ms", seen=seen)  # fmt: skip


def _p99(values):
    from tinsmith.runtime.timing import percentile

    return percentile(values, 99)


def _light_model(path):
    """Takes an image of 224x224 bytes times 3, and gives the largest byte of each channel."""
    import onnx
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 3, 224, 224])
    largest = helper.make_tensor_value_info("largest", TensorProto.UINT8, [1, 3, 1, 1])
    node = helper.make_node("MaxPool", ["image"], ["largest"], kernel_shape=[224, 224])
    graph = helper.make_graph([node], "light", [image], [largest])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def _bare_ms(model):
    import numpy as np

    from tinsmith.runtime.session import open_session

    image = np.zeros((1, 3, 224, 224), np.uint8)
    with open_session(model) as session:
        return _times_ms(lambda: session.run({"image": image}))


def _served_ms(port, described):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = _request("/v2/models/light/infer", **_binary(described, bytes(_IMAGE_BYTES)))
        return _times_ms(lambda: _exchange(sock, request))


def _times_ms(call):
    for _ in range(_WARM):
        call()
    return [_took_ms(call) for _ in range(_CALLS)]


def _took_ms(call):
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def _request(path, body, headers):
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _exchange(sock, request):
    """Send a request, and read the whole answer."""
    sock.sendall(request)
    answer = sock.recv(1 << 16)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(body)
    while left:
        left -= len(sock.recv(left))


def _import_time():
    code = (
        "import sys, time; started = time.perf_counter(); import tinsmith.runtime; "
        "print((time.perf_counter() - started) * 1e3, int('numpy' in sys.modules))"
    )
    said = [_said(code).split() for _ in range(_STARTS)]
    times = [float(ms) for ms, _ in said]
    yield Figure(name="import tinsmith.runtime", value=round(median(times), 2), bar=60, unit=" ms",
                 seen=f"[{min(times):.2f} to {max(times):.2f} over {len(times)} processes]")  # fmt: skip
    yield Figure(name="numpy loaded by it", value=max(int(numpy) for _, numpy in said), bar=0)


def _said(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


_BARE_LITERT = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
(given,) = interpreter.get_input_details()
for _ in range(20):
    interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
    interpreter.invoke()
    interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""
# Everything that a server has loaded while it waits for its first model, and a port that answers.
_WAITING = """
import importlib, socket, sys
importlib.import_module("tinsmith.runtime.server.__main__")
from tinsmith.runtime.server.handler import ServerHandler
from tinsmith.runtime.server.listener import Listener, listen
from tinsmith.runtime.server.models import Models
from tinsmith.runtime.server.serving import Limits
with Listener(listen("127.0.0.1", 0), ServerHandler(Models([], None), limits=Limits())) as listener:
    with socket.create_connection(("127.0.0.1", listener.port)) as sock:
        sock.sendall(b"GET /v2/health/live HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        loaded = {"numpy", "ai_edge_litert", "onnxruntime"} & set(sys.modules)
        print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")), len(loaded))
"""


def _memory():
    waiting_kib, heavy = map(int, _said(_WAITING).split())
    yield Figure(name="RSS of a server before its first model", value=round(waiting_kib / 1024, 1), bar=25, unit=" MB")
    yield Figure(name="numpy and engines loaded by it", value=heavy, bar=0)
    model = mobilenet_v2_int8()
    bare_mb = median(int(_said(_BARE_LITERT, model)) for _ in range(3)) / 1024
    with tinsmith({"m": model}) as (port, process):
        request = _request("/v2/models/m/infer", **_binary(_input_of(model), bytes(_IMAGE_BYTES)))
        with socket.create_connection(("127.0.0.1", port)) as sock:
            for _ in range(20):
                _exchange(sock, request)
        served_mb = _rss_kib(process.pid) / 1024
    yield Figure(name="RSS of a server over numpy and LiteRT with the same model", value=round(served_mb - bare_mb, 1),
                 bar=10, unit=" MB", seen=f"[{served_mb:.1f} and {bare_mb:.1f} MB; MobileNetV2 int8]")  # fmt: skip


def _rss_kib(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(itertools.dropwhile(lambda line: not line.startswith("VmRSS"), lines)).split()[1])
