"""The same server as ``served.InProcess``, in a process of its own and asked over HTTP.

``python -m benchmarks.over_http`` is that process: it takes its models as JSON on stdin, and says its port.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from tinsmith.runtime.server.serving import Limits

_TYPES = {"float32": "FP32", "int8": "INT8", "uint8": "UINT8", "int32": "INT32", "int64": "INT64", "bool": "BOOL"}
_DTYPES = {name: dtype for dtype, name in _TYPES.items()}
# Of connections that must not wait for ever, whatever the server does.
_PATIENCE_S = 60.0


class OverHttp:
    """Asks with binary tensors, on a connection of each thread's own."""

    def __init__(self, sources, **settings):
        told = [{"name": s.name, "path": str(s.path), "limits": asdict(s.limits)} for s in sources]
        vet = settings.get("vet")
        told = {"sources": told, "trial_s": vet.keywords["time_limit_s"] if isinstance(vet, partial) else 60.0}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.over_http"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        self._port = int(self._process.stdout.readline())
        self._own = threading.local()

    def ask(self, name, feeds, *, timeout_s=5.0):
        """One request: the status, and the outputs where it is 200."""
        if timeout_s <= 0:
            return 504, None
        document, tensors = _request(feeds, timeout_s)
        headers = {"Inference-Header-Content-Length": str(len(document))}
        response, body = self._send("POST", f"/v2/models/{name}/infer", document + tensors, headers)
        return (200, _outputs(response, body)) if response.status == 200 else (response.status, None)

    def load(self, name):
        """Load what lies there now; the reason where it was refused, else None."""
        response, body = self._send("POST", f"/v2/repository/models/{name}/load", b"{}", {})
        return None if response.status == 200 else json.loads(body)["error"]

    def unload(self, name):
        self._send("POST", f"/v2/repository/models/{name}/unload", b"{}", {})

    def rss_bytes(self):
        """Of the process that serves."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * 4096

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _send(self, method, path, body, headers):
        for _ in range(2):  # a connection that idled too long was closed
            connection = getattr(self._own, "connection", None)
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_S)
                self._own.connection = connection
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                return response, response.read()
            except (ConnectionError, http.client.HTTPException):
                connection.close()
                self._own.connection = None
        raise ConnectionError(f"{path}: the server does not answer")


def _request(feeds, timeout_s):
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": _TYPES[array.dtype.name],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in feeds.items()
    ]
    parameters = {"binary_data_output": True, "timeout": int(timeout_s * 1e6)}
    document = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    return document, b"".join(array.tobytes() for array in feeds.values())


def _outputs(response, body):
    length = int(response.headers["Inference-Header-Content-Length"])
    outputs, at = {}, length
    for output in json.loads(body[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        array = np.frombuffer(body[at : at + size], _DTYPES[output["datatype"]])
        outputs[output["name"]], at = array.reshape(output["shape"]), at + size
    return outputs


def main():
    """Serve until stdin ends."""
    from tinsmith.runtime.audit import AuditLog
    from tinsmith.runtime.server.connection import ConnectionLimits
    from tinsmith.runtime.server.handler import ServerHandler
    from tinsmith.runtime.server.listener import Listener, ListenerLimits, listen
    from tinsmith.runtime.server.models import Models
    from tinsmith.runtime.server.servables import Servables, Source
    from tinsmith.runtime.server.vetting import vet_in_child

    told = json.loads(sys.stdin.readline())
    sources = [Source(name=s["name"], path=Path(s["path"]), limits=Limits(**s["limits"])) for s in told["sources"]]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        store = Servables(Path(folder) / "store", unpack=None)
        vet = partial(vet_in_child, time_limit_s=told["trial_s"])
        models = Models(sources, store, audit=AuditLog(Path(folder) / "audit.jsonl"), vet=vet)
        stack.callback(models.close)
        models.load_all()
        handler = ServerHandler(models, limits=sources[0].limits)
        # a load is a request too, and takes as long as its trial
        limits = ListenerLimits(connections=1024, connection=ConnectionLimits(deadline_s=2 * told["trial_s"]))
        listener = stack.enter_context(Listener(listen("127.0.0.1", 0), handler, limits=limits))
        print(listener.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
