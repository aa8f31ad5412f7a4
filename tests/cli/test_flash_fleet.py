"""``tinsmith flash`` to several devices, as far as it goes with folders of this machine as boards."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinsmith.convert.bundling import bundle
from tinsmith.runtime.audit import verify_log

GOLDEN = Path(__file__).parents[1] / "golden"

# Ends the host as the kernel would, before its n-th call of something.
KILLER = """
import os, signal, sys
from tinsmith.__main__ import run
from tinsmith.devices.fleet.journal import Journal
from tinsmith.devices.transports.local import LocalTransport
where, left = sys.argv.pop(1), int(sys.argv.pop(1))
owner, name = {"append": (Journal, "append"), "run": (LocalTransport, "run")}[where]
before = getattr(owner, name)
def counted(*args, **kwargs):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return before(*args, **kwargs)
setattr(owner, name, counted)
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "app.tin"
    bundle(GOLDEN / "dense.tflite", path, name="dense")
    return path


@pytest.fixture
def app(made):
    """A bundle in the present folder."""
    return Path(shutil.copy(made, "app.tin"))


@pytest.fixture
def boards(cli, tmp_path):
    """Three folders as boards, all in one group, and one that is switched off."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        cli("devices", "add", name, "--profile", "local", "--address", f"local:{tmp_path / name}", "--group", "shop")
    cli("devices", "add", "gone", "--profile", "local", "--address", "ssh://nobody@127.0.0.1:1", "--group", "attic")


def flash(*more):
    return ("flash", "app.tin", "--window", "0", "--allow-unsigned", *more)


def commits(board):
    verify_log(board / "audit.jsonl")
    return sum(json.loads(line)["event"] == "commit" for line in (board / "audit.jsonl").read_text().splitlines())


def test_several_devices_are_flashed_listed_and_gone_on_with(cli, app, boards, tmp_path):
    code, out, err = cli(*flash("-d", "shop", "-d", "gone"))
    assert (code, err) == (5, "")
    assert "3 done, 1 later" in out
    assert "tinsmith flash --resume" in out
    assert max(map(len, out.splitlines())) <= 100

    code, out, _ = cli("rollouts", "--format", "json")
    (rollout,) = json.loads(out)["rollouts"]
    assert (code, rollout["left"], rollout["name"]) == (0, 1, "dense")
    assert max(map(len, cli("rollouts")[1].splitlines())) <= 100

    cli("devices", "remove", "gone")
    (tmp_path / "gone").mkdir()
    cli("devices", "add", "gone", "--profile", "local", "--address", f"local:{tmp_path / 'gone'}")
    code, out, _ = cli("flash", "--resume", "--format", "json")
    document = json.loads(out)
    assert (code, document["rollout"], document["stopped"]) == (0, rollout["rollout"], "")
    assert [(one["device"], one["result"], one["version"]) for one in document["devices"]] == [
        ("one", "done", 1), ("two", "done", 1), ("three", "done", 1), ("gone", "done", 1)]  # fmt: skip
    assert [proof["device"] for proof in document["deployments"]] == ["gone"]
    assert cli("flash", "--resume")[0] == 2, "nothing is left to go on with"

    code, out, _ = cli("status", "-d", "shop", "--format", "json")
    assert [one["device"] for one in json.loads(out)["devices"]] == ["one", "two", "three"]
    code, out, _ = cli("rollback", "-d", "gone", "-d", "one", "--format", "json")
    assert [one["device"] for one in json.loads(out)["devices"]] == ["gone", "one"]


@pytest.mark.parametrize(("where", "number"), [("append", 2), ("run", 7)])
def test_a_host_that_is_killed_goes_on_and_flashes_no_board_twice(cli, app, boards, tmp_path, where, number):
    arguments = flash("-d", "shop", "--parallel", "1")
    killed = subprocess.run([sys.executable, "-c", KILLER, where, str(number), *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL

    code, out, _ = cli("flash", "--resume", "--format", "json")
    assert code == 0
    assert {one["result"] for one in json.loads(out)["devices"]} <= {"done", "unchanged"}
    assert [commits(tmp_path / name) for name in ("one", "two", "three")] == [1, 1, 1]


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(cli, app, boards, tmp_path):
    code, out, _ = cli(*flash("-d", "shop", "-d", "gone", "-n", "--waves", "50%,100%"))
    assert code == 5
    assert "nothing was sent" in out
    assert max(map(len, out.splitlines())) <= 100
    assert not list((tmp_path / "one/parts").iterdir())
    assert not (tmp_path / "state").exists()


def test_a_dry_run_foretells_what_is_then_sent(cli, app, boards, golden):
    assert cli(*flash("-d", "one"))[0] == 0
    cli("bundle", golden / "dense.tflite", "-o", "app.tin", "--name", "dense", "--version", "2")
    both = flash("-d", "one", "-d", "two", "--format", "json")
    one, two = json.loads(cli(*both, "-n")[1])["devices"]
    assert (one["active"]["version"], one["sent"]["form"]) == (1, "bsdiff")
    assert (two["active"], two["there"]) == (None, "")
    sent = json.loads(cli(*both)[1])["devices"]
    assert one["sent"]["size_bytes"] == sent[0]["sent_bytes"]
    assert two["sent"]["size_bytes"] >= sent[1]["sent_bytes"], "it may be packed while it goes"

    one, two = json.loads(cli(*both, "-n")[1])["devices"]
    assert [(found["there"], found["sent"]["size_bytes"]) for found in (one, two)] == [("active", 0)] * 2


def test_what_does_not_fit_is_said_of_every_device_before_anything_is_sent(cli, app, boards, tmp_path):
    for name in ("phone", "tablet"):
        cli("devices", "add", name, "--profile", "bbb", "--address", f"local:{tmp_path / name}", "--group", "shop")

    code, out, err = cli(*flash("-d", "shop"))
    assert (code, out) == (4, "")
    assert all(word in err for word in ("2 of 5 devices", "phone: checking", "tablet: checking"))
    assert not (tmp_path / "state").exists()
    assert not list((tmp_path / "one").iterdir())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-d", "shop", "--canary", "gone"], "gone"),
        (["-d", "shop", "--canary", "attick"], "attick"),
        (["-d", "shop", "--waves", "half"], "half"),
        (["-d", "shop", "--max-failures", "3"], "percent"),
        ([], "devices are needed"),
        (["--resume", "yesterday"], "as it was begun"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(cli, app, boards, tmp_path, more, said):
    code, _, err = cli(*flash(*more))
    assert code == 2
    assert said in err
    assert not (tmp_path / "state").exists()


def test_another_bundle_does_not_go_on_with_a_rollout(cli, app, boards, golden):
    assert cli(*flash("-d", "one", "-d", "gone"))[0] == 5
    cli("bundle", golden / "cnn_int8.tflite", "-o", "other.tin", "--version", "2")

    code, _, err = cli("flash", "other.tin", "--resume")
    assert code == 6
    assert "not the bundle" in err

    app.rename("moved.tin")
    assert cli("flash", "--resume")[0] == 2
    assert cli("flash", "moved.tin", "--resume")[0] == 5


def test_of_one_device_the_proof_is_shown_and_its_error_raised(cli, app, boards):
    code, out, _ = cli(*flash("-d", "one", "--format", "json"))
    document = json.loads(out)
    assert (code, document["devices"][0]["result"]) == (0, "done")
    assert document["deployments"][0]["active"]["version"] == 1
    code, out, _ = cli(*flash("-d", "gone", "--format", "json"))
    assert (code, json.loads(out)["error"]["code"]) == (5, "unreachable")


def test_a_bundle_has_one_id_wherever_it_is_shown(app, boards, cli):
    shown = cli("bundle", "--show", app)[1]
    (bundle_id,) = (line.split()[1].rstrip(",") for line in shown.splitlines() if line.startswith("id "))

    assert len(bundle_id) == 12
    for arguments in (
        ["bundle", GOLDEN / "dense.tflite", "-o", app, "--name", "dense", "--version", "1"],
        ["flash", app, "-d", "one", "-n"],
        ["flash", app, "-d", "one", "--allow-unsigned", "--window", "0"],
        ["status", "-d", "one"],
    ):
        code, out, _ = cli(*arguments)
        assert code == 0
        assert bundle_id in out, arguments
