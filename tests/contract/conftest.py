"""A repository over the golden models, and a server in front of a handler."""

import contextlib
import functools
import http.client
import threading
import time
from types import SimpleNamespace
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import settings

from tinsmith.runtime.errors import ModelLoadError
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.server.handler import ServerHandler
from tinsmith.runtime.server.listener import Listener, listen
from tinsmith.runtime.server.messages import Head, Refusal, Request
from tinsmith.runtime.server.serving import Answered, Limits, ModelState, Servable
from tinsmith.runtime.server.statistics import Statistics
from tinsmith.runtime.session import open_vetted

settings.register_profile("tinsmith", deadline=None)
settings.load_profile("tinsmith")

GOLDEN_NAMES = ("cnn.tflite", "cnn.onnx", "cnn_int8.tflite", "dense.tflite", "dense.onnx")


@functools.cache
def session_of(path):
    return open_vetted(path, engine=None, accelerator="cpu", threads=1), threading.Lock()


class LockedModel:
    """A served model that is one session behind a lock; the session outlives it, for opening one takes a while."""

    def __init__(self, name, path):
        self.session, self._lock = session_of(path)
        self.run = self.session.run_raw
        engine = self.session.engine
        self.servable = Servable(
            name=name, version="1", path=path, format=path.suffix[1:], sha256=sha256_of(path), engine=engine.name
        )
        self.inputs, self.outputs = self.session.inputs, self.session.outputs
        self.batches = all(spec.batch is None for spec in (*self.inputs, *self.outputs))
        self.engine = f"{engine.name} {engine.version}"
        self.statistics = Statistics()
        self.full = False

    def infer(self, feeds, *, deadline_s):
        asked_ns = time.perf_counter_ns()
        if time.monotonic() > deadline_s:
            raise Refusal(504, "deadline", "the deadline has passed")
        with self._lock:
            began_ns = time.perf_counter_ns()
            outputs = self.run(feeds)
            self.statistics.executed(1)
            return Answered(outputs=outputs, queue_ns=began_ns - asked_ns, infer_ns=time.perf_counter_ns() - began_ns)

    def check_room(self):
        if self.full:
            raise Refusal(429, "queue-full", "the queue is full", retry_after_s=3)


class FolderRepository:
    """A repository of models that are loaded once, and never swapped."""

    def __init__(self, paths):
        self._paths = paths
        self._models = {name: LockedModel(name, path) for name, path in paths.items()}
        self.ready = True
        self.damaged = set()
        self.asked = []

    @contextlib.contextmanager
    def lease(self, name, version=None):
        self._known(name)
        if name not in self._models:
            raise Refusal(503, "not-ready", f"{name} is not loaded", retry_after_s=2)
        if version not in (None, "1"):
            raise Refusal(404, "version", f"{name} has no version {version}")
        yield self._models[name]

    def index(self):
        return [
            ModelState(
                name=name,
                version="1",
                state="READY" if name in self._models else "UNAVAILABLE",
                reason="" if name in self._models else "unloaded",
            )
            for name in sorted(self._paths)
        ]

    def load(self, name, *, by=""):
        self.asked.append(("load", name, by))
        self._known(name)
        if name in self.damaged:
            raise ModelLoadError(f"{name} is damaged", hint="get it again")
        self._models.setdefault(name, LockedModel(name, self._paths[name]))

    def unload(self, name, *, by=""):
        self.asked.append(("unload", name, by))
        self._known(name)
        self._models.pop(name, None)

    def _known(self, name):
        if name not in self._paths:
            raise Refusal(404, "model", f"there is no model {name}")


@pytest.fixture
def open_repository(golden):
    """Loads the golden models: names such as cnn_onnx -> repository."""
    return lambda: FolderRepository({name.replace(".", "_"): golden / name for name in GOLDEN_NAMES})


@pytest.fixture
def repository(open_repository):
    return open_repository()


@pytest.fixture
def open_handler(repository):
    """Opens a handler over the golden models: keyword arguments of the handler -> handler."""

    def opened(**arguments):
        return ServerHandler(repository, **{"limits": Limits(), **arguments})

    return opened


@pytest.fixture
def handler(open_handler):
    return open_handler()


@pytest.fixture
def ask():
    """Sends a request to a handler as a transport does: (handler, method, path, body, headers) -> response."""
    return send


def send(handler, method, path, body=b"", headers=None, *, timeout_s=5.0):
    url = urlsplit(path)
    head = Head(
        method=method,
        path=unquote(url.path),
        query=dict(parse_qsl(url.query)),
        headers={name.lower(): value for name, value in (headers or {}).items()},
        body_bytes=len(body),
        peer="192.0.2.7",
    )
    return handler.refuse(head) or handler.answer(
        Request(head=head, body=body, deadline_s=time.monotonic() + timeout_s)
    )


@pytest.fixture
def server(handler):
    with Listener(listen("127.0.0.1", 0), handler) as running:
        yield SimpleNamespace(address=running.url.removeprefix("http://"))


@pytest.fixture
def fetch(server):
    """Sends one request over the network: (method, path, body, headers) -> status, headers, body."""

    def fetched(method, path, body=b"", headers=None):
        connection = http.client.HTTPConnection(server.address)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    return fetched
