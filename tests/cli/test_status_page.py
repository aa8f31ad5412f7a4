"""The status page in headless Chromium, driven over the WebDriver protocol (W3C)."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tinsmith.runtime.server.server import Server
from tinsmith.runtime.server.settings import ModelSource, ServerSettings

GOLDEN = Path(__file__).parents[1] / "golden"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1000,1400",
)  # fmt: skip
PATIENCE_S = 60

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="chromium and chromedriver are not installed",
)


class Browser:
    """One session of chromedriver's."""

    def __init__(self, port, profile):
        self._base = f"http://127.0.0.1:{port}/session"
        wanted = {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": [*FLAGS, f"--user-data-dir={profile}"]},
        }
        made = self._ask("", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/{made['sessionId']}"

    def _ask(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._base + path, data, {"Content-Type": "application/json"}, method=method or ("POST" if data else "GET")
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self._ask("/url", {"url": url})

    def run(self, script, *arguments):
        return self._ask("/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script):
        """Until a script gives something that counts as true; the page itself waits, and not we."""
        until = f"""const done = arguments[arguments.length - 1], began = Date.now();
        (function look() {{ const found = (() => {{ {script} }})();
        if (found || Date.now() - began > {PATIENCE_S * 1000 - 5000}) done(found); else setTimeout(look, 50); }})();"""
        self._ask("/timeouts", {"script": PATIENCE_S * 1000})
        return self._ask("/execute/async", {"script": until, "args": []})

    def fill(self, css, text):
        (element,) = self._ask("/element", {"using": "css selector", "value": css}).values()
        self._ask(f"/element/{element}/value", {"text": text})

    def errors(self):
        return [entry["message"] for entry in self._ask("/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]

    def picture(self, path):
        path.write_bytes(base64.b64decode(self._ask("/screenshot")))

    def close(self):
        with contextlib.suppress(urllib.error.URLError):
            self._ask("", method="DELETE")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        while "started successfully" not in driver.stdout.readline():
            assert driver.poll() is None
        opened = Browser(port, tmp_path_factory.mktemp("chromium"))
        yield opened
        opened.close()
    finally:
        driver.kill()
        driver.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("page")
    tokens = home / "tokens"
    tokens.write_text("a-secret-of-enough-letters\n")
    tokens.chmod(0o600)
    models = (
        ModelSource(name="dense", path=GOLDEN / "dense.tflite"),
        ModelSource(name="cnn", path=GOLDEN / "cnn.onnx"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIRECTORY", str(home))
        running = Server(ServerSettings(models=models, port=0, tokens=tokens, watch=False))
    with running:
        running.load()
        yield running


@pytest.fixture(scope="module")
def page(browser, server):
    browser.open(server.url)
    assert browser.wait("return !document.getElementById('token').hidden")
    browser.fill("#secret", "a-secret-of-enough-letters\ue007")
    assert browser.wait("return document.querySelectorAll('#models tbody tr').length == 2")
    browser.errors()  # the refused requests without a token
    return browser


def test_it_lists_every_model_with_its_state(page):
    rows = page.run("return [...document.querySelectorAll('#models tbody tr')].map(row => row.innerText)")

    assert [row.split("\t")[:3] for row in rows] == [["cnn", "1", "READY"], ["dense", "1", "READY"]]


def test_it_shows_what_the_chosen_model_takes(page):
    page.run("[...document.querySelectorAll('#models button')].find(b => b.innerText == 'dense').click()")

    assert page.wait("return document.getElementById('facts').innerText.includes('FP32') "
                     "&& document.getElementById('name').innerText == 'dense'")  # fmt: skip


def test_the_plot_shows_requests_as_they_come(page, server):
    from tinsmith.runtime.session import open_vetted

    with open_vetted(GOLDEN / "dense.tflite", engine=None, accelerator="cpu", threads=1) as session:
        spec = session.inputs[0]
    shape = spec.fixed(1)
    tensor = {"name": spec.name, "datatype": "FP32", "shape": list(shape), "data": np.zeros(shape).ravel().tolist()}
    request = urllib.request.Request(
        f"{server.url}/v2/models/dense/infer",
        json.dumps({"inputs": [tensor]}).encode(),
        {"Authorization": "Bearer a-secret-of-enough-letters"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert answer.status == 200

    assert page.wait("return document.querySelector('#plot path.total').getAttribute('d')")


def test_the_form_asks_the_model_and_says_what_came(page):
    page.fill("#text", "some words")
    page.run("document.querySelector('#try button').click()")

    said = page.wait("return document.getElementById('raw').innerText")

    assert "dense" in said


def test_nothing_on_the_page_is_refused_by_its_own_policy(page, tmp_path):
    page.picture(tmp_path / "page.png")

    assert not [error for error in page.errors() if "Content Security Policy" in error]
