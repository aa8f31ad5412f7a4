"""A training through the command line, killed and gone on with: its bytes, what is shown, and what trackers keep."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.tensorflow

EPOCHS = 6
STEPS = [{"kind": "channels", "ratio": 0.3, "samples": 256}, {"kind": "distill", "epochs": EPOCHS, "average": 0.9}]
TRACKED = ["--tensorboard", "boards", "--mlflow", "sqlite:///runs.db", "--wandb", "offline"]
# MLflow reports nothing where it finds these
QUIETENED = {"CI", "PYTEST_CURRENT_TEST"}


@contextlib.contextmanager
def gate():
    """Whoever speaks HTTP must come through here; gives the environment that says so, and who came."""
    came = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def watch():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.settimeout(5)
                        came.append(connection.recv(200))

        threading.Thread(target=watch, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "all_proxy")
        env = {name: value for name, value in os.environ.items() if name not in QUIETENED}
        env |= dict.fromkeys((*names, *map(str.upper, names)), address)
        yield {**env, "WANDB_BASE_URL": address, "no_proxy": "", "NO_PROXY": ""}, came
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def runs(studio, tmp_path_factory):
    """One run straight on; one killed, with its stderr in a pipe, and gone on with on a terminal."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "two.yaml").write_text(json.dumps({"version": 1, "target": "tflite", "steps": STEPS}))
    data = str(studio / "train.npz")

    def command(output, *more):
        arguments = ["compress", str(studio / "whole.keras"), "-r", "two.yaml", "--data", data, "-o", output, *more]
        return [sys.executable, "-m", "tinsmith", *arguments]

    with gate() as (env, came):
        shared = {"cwd": folder, "env": env, "text": True}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        straight = subprocess.Popen(command("straight.tflite", "-q"), **pipes, **shared)  # beside the other
        killed = _killed(command("killed.tflite", *TRACKED), folder / "killed.tflite.work" / "2-distill.npz", shared)
        left = sorted(path.name for path in folder.glob("killed.tflite*"))
        resumed, drawn = _on_a_terminal(command("killed.tflite", "--resume", "--format", "json", *TRACKED), shared)
        _, said_straight = straight.communicate(timeout=300)
        assert straight.returncode == 0, said_straight
        yield SimpleNamespace(
            folder=folder,
            said_straight=said_straight,
            killed=killed,
            left=left,
            resumed=resumed,
            drawn=drawn,
            came=list(came),
        )


def _killed(command, checkpoint, shared):
    """What a run said on stderr that was killed after its first epoch."""
    with (shared["cwd"] / "stderr.txt").open("w") as stream:
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream, **shared)
        while not (checkpoint.exists() and "epoch 1 of" in Path(stream.name).read_text()) and run.poll() is None:
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    return Path(stream.name).read_text()


def _on_a_terminal(command, shared):
    """A finished run, and what it drew on its stderr."""
    ours, theirs = pty.openpty()
    environment = {**shared["env"], "TERM": "xterm-256color", "COLUMNS": "80"}
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, **{**shared, "env": environment})
    os.close(theirs)
    drawn = []

    def read():
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65536):
                drawn.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    said, _ = run.communicate(timeout=300)
    reader.join()
    os.close(ours)
    return SimpleNamespace(returncode=run.returncode, stdout=said), b"".join(drawn).decode()


def test_a_killed_run_goes_on_to_the_same_bytes(runs):
    assert runs.left == ["killed.tflite.work"]
    assert runs.resumed.returncode == 0
    made, straight = (runs.folder / f"{name}.tflite" for name in ("killed", "straight"))
    assert made.read_bytes() == straight.read_bytes()
    assert not (runs.folder / "killed.tflite.work").exists()


def test_in_a_pipe_each_epoch_is_a_line_and_quiet_is_silent(runs):
    (line,) = re.findall(r"^distill: epoch 1 of 6, .*$", runs.killed, re.MULTILINE)
    assert re.fullmatch(
        r"distill: epoch 1 of 6, loss \d\.\d+, accuracy [01]\.\d{4}, learning rate \d\.\d\de-0\d, "
        r"\d+\.\d s, at most \d+:\d\d:\d\d left",
        line,
    )
    assert "\x1b" not in runs.killed
    assert runs.said_straight == ""


def test_on_a_terminal_a_bar_is_drawn_and_stdout_stays_one_document(runs):
    assert json.loads(runs.resumed.stdout)["compression"]["passes"][1]["measured"]["epochs"] == EPOCHS
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", runs.drawn)
    # it began where the killed one stood, which may be the last epoch on a fast machine, and ended with that
    assert re.search(r"distill .*epoch [1-6]/6 +step +\d+/21 .*left", plain)
    assert re.search(r"distill .*epoch 6/6 +step 21/21 +0:00:00 left", plain)
    assert re.search(r"loss \d\.\d+, accuracy [01]\.\d{4}, learning rate \d\.\d\de-\d\d", plain)
    assert max(map(len, re.split(r"[\r\n]+", plain[plain.index("distill ━") :]))) <= 80
    assert "distill: epoch" not in plain


def board(folder):
    """Every event of a run's files, in the order of the files."""
    import tensorflow as tf

    for path in sorted(folder.iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield tf.compat.v1.Event.FromString(record)


def test_tensorboards_files_hold_every_epoch_once(runs):
    (run,) = (runs.folder / "boards").iterdir()
    assert re.fullmatch(r"killed-distill-[0-9a-f]{8}", run.name)
    assert len(list(run.iterdir())) == 2
    events = list(board(run))
    scalars = [(event.step, {v.tag: v.simple_value for v in event.summary.value}) for event in events if event.step]
    assert [step for step, _ in scalars] == [1, 2, 3, 4, 5, 6]
    assert all(found.keys() == {"loss", "accuracy", "learning_rate", "seconds"} for _, found in scalars)
    (settings,) = (v for event in events for v in event.summary.value if v.tag == "settings/text_summary")
    assert b"| seed | `0` |" in settings.tensor.string_val[0]
    assert settings.metadata.plugin_data.plugin_name == "text"


def test_mlflow_holds_every_epoch_once_in_one_run(runs):
    from mlflow.tracking import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's store uses what SQLAlchemy warns of
        client = MlflowClient(f"sqlite:///{runs.folder}/runs.db")
    (run,) = client.search_runs([client.get_experiment_by_name("tinsmith").experiment_id])
    assert (run.info.run_name, run.info.status) == ("killed-distill", "FINISHED")
    assert run.data.params["kind"] == "distill"
    assert run.data.params["epochs"] == "6"
    assert run.data.params["seed"] == "0"
    assert run.data.params["data"].endswith("train.npz")
    for name in ("loss", "accuracy", "learning_rate", "seconds"):
        history = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in history] == [1, 2, 3, 4, 5, 6], name
    (board_run,) = (runs.folder / "boards").iterdir()
    assert run.data.tags["tinsmith.training"] == board_run.name[-8:]


def offline_records(path):
    """What an offline run of wandb holds: a log as LevelDB writes it, here of one block."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = path.read_bytes()
    assert content[:4] == b":W&B"
    assert len(content) < 32768
    at = 7
    while at < len(content):
        _, size, whole = struct.unpack_from("<IHB", content, at)
        assert whole == 1
        yield Record.FromString(content[at + 7 : at + 7 + size])
        at += 7 + size


def test_wandb_holds_every_epoch_once_and_nothing_was_sent(runs):
    (run,) = (runs.folder / "offline" / "wandb").glob("offline-run-*")
    (kept,) = run.glob("run-*.wandb")
    records = list(offline_records(kept))
    rows = [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item} for r in records]
    assert [row["_step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    (begun,) = (r.run for r in records if r.HasField("run"))
    assert begun.display_name == "killed-distill"
    assert {item.key: item.value_json for item in begun.config.update}["epochs"] == "6"
    assert [r.exit.exit_code for r in records if r.HasField("exit")] == [0]
    assert not begun.host
    assert runs.came == []


def test_the_gate_would_have_seen_it():
    with gate() as (env, came):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": env["http_proxy"]}))
        with pytest.raises(OSError, match=r"."):
            opener.open("http://telemetry.invalid/", timeout=5)
    assert came
