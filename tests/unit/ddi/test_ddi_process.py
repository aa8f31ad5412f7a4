"""The client as systemd starts it: a program, with the device's own engine, ended and killed."""

import contextlib
import io
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinsmith.convert.bundling import bundle as make_bundle
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.bundle.writing import write_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By version, bundles of a small model with golden outputs; those of 2 are wrong."""
    folder = tmp_path_factory.mktemp("bundles")
    source = folder.parent / "dense.tflite"
    source.write_bytes((Path(__file__).parents[2] / "golden/dense.tflite").read_bytes())
    make_bundle(source, folder / "1.tin", name="dense", version=1)
    with open_bundle(folder / "1.tin", trust=AllowUnsigned()) as opened:
        manifest = opened.manifest
        contents = {part.name: opened.read(part.name) for part in manifest.parts}
    for part in {part for engine in manifest.golden.outputs.values() for part in engine.values()}:
        stream = io.BytesIO()
        np.save(stream, np.load(io.BytesIO(contents[part])) + np.float32(10))
        contents[part] = stream.getvalue()
    write_bundle(folder / "2.tin", replace(manifest, version=2, parts=(), encryption=None), contents)
    return {version: (folder / f"{version}.tin").read_bytes() for version in (1, 2)}


@pytest.fixture
def board(tmp_path, hawkbit):
    base = tmp_path / "board"
    base.mkdir()
    hawkbit.token, hawkbit.sleep = "TargetToken 5ecret", "00:00:05"
    (base / "token").write_text("5ecret\n")
    settings = {"schema": 1, "url": hawkbit.url, "controller_id": "board-7", "target_token": "token",
                "allow_unsigned": True, "window_s": 0}  # fmt: skip
    (base / "hawkbit.json").write_text(json.dumps(settings))
    return base


@contextlib.contextmanager
def running(base):
    program = [sys.executable, "-m", "tinsmith.runtime.agent.ddi", str(base)]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as client:
        try:
            yield client
        finally:
            client.kill()


def wait_for(done):
    ends_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < ends_s, "it did not come"
        time.sleep(0.01)


def ended(client, number=signal.SIGTERM):
    client.send_signal(number)
    _, said = client.communicate(timeout=30)
    return client.returncode, said


def test_a_device_is_updated_by_its_own_engine_and_ends_when_it_is_told_to(made, board, hawkbit):
    action = hawkbit.deploy(made[1], action="1")
    with running(board) as client:
        wait_for(lambda: not action.active)
        assert action.ends[0]["result"]["finished"] == "success"
        wait_for(lambda: hawkbit.attributes)
        second = subprocess.run(client.args, capture_output=True, text=True, check=False)
        assert (second.returncode, second.stderr.count("another hawkBit client runs")) == (5, 1)
        code, said = ended(client)
    assert (code, "Traceback" in said, "5ecret" in said) == (0, False, False)
    assert (board / "current/app.tin").read_bytes() == made[1]

    action = hawkbit.deploy(made[2], action="2")
    with running(board) as client:
        wait_for(lambda: not action.active)
        code, _ = ended(client, signal.SIGINT)
    assert (code, len(action.ends), action.ends[0]["code"]) == (0, 1, 6)
    assert "golden: " in action.ends[0]["details"][0]
    assert "off by" in action.ends[0]["details"][0]
    assert (board / "current/app.tin").read_bytes() == made[1]


def test_a_client_that_is_ended_in_a_download_goes_on_with_it(made, board, hawkbit):
    action = hawkbit.deploy(made[1])
    held, released = threading.Event(), threading.Event()

    def hold(handler):
        held.set()
        released.wait(60)

    hawkbit.faults = [None, None, None, hold]
    with running(board) as client:
        assert held.wait(60)
        started_s = time.monotonic()
        code, said = ended(client)
        assert (code, time.monotonic() - started_s < 15) == (0, True), said
    released.set()
    assert action.active
    with running(board) as client:
        wait_for(lambda: not action.active)
        ended(client)
    assert [end["result"]["finished"] for end in action.ends] == ["success"]


def test_a_client_that_is_killed_goes_on(made, board, hawkbit):
    action = hawkbit.deploy(made[1])
    with running(board) as client:
        wait_for(lambda: ("downloaded", "none") in action.said)
        client.kill()
    with running(board) as client:
        wait_for(lambda: not action.active)
        ended(client)
    assert [end["result"]["finished"] for end in action.ends] == ["success"]


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda base: (base / "hawkbit.json").unlink(), 2, "cannot read"),
        (lambda base: (base / "token").unlink(), 2, "cannot read the token"),
        (lambda base: (base / "hawkbit-action.json").write_text("{"), 6, "move it away"),
    ],
)
def test_what_a_person_has_to_mend_ends_it(board, spoil, code, said):
    spoil(board)
    program = [sys.executable, "-m", "tinsmith.runtime.agent.ddi", str(board)]
    ran = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr.count(said), ran.stderr.count("Traceback")) == (code, 1, 0)


def test_the_client_needs_no_package_that_a_board_lacks(board, hawkbit):
    code = (
        "import sys, threading\n"
        "lacking = ['click', 'rich', 'pydantic', 'ruamel', 'bsdiff4', 'tensorflow', 'asyncssh']\n"
        "sys.modules.update(dict.fromkeys(lacking))\n"
        "from tinsmith.runtime.agent.ddi import __main__ as client\n"
        "assert 'numpy' not in sys.modules, 'numpy'\n"
        "sys.exit(client.main([]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, "takes one argument" in ran.stderr) == (2, True), ran.stderr
