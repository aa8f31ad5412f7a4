"""Recipes that train, end to end on a small Keras 3 model: what they promise is there in the artifact."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tinsmith.compress.compression import Training, compress
from tinsmith.compress.recipe import Recipe, load_recipe
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.runtime.errors import BudgetMissedError, DataError, RecipeError, UnsupportedOperatorError, UsageError

pytestmark = pytest.mark.tensorflow


def recipe(*steps, target="tflite"):
    return Recipe.model_validate({"version": 1, "target": target, "steps": steps})


def accuracy(*paths, data):
    return [found.accuracy for found in evaluate_models(paths, data)]


def test_batch_norm_statistics_are_found_again_without_labels(studio, pictures, tmp_path):
    images, _ = pictures(1500, 0)
    np.savez(tmp_path / "unlabelled.npz", x=images)
    output = tmp_path / "x.tflite"
    before = (studio / "stale.keras").read_bytes()
    made = compress(
        studio / "stale.keras", recipe({"kind": "bn-recalibrate"}), output, data=tmp_path / "unlabelled.npz"
    )
    stale, whole, again = accuracy(studio / "stale.keras", studio / "whole.keras", output, data=studio / "test.npz")
    assert stale < whole - 0.1
    assert again > whole - 0.03
    assert made.measured[0]["batch-norm layers"] == 2
    assert made.delivery.from_source.largest > 0.1
    assert made.delivery.proof.largest < 1e-4
    assert (studio / "stale.keras").read_bytes() == before
    assert not (tmp_path / "x.tflite.work").exists()


FOUR_STEPS = [
    {"kind": "channels", "macs": 0.5, "samples": 256},
    {"kind": "distill", "epochs": 2, "learning_rate": 0.003},
    {"kind": "quantize", "scheme": "int8"},
    {"kind": "slim"},
]


def test_four_steps_from_the_shell_and_from_python_give_the_same_bytes(studio, tmp_path):
    (tmp_path / "four.yaml").write_text(json.dumps({"version": 1, "target": "tflite", "steps": FOUR_STEPS}))
    data = str(studio / "train.npz")
    command = ["compress", str(studio / "whole.keras"), "-r", "four.yaml", "--data", data, "-o", "shell.tflite"]
    subprocess.run([sys.executable, "-m", "tinsmith", *command], check=True, cwd=tmp_path, capture_output=True)
    made = compress(
        studio / "whole.keras", load_recipe(str(tmp_path / "four.yaml")), tmp_path / "python.tflite", data=data
    )
    assert (tmp_path / "shell.tflite").read_bytes() == (tmp_path / "python.tflite").read_bytes()
    channels, distilled = made.measured[:2]
    assert channels["macs after"] <= 0.5 * channels["macs before"]
    assert channels["validation accuracy refitted"] >= channels["validation accuracy of copies"]
    whole, small = accuracy(studio / "whole.keras", tmp_path / "python.tflite", data=studio / "test.npz")
    assert small > whole - 0.1
    assert distilled["epochs"] == 2


def test_pruned_weights_are_zero_in_the_artifact_and_survive_rounding(studio, int8_constants, tmp_path):
    steps = [{"kind": "magnitude", "sparsity": 0.75, "epochs": 3}, {"kind": "quantize-aware", "epochs": 1}]
    made = compress(studio / "whole.keras", recipe(*steps), tmp_path / "x.tflite", data=studio / "train.npz")
    assert made.measured[0]["sparsity of pruned layers"] == pytest.approx(0.75, abs=0.01)
    assert made.measured[1]["kept"] == "zeros"
    assert made.measured[1]["stay float"] == "none"
    (precision,) = {use.precision for use in made.delivery.artifact.operators if use.name == "CONV_2D"}
    assert precision == "int8"
    kernels = [weights for weights in int8_constants(tmp_path / "x.tflite") if weights.ndim == 4]
    assert len(kernels) == 3
    assert all(np.mean(kernel == 0) >= 0.74 for kernel in kernels)
    whole, small = accuracy(studio / "whole.keras", tmp_path / "x.tflite", data=studio / "test.npz")
    assert small > whole - 0.1


def children(pid):
    """The processes that a process has started, by what they run."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found[entry.with_name("cmdline").read_bytes().decode()] = int(entry.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_training_process_that_is_killed_is_reported_and_one_without_parent_ends(studio, tmp_path):
    steps = [{"kind": "distill", "width": 0.5, "epochs": 500}]
    (tmp_path / "long.yaml").write_text(json.dumps({"version": 1, "target": "tflite", "steps": steps}))
    arguments = ["compress", str(studio / "whole.keras"), "-r", "long.yaml", "--data", str(studio / "train.npz")]
    command = [sys.executable, "-m", "tinsmith", *arguments, "-o", "x.tflite"]

    def training():
        """Start it, and wait until its first epoch is done."""
        shutil.rmtree(tmp_path / "x.tflite.work", ignore_errors=True)
        run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not (tmp_path / "x.tflite.work" / "1-distill.npz").exists() and run.poll() is None:
            time.sleep(0.01)
        (child,) = (pid for line, pid in children(run.pid).items() if "training.child" in line)
        return run, child

    run, child = training()
    os.kill(child, signal.SIGKILL)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 4
    assert "the process of distill died (SIGKILL)" in said
    assert "--resume" in said
    assert (tmp_path / "x.tflite.work" / "1-distill.npz").exists()
    assert not (tmp_path / "x.tflite").exists()

    run, child = training()
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize(
    ("steps", "data", "error", "match"),
    [
        ([{"kind": "channels", "macs": 0.001}], "train.npz", BudgetMissedError, "can't be reached"),
        ([{"kind": "distill"}], "train.npz", RecipeError, "nobody to learn from"),
        ([{"kind": "bn-recalibrate"}], None, DataError, "needs samples"),
        ([{"kind": "distill", "teacher": "other.keras"}], "train.npz", UsageError, "teacher takes"),
        ([{"kind": "distill", "width": 0.5, "teacher_weight": 0.5}], "wrong.npz", DataError, "label 7"),
        ([{"kind": "magnitude"}], "train.npz", UnsupportedOperatorError, "nothing to prune"),
    ],
)
def test_what_can_t_be_done_says_why_and_leaves_nothing(studio, pictures, tmp_path, steps, data, error, match):
    import keras

    source = studio / "whole.keras"
    if match == "teacher takes":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # as above
            keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]).save(
                "other.keras"
            )
    if match == "nothing to prune":
        source = tmp_path / "weightless.keras"
        keras.Sequential([keras.Input((12, 12, 1)), keras.layers.Flatten(), keras.layers.Softmax()]).save(source)
    images, labels = pictures(300, 3)
    np.savez(tmp_path / "wrong.npz", x=images, y=np.where(labels == 3, 7, labels))
    given = {"train.npz": studio / "train.npz", "wrong.npz": tmp_path / "wrong.npz", None: None}[data]
    with pytest.raises(error, match=match) as caught:
        compress(source, recipe(*steps), tmp_path / "x.tflite", data=given, training=Training())
    assert caught.value.hint
    assert not list(tmp_path.glob("x.tflite*"))
