"""``tinsmith devices setup``, and what serves on a board without systemd: the script, the server and the agent."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tinsmith.convert.bundling import bundle
from tinsmith.devices.setup.serving import script_of, settings_of
from tinsmith.devices.setup.tags import Interpreter
from tinsmith.devices.setup.there import There
from tinsmith.runtime.agent.requests import Activate, Commit, Install, Receive, Rollback, request_json
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.files import sha256_of

GOLDEN = Path(__file__).parents[1] / "golden"
PATIENCE_S = 60.0
THERE = There(
    base="/", python=sys.executable, prefix=sys.prefix,
    interpreter=Interpreter(version=(3, 11), machine="x86_64", glibc=(2, 36)), packages={}, free_bytes=10**9,
    wheels=frozenset(), parts={}, settings='{"port": 0, "models": [{"name": "x", "path": "y"}]}', keys=(),
    decryption_key=False, systemd=False, user="root", home="/root", lingers=False,
)  # fmt: skip


class Board:
    """A folder that is served by the script, with this Python as its environment."""

    def __init__(self, base):
        self.base = base
        (base / "venv" / "bin").mkdir(parents=True)
        # a link would make an environment of the folder
        (base / "venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (base / "venv" / "bin" / "python").chmod(0o755)
        there = replace(THERE, base=str(base))
        for file in (settings_of(there, (), by_systemd=False), script_of(there)):
            (base / file.path).write_text(file.text)
            (base / file.path).chmod(file.mode)

    def start(self):
        environment = {**os.environ, "TMPDIR": str(self.base), "TINSMITH_SETTLE_S": "0.1"}
        self.process = subprocess.Popen(
            [self.base / "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
            start_new_session=True,
        )  # fmt: skip
        for line in self.process.stderr:
            if line.startswith("serving on "):
                self.port = int(line.rsplit(":", 1)[1])
                return

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def index(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request("POST", "/v2/repository/index")
        (line,) = json.loads(connection.getresponse().read())
        connection.close()
        return line["state"], line["version"], line["reason"]

    def wait_for(self, version):
        self.wait_until(lambda: self.index()[:2] == ("READY", version))

    def wait_until(self, is_so):
        ends_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < ends_s, (self.index(), self.last_line())
            time.sleep(0.05)  # another process gets there in its own time

    def last_line(self):
        return (self.base / "audit.jsonl").read_text().splitlines()[-1]

    def ask(self, request):
        ran = subprocess.run(
            [sys.executable, "-m", "tinsmith.runtime.agent", self.base],
            input=json.dumps(request_json(request)).encode(), capture_output=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout
        return json.loads(ran.stdout)

    def activate(self, path, window_s):
        name = sha256_of(path)
        (self.base / "parts").mkdir(exist_ok=True)
        shutil.copy(path, self.base / "parts" / f"{name}.part")
        self.ask(Receive(sha256=name, size_bytes=path.stat().st_size, part=name, form="whole"))
        self.ask(Install(sha256=name, allow_unsigned=True))
        self.ask(Activate(sha256=name, window_s=window_s))
        return name


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two versions of a small model."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copy(GOLDEN / "dense.tflite", folder / "dense.tflite")
    bundle(folder / "dense.tflite", folder / "1.tin", name="dense", version=1)
    with open_bundle(folder / "1.tin", trust=AllowUnsigned()) as opened:
        contents = {part.name: opened.read(part.name) for part in opened.manifest.parts}
        write_bundle(folder / "2.tin", replace(opened.manifest, version=2, parts=()), contents)
    return folder / "1.tin", folder / "2.tin"


@pytest.fixture
def board(tmp_path):
    served = Board(tmp_path / "a board")
    served.start()
    yield served
    served.kill()


def test_a_server_waits_for_the_first_flash_and_follows_the_agent_forth_and_back(board, bundles):
    state, _, reason = board.index()
    assert (state, "app.tin" in reason) == ("UNAVAILABLE", True)

    board.ask(Commit(sha256=board.activate(bundles[0], 600)))
    board.wait_for("1")
    board.ask(Commit(sha256=board.activate(bundles[1], 600)))
    board.wait_for("2")
    board.ask(Rollback(reason="it was worse"))
    board.wait_for("1")

    board.activate(bundles[1], 0.1)
    board.wait_until(lambda: "nobody committed the update in time" in board.last_line())  # the script has asked
    board.wait_for("1")

    board.process.terminate()
    assert board.process.wait(PATIENCE_S) == 0


def test_a_trial_that_a_reboot_has_ended_is_taken_back_before_anything_is_served(board, bundles):
    board.ask(Commit(sha256=board.activate(bundles[0], 600)))
    board.activate(bundles[1], 600)
    board.kill()
    state = json.loads((board.base / "state.json").read_text())
    state["trial"]["boot_id"] = "another boot"
    (board.base / "state.json").write_text(json.dumps(state))

    board.start()
    board.wait_for("1")
    assert "started again before the update was committed" in board.last_line()


class TestCommands:
    @pytest.fixture(autouse=True)
    def no_path(self, monkeypatch):
        monkeypatch.delenv("PYTHONPATH", raising=False)

    @pytest.fixture
    def wheels(self, tmp_path, make_wheel):
        """A folder of wheels that hold next to nothing."""
        folder = tmp_path / "wheels"
        folder.mkdir()
        for name, path in (("numpy-2.0.0", "numpy/__init__.py"), ("cffi-2.0.0", "cffi/__init__.py"),
                           ("cryptography-44.0.0", "cryptography/hazmat/primitives/asymmetric/ed25519.py"),
                           ("typing_extensions-4.15.0", "typing_extensions.py"),
                           ("tflite_runtime-2.14.0", "tflite_runtime/interpreter.py"),
                           ("numpy-1.26.0", "numpy/__init__.py"),
                           ("ai_edge_litert-2.3.0", "ai_edge_litert/interpreter.py")):  # fmt: skip
            make_wheel(folder, f"{name}-py3-none-any.whl", {path: ""})
        return folder

    def test_a_device_is_added_and_set_up_and_set_up_anew(self, cli, wheels, tmp_path):
        (tmp_path / "board").mkdir()
        told = ("--wheels", wheels, "--no-service")
        code, out, err = cli("devices", "add", "bench", "--profile", "local", "--address", f"local:{tmp_path}/board",
                             "--setup", *told)  # fmt: skip
        assert code == 0, err
        assert "litert 2.3.0" in out
        assert f"{tmp_path}/board/serve" in " ".join(out.split())
        assert max(map(len, out.splitlines())) <= 100 or str(tmp_path) in out

        code, out, _ = cli("devices", "setup", "-d", "bench", "--engine", "tflite-runtime", "--format", "json", *told)
        (done,) = json.loads(out)["devices"]
        assert (code, done["device"], done["facts"]["engines"]) == (0, "bench", {"tflite-runtime": "2.14.0"})
        assert {w["package"] for w in done["wheels"] if w["sent_bytes"]} == {"numpy", "tflite-runtime"}

    def test_one_of_two_that_fails_is_listed_and_decides_the_exit_code(self, cli, wheels, tmp_path):
        (tmp_path / "good").mkdir()
        for name in ("good", "bad"):
            cli("devices", "add", name, "--profile", "local", "--address", f"local:{tmp_path}/{name}")
        told = ("--wheels", wheels, "--no-service")
        code, out, _ = cli("devices", "setup", "-d", "good", "-d", "bad", "--format", "json", *told)

        good, bad = json.loads(out)["devices"]
        assert (code, good["engine"], bad["error"]["code"]) == (5, "litert", "device")
        assert bad["error"]["hint"].endswith("tinsmith devices setup -d bad")

    @pytest.mark.parametrize("option", [("--engine", "litert"), ("--trust", "x"), ("--wheels", "y"), ("--no-service",)])
    def test_options_of_a_setup_without_one_are_a_mistake(self, cli, option):
        code, _, err = cli("devices", "add", "x", "--profile", "pi4", "--address", "ssh://pi", *option)
        assert (code, "give --setup as well" in err) == (2, True)
        assert "No devices" in cli("devices", "list")[1]

    def test_an_unknown_engine_is_a_mistake(self, cli, wheels, tmp_path):
        (tmp_path / "board").mkdir()
        cli("devices", "add", "bench", "--profile", "local", "--address", f"local:{tmp_path}/board")
        code, _, err = cli("devices", "setup", "-d", "bench", "--engine", "tensorrt", "--wheels", wheels)
        assert (code, "choose one of litert" in err) == (2, True)
