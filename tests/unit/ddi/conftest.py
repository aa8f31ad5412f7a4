"""A hawkBit server small enough to read, written from the API's sources, and a board whose clock and disk a test holds.

What it answers follows DdiRootController, DataConversionHelper and JpaControllerManagement of hawkBit: links with
``?c=``, ``-http`` names for downloads, 410 for feedback to a closed action, 404 while an action waits for confirmation,
``closed`` and not ``canceled`` as the end of a cancellation.
"""

import contextlib
import hashlib
import http.server
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tinsmith.runtime.agent.board import Board
from tinsmith.runtime.agent.clock import Moment
from tinsmith.runtime.agent.ddi.client import Client
from tinsmith.runtime.agent.ddi.server import HawkbitServer
from tinsmith.runtime.agent.ddi.settings import HawkbitSettings
from tinsmith.runtime.agent.trying import Tried
from tinsmith.runtime.artifact import Artifact, Lineage
from tinsmith.runtime.bundle.manifest import Manifest
from tinsmith.runtime.bundle.manifest import Settings as RunSettings
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.errors import DeviceError, ModelLoadError, VerificationError
from tinsmith.runtime.tensors import TensorSpec

SPEC = TensorSpec(name="x", dtype="float32", shape=(None, 2))
EXECUTIONS = {"closed", "proceeding", "canceled", "scheduled", "rejected", "resumed", "downloaded", "download"}
ROOT = "/DEFAULT/controller/v1/board-7"


@dataclass
class ServerAction:
    """As hawkBit keeps it. ``states`` of those that are active: running, confirm, canceling."""

    id: str
    chunks: list
    state: str = "running"
    kind: str = "forced"
    window: str | None = None
    feedback: list = field(default_factory=list)
    answers: list = field(default_factory=list)

    @property
    def active(self):
        return self.state in ("running", "confirm", "canceling")

    @property
    def ends(self):
        return [status for status in self.feedback if status["execution"] == "closed"]

    @property
    def said(self):
        return [(status["execution"], status["result"]["finished"]) for status in self.feedback]


class Hawkbit:
    """Holds actions and artifacts; records what it is told. What lies in ``faults`` happens to the next requests."""

    def __init__(self):
        self.url = ""
        self.forget()

    def forget(self):
        self.actions, self.files = {}, {}
        self.token, self.sleep = None, "00:00:30"
        self.want_attributes, self.attributes, self.installed = False, {}, []
        self.known_sets = set()
        self.asked, self.tokens, self.downloads = [], [], []
        self.faults, self.cuts, self.ranges, self.elsewhere = [], [], True, ""

    def deploy(self, content, *, action="11", name="app.tin", hashes=None, **settings):
        module = str(1000 + len(self.files))
        self.files[module, name] = content
        self.actions[action] = ServerAction(id=action, chunks=[self.chunk(module, name, hashes)], **settings)
        return self.actions[action]

    def chunk(self, module, name, hashes=None):
        content = self.files[module, name]
        path = f"{self.elsewhere or self.url}{ROOT}/softwaremodules/{module}/artifacts/{name}"
        known = {kind: hashlib.new(kind, content).hexdigest() for kind in ("sha1", "md5", "sha256")}
        links = {"download-http": {"href": path}, "md5sum-http": {"href": f"{path}.MD5SUM"}}
        artifact = {"filename": name, "hashes": known | (hashes or {}), "size": len(content), "_links": links}
        return {"part": "bApp", "version": "1.2.1", "name": "cats", "artifacts": [artifact]}

    def base(self):
        document = {"config": {"polling": {"sleep": self.sleep}}}
        links = {}
        for action in [action for action in self.actions.values() if action.active][:1]:
            kind, mark = {"running": ("deploymentBase", "?c=-2122565939"), "confirm": ("confirmationBase", "?c=17"),
                          "canceling": ("cancelAction", "")}[action.state]  # fmt: skip
            links[kind] = {"href": f"{self.url}{ROOT}/{kind}/{action.id}{mark}"}
        for action in [action for action in self.actions.values() if action.state == "finished"][-1:]:
            links["installedBase"] = {"href": f"{self.url}{ROOT}/installedBase/{action.id}"}
        if self.want_attributes:
            links["configData"] = {"href": f"{self.url}{ROOT}/configData"}
        return document | ({"_links": links} if links else {})

    def deployment(self, action):
        download = "attempt" if action.kind == "soft" else "forced"
        update = "skip" if action.kind == "downloadonly" or action.window == "unavailable" else download
        document = {"download": download, "update": update, "chunks": action.chunks}
        return document | ({"maintenanceWindow": action.window} if action.window else {})

    def own(self, method, rest, document):
        """The resources of the device itself."""
        if (method, rest) == ("GET", []):
            return 200, self.base()
        if rest == ["configData"]:
            assert all(len(key) <= 128 and len(value) <= 128 for key, value in document["data"].items())
            self.attributes |= document["data"]
            self.want_attributes = False
            return (200,)
        self.installed.append((document["name"], document["version"]))
        return (201,) if self.installed[-1] in self.known_sets else (404,)

    def shown(self, kind, action):
        document = {"deploymentBase": ("running", {"deployment": self.deployment(action)}),
                    "confirmationBase": ("confirm", {"confirmation": self.deployment(action)}),
                    "cancelAction": ("canceling", {"cancelAction": {"stopId": action.id}})}  # fmt: skip
        state, shown = document[kind]
        return (200, {"id": action.id} | shown) if action.state == state else (404,)

    def take(self, action, document):
        """Feedback to ``deploymentBase``."""
        status = document["status"]
        if action.state == "confirm":
            return 404
        if not action.active:
            return 410
        action.feedback.append(status)
        if status["execution"] == "closed":
            action.state = "error" if status["result"]["finished"] == "failure" else "finished"
            self.want_attributes |= action.state == "finished"
        if status["execution"] == "downloaded" and action.kind == "downloadonly":
            action.state = "downloaded"
        return 200

    def take_cancel(self, action, document):
        status = document["status"]
        if action.state != "canceling":
            return 403
        action.answers.append(status["execution"])
        if status["execution"] == "closed" and status["result"]["finished"] != "failure":
            action.state = "canceled"
        elif status["execution"] in ("closed", "rejected"):
            action.state = "running"
        return 200

    def take_confirmation(self, action, document):
        action.answers.append((document["confirmation"], document["details"]))
        action.state = "running" if document["confirmation"] == "confirmed" else "confirm"
        return 200


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        self.route()

    do_POST = do_PUT = do_GET  # noqa: N815 - the names of http.server

    def log_message(self, *arguments):
        pass

    def route(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hawkbit = self.server.hawkbit
        path, _, _ = self.path.partition("?")
        hawkbit.asked.append(f"{self.command} {path.removeprefix(ROOT)}")
        hawkbit.tokens.append(self.headers.get("Authorization"))
        if hawkbit.faults and (fault := hawkbit.faults.pop(0)):
            return fault(self) if callable(fault) else self.answer(fault)
        if hawkbit.token is not None and self.headers.get("Authorization") != hawkbit.token:
            return self.answer(401)
        if not path.startswith(ROOT):
            return self.answer(404)
        rest = [part for part in path[len(ROOT) :].split("/") if part]
        if rest[:1] == ["softwaremodules"]:
            return self.artifact(rest[1], rest[3])
        document = json.loads(body) if body else None
        return self.answer(*self.resource(self.command, rest, document))

    def resource(self, method, rest, document):
        hawkbit = self.server.hawkbit
        if len(rest) < 2:
            return hawkbit.own(method, rest, document)
        kind, name, *feedback = rest
        action = hawkbit.actions.get(name)
        if action is None:
            return (404,)
        if (method, feedback) == ("GET", []):
            return hawkbit.shown(kind, action)
        if kind != "confirmationBase" and not self.is_feedback(document):
            return 400, {"errorCode": "hawkbit.server.error.rest.body.notReadable", "message": "not well formatted"}
        take = {"deploymentBase": hawkbit.take, "cancelAction": hawkbit.take_cancel,
                "confirmationBase": hawkbit.take_confirmation}[kind]  # fmt: skip
        return (take(action, document),)

    def is_feedback(self, document):
        status = document["status"]
        return (
            self.headers["Content-Type"] == "application/json"
            and status["execution"] in EXECUTIONS
            and status["result"]["finished"] in {"success", "failure", "none"}
            and isinstance(status.get("code", 0), int)
            and len(status["details"]) <= 50
            and all(isinstance(detail, str) for detail in status["details"])
        )

    def artifact(self, module, name):
        hawkbit = self.server.hawkbit
        content = hawkbit.files.get((module, name))
        if content is None:
            return self.answer(404)
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if hawkbit.ranges else None
        start = int(found[1]) if found else 0
        if start >= len(content):
            return self.answer(416)
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", hashlib.sha1(content).hexdigest())
        self.end_headers()
        cut = hawkbit.cuts.pop(0) if hawkbit.cuts else None
        sent = content[start : len(content) if cut is None else start + cut]
        hawkbit.downloads.append((start, len(sent)))
        self.wfile.write(sent)
        self.wfile.flush()
        if cut is not None:
            if cut % 2:  # a reset, and otherwise an end as if that were all
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        return None

    def answer(self, status, document=None, **headers):
        content = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content)


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client whose power was cut


@contextlib.contextmanager
def listening(tls=None):
    with Listener(("127.0.0.1", 0), Handler) as listener:
        if tls is not None:
            listener.socket = tls.wrap_socket(listener.socket, server_side=True)
        listener.hawkbit = Hawkbit()
        listener.hawkbit.url = f"http{'s' if tls else ''}://127.0.0.1:{listener.server_port}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield listener.hawkbit
        finally:
            listener.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def hawkbit_listening():
    with listening() as hawkbit:
        yield hawkbit


@pytest.fixture
def hawkbit(hawkbit_listening):
    hawkbit_listening.forget()
    return hawkbit_listening


@pytest.fixture
def hawkbit_over_tls():
    """Starts one: ssl context -> a hawkBit, until the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda tls: stack.enter_context(listening(tls))


def tried(candidate, stages):
    """Stands for the engine: what the artifact holds says what becomes of it."""
    content = candidate.path.read_bytes()
    with stages.at("load"):
        if b"broken" in content:
            raise ModelLoadError("the engine died on it")
    with stages.at("golden"):
        if b"wrong" in content:
            raise VerificationError("golden sample 0: off by 10")
        if b"sick" in content and (candidate.path.parents[2].parent / "current").resolve() == candidate.path.parents[1]:
            raise VerificationError("golden sample 0: off by 3")
    return Tried(engine="litert", version="2", golden="8 samples; equal")


class Device:
    """A board and its client, which a test may end, cut off and start again."""

    def __init__(self, base, hawkbit, files=None):
        self.base, self.hawkbit, self.files = base, hawkbit, files
        self.uptime_s, self.boot = 50.0, "one"
        self.settings = HawkbitSettings(url=hawkbit.url, tenant="DEFAULT", controller_id="board-7", allow_unsigned=True)
        self.server, self.attempt = HawkbitServer, tried
        self.client = None

    @property
    def board(self):
        return Board(self.base, files=self.files, now=self.now)

    def now(self):
        return Moment(wall_s=1e9, uptime_s=self.uptime_s, boot_id=self.boot)

    def start(self):
        server = self.server(self.settings)
        self.client = Client(self.board, server, self.settings, attempt=self.attempt, chance=lambda: 1.0)
        return self.client

    def cycle(self):
        return (self.client or self.start()).cycle()

    def until(self, done, *, most=30):
        """Cycles, each 20 s after the other, and goes on after errors that pass."""
        for _ in range(most):
            with contextlib.suppress(DeviceError):
                self.cycle()
            if done():
                return
            self.uptime_s += 20
        raise AssertionError("it is not done")

    def follow(self, action, **limits):
        self.until(lambda: not action.active, **limits)
        return action.ends[0] if action.ends else None

    @property
    def served(self):
        link = self.base / "current"
        return (link / "app.tin").read_bytes() if link.is_symlink() else None

    @property
    def committed(self):
        state = self.board.state()
        return self.served if state.trial is None and self.board.serving() == state.committed else None

    @property
    def parts(self):
        return sorted(path.name for path in (self.base / "parts").iterdir())


def make(path, version, content=None, name="cats", **keys):
    content = content or f"TFL3 {version}".encode() * 40
    artifact = Artifact(
        path=Path("small.tflite"), format="tflite", sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content), inputs=(SPEC,), outputs=(SPEC,), operators=(),
        lineage=Lineage(source="m", source_format="keras", source_sha256="0" * 64, steps=()),
    )  # fmt: skip
    settings = RunSettings(device="local", engine="litert")
    manifest = Manifest(name=name, version=version, artifact=artifact, parts=(), settings=settings)
    write_bundle(path, manifest, {"artifact/small.tflite": content}, **keys)
    return path.read_bytes()


@pytest.fixture
def bundle(tmp_path):
    """Makes one: (version, content) -> the file's content."""
    return lambda version, content=None, **keys: make(tmp_path / "made.tin", version, content, **keys)


@pytest.fixture
def device(tmp_path, hawkbit):
    (tmp_path / "board").mkdir()
    return Device(tmp_path / "board", hawkbit)


@pytest.fixture
def new_device():
    return Device
