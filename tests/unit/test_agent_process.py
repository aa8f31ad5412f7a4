"""The agent as hosts meet it: a program on the device, with the device's own engine, killed at any moment."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinsmith.convert.bundling import bundle
from tinsmith.runtime.agent.requests import (
    Activate,
    Commit,
    Facts,
    Health,
    Install,
    Receive,
    Rollback,
    Status,
    request_json,
)
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.files import sha256_of

# Ends the process at the n-th change on the disk, as the kernel would for want of memory.
KILLER = """
import os, signal, sys
from tinsmith.runtime.agent import __main__ as agent
from tinsmith.runtime.agent.filesystem import FileSystem
left = int(sys.argv.pop(1))
def step(self, what, path):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
FileSystem.step = step
sys.exit(agent.main())
"""


def ask(base, request, *, program=("-m", "tinsmith.runtime.agent")):
    document = request if isinstance(request, bytes) else json.dumps(request_json(request)).encode()
    return subprocess.run([sys.executable, *program, str(base)], input=document, capture_output=True, check=False)


def told(base, request):
    ran = ask(base, request)
    assert ran.returncode == 0, ran.stderr.decode() + ran.stdout.decode()
    assert ran.stdout.count(b"\n") == 1
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By version, two bundles of a small model with golden outputs, and one whose golden outputs are wrong."""
    folder = tmp_path_factory.mktemp("bundles")
    source = folder.parent / "dense.tflite"
    source.write_bytes(_golden("dense.tflite").read_bytes())
    bundle(source, folder / "1.tin", name="dense", version=1)
    for version in (2, 3):
        _again(folder / "1.tin", folder / f"{version}.tin", version, off=10.0 if version == 3 else 0.0)
    return {version: folder / f"{version}.tin" for version in (1, 2, 3)}


def _golden(name):
    return Path(__file__).parents[1] / "golden" / name


def _again(path, other, version, *, off):
    """The same bundle with another version, and golden outputs that are off."""
    with open_bundle(path, trust=AllowUnsigned()) as opened:
        manifest = opened.manifest
        contents = {part.name: opened.read(part.name) for part in manifest.parts}
    for engine in manifest.golden.outputs.values():
        for part in engine.values():
            stream = io.BytesIO()
            np.save(stream, np.load(io.BytesIO(contents[part])) + np.float32(off))
            contents[part] = stream.getvalue() if off else contents[part]
    write_bundle(other, replace(manifest, version=version, parts=(), encryption=None), contents)


def put(base, path):
    (base / "parts").mkdir(parents=True, exist_ok=True)
    name = sha256_of(path)
    (base / "parts" / f"{name}.part").write_bytes(path.read_bytes())
    return Receive(sha256=name, size_bytes=path.stat().st_size, part=name, form="whole")


def flash(base, path):
    name = sha256_of(path)
    told(base, put(base, path))
    found = told(base, Install(sha256=name, allow_unsigned=True))
    told(base, Activate(sha256=name, window_s=600))
    return found, told(base, Commit(sha256=name))


def test_a_bundle_is_run_on_the_engine_of_the_device_before_it_is_served(made, tmp_path):
    base = tmp_path / "board"
    installed, done = flash(base, made[1])

    assert installed["engine"] == "litert"
    assert set(installed["durations_ms"]) == {"recovery", "hash", "signature", "version", "unpack", "load", "golden"}
    assert min(installed["durations_ms"].values()) > 0
    assert "samples" in installed["golden"]
    assert done["active"]["version"] == 1
    assert told(base, Facts())["engines"]["litert"] == installed["engine_version"]

    health = told(base, Health())
    assert (health["golden"], set(health["durations_ms"])) == (installed["golden"], {"hash", "load", "golden"})

    told(base, put(base, made[3]))
    ran = ask(base, Install(sha256=sha256_of(made[3]), allow_unsigned=True))
    error = json.loads(ran.stdout)["error"]
    assert (ran.returncode, error["exit_code"], error["code"], error["stage"]) == (6, 6, "verification", "golden")
    assert "off by" in error["message"]
    assert told(base, Status())["active"]["version"] == 1


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (b"", 2, "damaged"),
        (b"[" * 50_000, 2, "nests too deep"),
        (b'{"schema": 9, "request": "status"}', 2, "schema 9"),
        (b'{"schema": 1, "request": "format-disk"}', 2, "format-disk"),
        (b'{"schema": 1, "request": "commit", "sha256": "../../etc"}', 2, "64 hex digits"),
    ],
)
def test_what_is_no_request_gets_an_answer_too(tmp_path, request_, code, said):
    ran = ask(tmp_path / "board", request_)
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["schema"]) == (code, 1)
    assert document["error"].keys() == {"code", "exit_code", "message", "hint", "stage"}
    assert said in document["error"]["message"]
    assert document["error"]["stage"] == "request"


def test_the_agent_needs_no_package_that_a_board_lacks(tmp_path):
    code = (
        "import sys\n"
        "lacking = ['click', 'rich', 'pydantic', 'ruamel', 'bsdiff4', 'tensorflow', 'asyncssh']\n"
        "sys.modules.update(dict.fromkeys(lacking))\n"
        "from tinsmith.runtime.agent import __main__ as agent\n"
        "assert 'numpy' not in sys.modules, 'numpy'\n"
        "sys.exit(agent.main())\n"
    )
    ran = ask(tmp_path / "board", Status(), program=("-c", code))
    assert ran.returncode == 0, ran.stderr.decode()


@pytest.mark.parametrize("at", [4, 9, 14])
def test_an_agent_that_is_killed_leaves_the_old_one_and_the_next_ends_with_the_new_one(made, tmp_path, at):
    base = tmp_path / "board"
    flash(base, made[1])
    name = sha256_of(made[2])
    told(base, put(base, made[2]))
    killed = ask(base, Install(sha256=name, allow_unsigned=True), program=("-c", KILLER, str(at)))
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"")
    assert told(base, Status())["active"]["version"] == 1
    assert (base / "current/app.tin").read_bytes() == made[1].read_bytes()

    told(base, Install(sha256=name, allow_unsigned=True))
    ran = ask(base, Activate(sha256=name, window_s=600), program=("-c", KILLER, str(at // 3)))
    assert ran.returncode == -signal.SIGKILL
    assert (base / "current/app.tin").read_bytes() in (made[1].read_bytes(), made[2].read_bytes())
    _, done = flash(base, made[2])
    assert (done["active"]["version"], done["on_trial"]) == (2, False)
    assert told(base, Rollback(reason="it was slow"))["active"]["version"] == 1


def test_of_many_hosts_at_once_each_is_served_or_told(made, tmp_path):
    base = tmp_path / "board"
    flash(base, made[1])
    told(base, put(base, made[2]))
    codes = []

    def install():
        codes.append(ask(base, Install(sha256=sha256_of(made[2]), allow_unsigned=True)).returncode)

    hosts = [threading.Thread(target=install) for _ in range(3)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert set(codes) <= {0, 5}
    assert 0 in codes
    assert told(base, Status())["active"]["version"] == 1
    assert told(base, Activate(sha256=sha256_of(made[2]), window_s=600))["active"]["version"] == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    ran = ask(tmp_path / "board", Status())
    assert ran.returncode == 3
