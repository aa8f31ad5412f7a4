"""The status page in headless Chromium."""

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.cli.chromium import PATIENCE_S, needs_chromium, opened_browser
from tinsmith.runtime.server.server import Server
from tinsmith.runtime.server.settings import ModelSource, ServerSettings

GOLDEN = Path(__file__).parents[1] / "golden"
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened_browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


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
