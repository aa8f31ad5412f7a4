"""Every command of the README, of docs/ and of examples/ is one that tinsmith takes, and does what its page says."""

import contextlib
import importlib
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from tinsmith.__main__ import COMMANDS
from tinsmith.runtime.errors import TinsmithError

# What is quick on the small models of the shelf; the rest waits for --docs.
LIGHT = ("bundle", "data", "devices", "doctor", "formats", "init", "inspect", "recipe", "rollouts", "serve")
QUICK = ("curl ", "python -c ")
# Programs that are left out here: CI's own, and what needs a network, another shell, root or a phone.
ELSEWHERE = {"make", "pip", "export", "sudo", "adb"}
# 1 is an answer everywhere: a bound that was missed, drift that was seen. These end otherwise where nothing went wrong.
ANSWERS = {
    "tinsmith flash --resume": {2},  # every device was reached
    "tinsmith status -d shop ; tinsmith rollback": {2},  # the first bundle is all they had
}
EXAMPLES = Path(__file__).parents[2] / "examples"
_PORT = re.compile(r"localhost:8080")


def parse(arguments):
    """Take a command line apart as click would run it, and run nothing."""
    name, *rest = arguments
    module, attribute = COMMANDS[name][0].split(":")
    command = getattr(importlib.import_module(module), attribute)
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(click.Context(command), rest)
    command.make_context(name, rest)


def test_tinsmith_takes_every_command_that_is_shown(page, blocks_in, shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    for block in blocks_in(page):
        for arguments in block.tinsmith:
            with saying(f"{block.page}:{block.line}: tinsmith {' '.join(arguments)}"):
                parse(arguments)


@contextlib.contextmanager
def saying(where):
    try:
        yield
    except (click.ClickException, TinsmithError, KeyError) as error:
        pytest.fail(f"{where}: {getattr(error, 'message', error)}")


def test_the_parser_refuses_what_is_no_command():
    for wrong in (["inspct", "x"], ["inspect"], ["inspect", "x", "--no-such"], ["data", "chek", "x"]):
        with pytest.raises((click.ClickException, KeyError)):
            parse(wrong)


def test_a_block_is_run_or_says_why_not(page, blocks_in, calls_of):
    for block in blocks_in(page):
        programs = {call[0] for command in block.commands for call in calls_of(command)}
        assert block.unrun or programs - ELSEWHERE, f"{block.page}:{block.line} needs <!-- not run: why -->"


def test_every_curl_ends_with_an_error_where_the_server_answers_with_one(page, blocks_in, calls_of):
    for block in blocks_in(page):
        for call in (call for command in block.commands for call in calls_of(command) if call[0] == "curl"):
            assert {"--fail", "--fail-with-body"} & {*call}, f"{block.page}:{block.line}: {' '.join(call)}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("options", ["", "--fail ", "--fail-with-body "])
def test_a_page_whose_server_answers_with_an_error_is_wrong(reader, options):
    block = SimpleNamespace(page="a page", line=1)
    reader.follow(block, "tinsmith serve digits.tflite", every=False)

    reader.follow(block, f"curl {options}localhost:8080/v2/models/digits", every=False)
    with pytest.raises(AssertionError, match="returned error: 404"):
        reader.follow(block, f"curl {options}localhost:8080/v2/models/letters", every=False)


def test_a_page_does_what_it_says(page, blocks_in, reader, request):
    every = request.config.getoption("--docs")
    for block in blocks_in(page):
        if not block.unrun:
            for command in block.commands:
                reader.follow(block, command, every=every)


class Reader:
    """Does what a page says, line by line, in one folder; what is served goes on until the page ends."""

    def __init__(self, folder, environment, calls_of):
        self._folder, self._environment, self._calls_of = folder, environment, calls_of
        self._port, self._server = free_port(), None

    def follow(self, block, command, *, every):
        calls = self._calls_of(command)
        if not calls or any(call[0] in ELSEWHERE or not self._there(call[0]) for call in calls):
            return
        if not every and not all(is_light(call) for call in calls):
            return
        if calls[0][:2] == ["tinsmith", "serve"] and "--print" not in command:
            self._serve(command)
        else:
            self._run(block, command)

    def _there(self, program):
        return shutil.which(program, path=self._environment["PATH"]) is not None

    def _run(self, block, command):
        line = _PORT.sub(f"localhost:{self._port}", command)
        for name in re.findall(r"--new-key (\w+)", line):
            # the shelf has one already, for pages that begin later
            (self._folder / f"{name}.key").unlink(missing_ok=True)
            (self._folder / f"{name}.pub").unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "-c", line], cwd=self._folder, env=self._environment, capture_output=True, text=True, check=False
        )
        said = f"{block.page}:{block.line}: {command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        fine = next((codes for known, codes in ANSWERS.items() if command.startswith(known)), set())
        assert done.returncode in {0, 1} | fine, said
        assert "Traceback" not in done.stderr, said

    def _serve(self, command):
        self.close()
        line = f"exec {command.partition('#')[0]} --port {self._port}"
        self._server = subprocess.Popen(
            ["bash", "-c", line], cwd=self._folder, env=self._environment, stderr=subprocess.PIPE
        )
        ready = f"http://localhost:{self._port}/v2/health/ready"
        for _ in range(300):
            assert self._server.poll() is None, self._server.stderr.read().decode()
            with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=5):
                return
            time.sleep(0.05)
        pytest.fail(f"{command} is not ready after 15 s")

    def close(self):
        if self._server is not None:
            self._server.terminate()
            self._server.communicate()


def is_light(call):
    # samples are held against what a .keras model takes, which only TensorFlow knows
    framework = call[1:3] == ["data", "check"] and any(word.endswith(".keras") for word in call)
    return " ".join(call).startswith(QUICK) or (call[0] == "tinsmith" and call[1] in LIGHT and not framework)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def reader(shelf, programs, tmp_path, calls_of):
    folder = tmp_path / "desk"
    shutil.copytree(shelf, folder, symlinks=True)
    (folder / "examples").symlink_to(EXAMPLES)
    inventory = folder / "devices.toml"
    inventory.write_text(inventory.read_text().replace(str(shelf), str(folder)))
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TINSMITH_DEVICES": str(inventory),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "NO_COLOR": "1",
    }
    reading = Reader(folder, environment, calls_of)
    yield reading
    reading.close()
