"""`tinsmith maintain` from a server that drifts to a new version on a device, with a real agent there."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tinsmith.runtime.audit import verify_log
from tinsmith.runtime.session import open_vetted

PLAN = """\
version: 1
model: {golden}/dense.tflite
recipe: int8
data: data.npz
devices: [kitchen]
monitors: {{kitchen: "{url}"}}
served_as: app
budget: {{max_drop: 10%, min_agreement: 80%}}
bundle: {{current: app.tin, key: team.key}}
rollout: {{canary: 1, window_s: 0}}
work: work
"""


def rows(count, *, around=0.0):
    return around + np.random.default_rng(count).standard_normal((count, 4), np.float32)


def answers(model, x):
    with open_vetted(model, engine=None, accelerator="cpu", threads=1) as session:
        return session.run({"x": x})["y"].argmax(axis=1)


@pytest.fixture
def home(cli, golden, serve, tmp_path, monkeypatch):
    """A plan, the bundle that is served, a device that trusts its key, and a server that has seen other images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.savez("data.npz", x=rows(100), y=answers(golden / "dense.tflite", rows(100)))
    small = ("compress", golden / "dense.tflite", "-r", "int8", "--data", "data.npz", "-o", "small.tflite", "-q")
    assert cli("bundle", "--new-key", "team")[0] == cli(*small)[0] == 0
    made = ("bundle", "small.tflite", "-o", "app.tin", "--data", "data.npz", "--key", "team.key", "--name", "cats")
    assert cli(*made)[0] == 0
    (tmp_path / "kitchen" / "trusted").mkdir(parents=True)
    (tmp_path / "kitchen" / "trusted" / "team.pub").write_bytes((tmp_path / "team.pub").read_bytes())
    cli("devices", "add", "kitchen", "--profile", "local", "--address", f"local:{tmp_path / 'kitchen'}")
    server = serve(
        models=[{"name": "app", "path": str(tmp_path / "app.tin")}], watch=False,
        capture={"folder": str(tmp_path / "capture"), "samples": 64, "age_h": 1},
    )  # fmt: skip
    server.infer("app", "x", rows(60, around=3))
    (tmp_path / "plan.yaml").write_text(PLAN.format(golden=golden, url=server.url))
    return SimpleNamespace(path=tmp_path, server=server)


def await_capture(home, *, samples):
    """A server writes them when it gets round to it."""
    path = home.path / "capture" / "app.npz"
    while not path.exists() or len(np.load(path)["x"]) < samples:
        pass


def answering(monkeypatch, text):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(text))


def said_of(cli, *arguments):
    code, out, _ = cli("maintain", "plan.yaml", "--format", "json", *arguments)
    return code, json.loads(out)["maintain"]


def test_the_whole_loop(cli, home, monkeypatch):
    code, _, err = cli("maintain", "plan.yaml")
    assert (code, "--yes" in err) == (2, True), "nobody is there to ask"

    code, out, _ = cli("maintain", "plan.yaml", "-n")
    assert (code, "drifts over 60 samples" in out, "bundle version 2 of cats" in out) == (0, True, True)
    assert max(map(len, out.splitlines())) <= 100
    assert not (home.path / "work").exists()

    answering(monkeypatch, "n\n")
    code, out, err = cli("maintain", "plan.yaml")
    assert (code, "next is collect" in err) == (0, True)
    assert cli("maintain", "plan.yaml", "--step", "prove")[0] == 2
    await_capture(home, samples=60)
    code, now = said_of(cli, "--step", "collect")
    assert (code, now["next"], now["outcome"]) == (0, "recompress", None)

    code, now = said_of(cli, "--yes")
    steps = now["steps"]
    assert (code, now["outcome"], now["said"]) == (0, "done", "version 2 is served by 1 of 1")
    assert (steps["collect"]["devices"][0]["samples"], steps["prove"]["captured"]) == (48, 12)
    assert steps["prove"]["error_new"] < 0.1 < steps["prove"]["error_served"], "what saturated does no more"
    assert (steps["prove"]["samples"], steps["prove"]["missed"]) == (100, [])
    assert steps["bundle"]["signed_by"]

    (device,) = json.loads(cli("status", "-d", "kitchen", "--format", "json")[1])["devices"]
    assert device["status"]["active"]["version"] == 2
    shown = json.loads(cli("bundle", "--show", "app.tin", "--trust", "team.pub", "--format", "json")[1])
    assert shown["bundle"]["manifest"]["version"] == 2
    verify_log(home.path / "work" / "journal.jsonl")

    code, out, _ = cli("maintain", "plan.yaml", "--yes")
    assert (code, "has answered the same" in " ".join(out.split())) == (1, True)
    assert max(map(len, out.splitlines())) <= 100


def test_samples_that_would_spoil_the_model_are_exit_1_and_change_no_device(cli, home):
    home.server.infer("app", "x", np.full((1, 4), 1e7, np.float32))
    text = (home.path / "plan.yaml").read_text()
    (home.path / "plan.yaml").write_text(text.replace("min_agreement: 80%", "min_agreement: 90%"))
    await_capture(home, samples=61)
    code, now = said_of(cli, "--yes")

    assert (code, now["outcome"]) == (1, "refused")
    assert "min-agreement" in now["said"]
    assert not (home.path / "kitchen" / "state.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "a plan is needed"),
        (["gone.yaml"], "cannot read"),
        (["plan.yaml", "-n", "--yes"], "exclude"),
        (["plan.yaml", "--give-up"], "no round"),
    ],
)
def test_what_is_wrong_is_said(cli, tmp_path, golden, arguments, said):
    (tmp_path / "plan.yaml").write_text(PLAN.format(golden=golden, url="http://127.0.0.1:1"))
    cli("bundle", golden / "dense.tflite", "-o", "app.tin", "--name", "dense")
    cli("devices", "add", "kitchen", "--profile", "local", "--address", f"local:{tmp_path}")
    code, _, err = cli("maintain", *arguments)
    assert (code, said in err) == (2, True), err


def test_an_example_is_printed(cli):
    code, out, err = cli("maintain", "--example")
    assert (code, err) == (0, "")
    assert out.startswith("# What `tinsmith maintain` does")
