"""Fixtures that more than one test file uses."""

import base64
import contextlib
import hashlib
import http.client
import json
import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser):
    parser.addoption("--boards", action="store_true", help="Run the tests of virtual boards that take minutes as well.")
    parser.addoption("--docs", action="store_true", help="Follow the pages of the docs to the letter: minutes.")


@pytest.fixture
def golden() -> Path:
    """The folder of small models that were made once by golden/generate.py."""
    return GOLDEN


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Every test runs in a folder of its own, so that none writes into the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def own_inventory(tmp_path, monkeypatch):
    """No test sees the devices of whoever runs it."""
    monkeypatch.setenv("TINSMITH_DEVICES", str(tmp_path / "devices.toml"))


# A server whose capture is on the disk at once: one that runs for days has a minute for that.
SERVER = """
import sys
from tinsmith.runtime.monitor.capture import CaptureLimits
CaptureLimits.__init__.__kwdefaults__["write_every_s"] = 0.02
from tinsmith.runtime.server.__main__ import main
sys.exit(main(["-"]))
"""


class ServerChild:
    """A server in a process of its own, and requests to its models."""

    def __init__(self, settings, home):
        with (home / "server.log").open("w") as said:
            command = [sys.executable, "-c", SERVER]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, text=True)
        self.process.stdin.write(json.dumps({"port": 0, **settings}))
        self.process.stdin.close()
        while "serving on " not in (text := (home / "server.log").read_text()):
            assert self.process.poll() is None, text
        self.port = int(text.partition("serving on ")[2].split()[0].rsplit(":", 1)[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def infer(self, model, name, rows):
        """One request with all rows, an array of float32."""
        tensor = {"name": name, "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return json.loads(answer.read())

    def end(self):
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts a server with settings, as its file has them; it ends with the module."""
    children = []

    def start(**settings):
        children.append(ServerChild(settings, tmp_path_factory.mktemp("server")))
        return children[-1]

    yield start
    for child in children:
        child.end()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 24 KiB, where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def make_wheel():
    """Writes a wheel with a RECORD: folder, file name, contents by path -> path."""
    return _make_wheel


def _make_wheel(folder, name, contents, *, record=None):
    package, version = name.split("-")[:2]
    info = f"{package}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: {version}\n"
    contents = {**contents, f"{info}/METADATA": metadata, f"{info}/WHEEL": "Wheel-Version: 1.0\n"}
    lines = [f"{path},sha256={_record_hash(text)},{len(text)}" for path, text in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]) if record is None else record
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, text in contents.items():
            wheel.writestr(path, text)
    return folder / name


def _record_hash(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory):
    """A scheduler and two worker processes, of which one has a device and two threads; port 8787 stays free."""
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    options = {
        "env": {"TINSMITH_TEST_NOTES": str(tmp_path_factory.mktemp("notes"))},
        "silence_logs": logging.CRITICAL,
        "local_directory": str(tmp_path_factory.mktemp("dask")),
    }
    quiet = {"distributed.scheduler.allowed-failures": 1, "distributed.logging.distributed": "critical"}
    with dask.config.set(quiet), distributed.SpecCluster(
        scheduler={"cls": distributed.Scheduler, "options": {"dashboard": False, "dashboard_address": ":0",
                                                             "host": "127.0.0.1"}},
        workers={
            "plain": {"cls": distributed.Nanny, "options": {**options, "nthreads": 1}},
            "board": {"cls": distributed.Nanny, "options": {**options, "nthreads": 2, "resources": {"device:pi4": 1}}},
        },
        silence_logs=logging.CRITICAL,
    ) as cluster:  # fmt: skip
        yield cluster
