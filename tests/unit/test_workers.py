"""Several workers that train one model: who they are, what each learns, and what comes out on 127.0.0.1."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.training.cluster import Cluster
from tinsmith.compress.training.workers import part_of
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.runtime.errors import UsageError

TWO = ["10.0.0.1:4711", "10.0.0.2:4712"]


def said(cluster, task=None, **more):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, **({} if task is None else {"task": task})}), **more}


def test_no_tf_config_or_a_single_worker_means_training_alone():
    assert Cluster.of({}) is None
    assert Cluster.of({"TF_CONFIG": " "}) is None
    assert Cluster.of({"TF_CONFIG": "{}"}) is None
    assert Cluster.of(said({"worker": TWO[:1]}, {"type": "worker", "index": 0})) is None


def test_tf_config_names_the_workers_and_which_of_them_this_one_is():
    cluster = Cluster.of(said({"worker": TWO}, {"type": "worker", "index": 1}, environment="cloud"))
    assert cluster == Cluster(addresses=tuple(TWO), index=1, timeout_s=600.0)
    assert cluster.port == 4712


def test_a_chief_is_the_first_of_the_workers():
    parts = {"chief": TWO[:1], "worker": TWO[1:]}
    assert Cluster.of(said(parts, {"type": "chief", "index": 0})).index == 0
    assert Cluster.of(said(parts, {"type": "worker", "index": 0})).index == 1


def test_the_time_limit_is_read_from_the_environment():
    task = {"type": "worker", "index": 0}
    assert Cluster.of(said({"worker": TWO}, task, TINSMITH_WORKERS_TIMEOUT_S="7.5")).timeout_s == 7.5
    for wrong in ("soon", "0", "-1", "nan", "inf"):
        with pytest.raises(UsageError, match="TINSMITH_WORKERS_TIMEOUT_S is"):
            Cluster.of(said({"worker": TWO}, task, TINSMITH_WORKERS_TIMEOUT_S=wrong))


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"TF_CONFIG": "worker 0"}, "can't be read: Invalid JSON"),
        ({"TF_CONFIG": "[]"}, "can't be read"),
        (said({"worker": "10.0.0.1:4711"}), "can't be read: cluster.worker"),
        (said({"worker": TWO}), "no task"),
        (said({"worker": TWO}, {"type": "worker", "index": -1}), "can't be read: task.index"),
        (said({"worker": TWO}, {"type": "worker", "index": 2}), "worker 2, counted from 0, but names 2"),
        (said({"worker": TWO}, {"type": "chief", "index": 0}), "chief 0, counted from 0, but names 0"),
        (said({"worker": TWO}, {"type": "ps", "index": 0}), "can't be read: task.type"),
        (said({"worker": [TWO[0], TWO[0]]}, {"type": "worker", "index": 0}), "names a worker twice"),
        *(
            (said({"worker": [TWO[0], wrong]}, {"type": "worker", "index": 0}), "which is no host:port")
            for wrong in ("10.0.0.2", ":4711", "10.0.0.2:", "10.0.0.2:0", "10.0.0.2:65536", "10.0.0.2:x", "h:²")
        ),
    ],
)
def test_a_tf_config_that_can_not_be_is_refused(environment, why):
    with pytest.raises(UsageError, match=re.escape(why)) as caught:
        Cluster.of(environment)
    assert "10.0.0.1:4711" in caught.value.hint


@given(count=st.integers(1, 500), size=st.integers(1, 40))
def test_the_parts_of_all_workers_are_the_batch_and_each_sample_counts_the_same(count, size):
    counted = np.zeros(count)
    lengths = []
    for index in range(size):
        part, share = part_of(count, size, index)
        length = len(range(count)[part])
        counted[part] += share / length
        lengths.append(length)
    np.testing.assert_allclose(counted, 1 / count)
    assert min(lengths) >= min(2, count)
    assert max(lengths) - min(lengths) <= 1
    assert sum(lengths) == count or set(lengths) == {count}


def free_ports():
    """Two ports that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def start(tmp_path):
    """Starts a Python program as a worker: (index, ports, arguments, time limit) -> process. None outlives the test."""
    running = []

    def started(index, ports, *arguments, timeout_s=240):
        folder = tmp_path / f"worker{index}"
        folder.mkdir(exist_ok=True)
        workers = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        environment = said(workers, {"type": "worker", "index": index}, TINSMITH_WORKERS_TIMEOUT_S=str(timeout_s))
        run = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(run)
        return run

    yield started
    for run in running:
        run.kill()
        run.communicate()


TRAINED_TWICE = [
    {"kind": "distill", "width": 0.75, "epochs": 1, "learning_rate": 0.003, "augment": ["flip"], "teacher_weight": 1},
    {"kind": "magnitude", "sparsity": 0.5, "epochs": 1, "learning_rate": 0.003},
]


@pytest.fixture
def command(studio, tmp_path):
    """The command line that trains twice, into x.tflite of the folder it runs in."""
    (tmp_path / "recipe.yaml").write_text(json.dumps({"version": 1, "target": "tflite", "steps": TRAINED_TWICE}))
    model, data = str(studio / "whole.keras"), str(studio / "train.npz")
    return ["-m", "tinsmith", "compress", model, "-r", str(tmp_path / "recipe.yaml"), "--data", data, "-o", "x.tflite"]


@pytest.mark.tensorflow
def test_two_workers_make_the_same_bytes_about_as_good_as_those_of_one(studio, command, start, tmp_path):
    ports = free_ports()
    for run in [start(index, ports, *command) for index in range(2)]:
        _, complaint = run.communicate(timeout=300)
        assert run.returncode == 0, complaint
    compress(
        studio / "whole.keras",
        load_recipe(str(tmp_path / "recipe.yaml")),
        tmp_path / "alone.tflite",
        data=studio / "train.npz",
    )
    first, second, alone = (tmp_path / name for name in ("worker0/x.tflite", "worker1/x.tflite", "alone.tflite"))
    assert first.read_bytes() == second.read_bytes()
    # batch norm has seen parts of batches, so that it is another model, if hardly a worse one
    assert first.read_bytes() != alone.read_bytes()
    together, by_itself = (found.accuracy for found in evaluate_models((first, alone), studio / "test.npz"))
    assert by_itself > 0.85
    assert together == pytest.approx(by_itself, abs=0.05)


@pytest.mark.tensorflow
def test_a_worker_that_waits_in_vain_says_for_whom(command, start):
    ports = free_ports()
    # the first worker is the one that leads TensorFlow's sums: either may be missing
    first, second = start(0, ports, "-c", MEETING, timeout_s=1), start(1, free_ports(), *command, timeout_s=1)
    _, complaint = first.communicate(timeout=300)
    assert f"DeviceError: the workers can't train together: worker 1 at 127.0.0.1:{ports[1]} can't be" in complaint
    _, complaint = second.communicate(timeout=300)
    assert second.returncode == 5
    complaint = " ".join(complaint.split())
    assert "worker 0 at 127.0.0.1:" in complaint
    assert "waited for 1 s" in complaint


@pytest.mark.tensorflow
def test_a_worker_whose_port_is_taken_says_so(start):
    with socket.create_server(("", 0)) as taken:
        ports = [taken.getsockname()[1], free_ports()[0]]
        run = start(0, ports, "-c", MEETING)
        _, complaint = run.communicate(timeout=300)
    assert f"HostError: worker 0 can't listen on port {ports[0]}" in complaint


MEETING = """
import json, os
import numpy as np
from tinsmith.compress.training.cluster import Cluster
from tinsmith.compress.training.workers import join
from tinsmith.runtime.errors import DeviceError, UsageError

cluster = Cluster.of()
workers = join(cluster)
import tensorflow as tf

index, found = cluster.index, {}
found["mean"] = workers.mean([0.25, 0.75][index])

weights = [tf.Variable([[1.0, 2.0]]), tf.Variable([7, index]), tf.Variable(4.0 * index)]
workers.level(weights)
found["level"] = [weight.numpy().tolist() for weight in weights]
assert found["level"].pop(1) == [7, index], "a variable of whole numbers stays as it is"

for name, run, epochs, factor in [("run", f"run {index}", 0, 1), ("epochs", "", index, 1), ("model", "", 0, 1 + index)]:
    try:
        workers.agree(run, epochs, [factor * weights[0]])
    except UsageError as error:
        found[name] = error.message
workers.agree("", 2, weights[:1])

slope, applied = tf.Variable(2.0), []
def gradients(feeds, labels):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((slope * feeds["x"] - labels) ** 2)
    return loss, [tape.gradient(loss, slope), None]
def apply(found):
    assert found[1] is None
    slope.assign_sub(0.01 * found[0])
learn = workers.learner(gradients, apply)
found["losses"] = [
    float(learn({"x": tf.range(1.0, count + 1)}, tf.ones([count]))) for count in (8, 7, 5, 3, 1, 8)
]
found["slope"] = float(slope)
print(json.dumps(found), flush=True)
if index == 1:
    os._exit(0)
try:
    workers.mean(1.0)
except DeviceError as error:
    print(error.message)
"""


def learned_by_one():
    """The same least squares in NumPy; gives losses and slope."""
    slope, losses = 2.0, []
    for count in (8, 7, 5, 3, 1, 8):
        x = np.arange(1.0, count + 1)
        losses.append(np.mean((slope * x - 1) ** 2))
        slope -= 0.01 * np.mean(2 * (slope * x - 1) * x)
    return losses, slope


@pytest.mark.tensorflow
def test_workers_agree_learn_as_one_would_and_notice_the_end_of_another(start):
    ports = free_ports()
    answers = []
    for run in [start(index, ports, "-c", MEETING) for index in range(2)]:
        answer, complaint = run.communicate(timeout=300)
        assert run.returncode == 0, complaint
        answers.append(answer.splitlines())
    (left, lost), (gone,) = answers
    assert left == gone
    found = json.loads(left)
    assert found["mean"] == 0.5
    assert found["level"][0] == [[1.0, 2.0]]
    assert found["level"][1] == 2.0
    assert "step, seed or samples" in found["run"]
    assert "how many epochs they have done (0, 1)" in found["epochs"]
    assert "their model" in found["model"]
    losses, slope = learned_by_one()
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-5)
    assert found["slope"] == pytest.approx(slope, rel=1e-5)
    assert "can't train together: worker 1 at 127.0.0.1" in lost
