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
from tinsmith.convert.slimming import slim_file
from tinsmith.convert.slimming.proof import SEEDED_SAMPLES, prove_identical
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
    # here and not in a test of its own, which would train once more
    (tmp_path / "slim.tflite").write_bytes(slim_file(tmp_path / "x.tflite").content)
    assert prove_identical(tmp_path / "x.tflite", tmp_path / "slim.tflite", dataset=None, seed=0) == SEEDED_SAMPLES


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


TRAINED_TWICE = [
    {"kind": "channels", "ratio": 0.3, "samples": 64},
    {"kind": "distill", "epochs": 1},
    {"kind": "channels", "ratio": 0.3, "samples": 64},
    {"kind": "distill", "epochs": 1},
]


def test_two_trainings_of_one_kind_keep_apart(studio, tmp_path):
    made = compress(studio / "whole.keras", recipe(*TRAINED_TWICE), tmp_path / "x.tflite", data=studio / "train.npz")
    assert [measured.get("epochs") for measured in made.measured] == [None, 1, None, 1, None]
    assert made.measured[2]["parameters before"] == made.measured[0]["parameters after"]


def text_model():
    from tinsmith.convert.frameworks import require
    from tinsmith.convert.trained import from_keras

    keras = require("tf_keras", needed_for="the tests")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    source = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8, name="embedding")(source)
    x = layers.LSTM(6, return_sequences=True, name="lstm")(x)
    x = layers.Reshape((6, 6, 1))(x)
    x = layers.SeparableConv2D(16, 3, depth_multiplier=4, name="separable")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Dense(8, name="small")(layers.GlobalMaxPooling2D()(x))
    return from_keras(keras.Model(source, layers.Dense(3, activation="softmax", name="answer")(x)), "tf_keras")


def in_the_shop(step, model, data, **told):
    """What a pass makes of a model, in this process."""
    from pydantic import TypeAdapter

    from tinsmith.compress.passes.table import pass_of
    from tinsmith.compress.recipe import RecipeStep
    from tinsmith.compress.training.task import Task
    from tinsmith.compress.training.watching import Watchers
    from tinsmith.compress.training.workshop import Workshop
    from tinsmith.convert.trained import from_keras

    typed = TypeAdapter(RecipeStep).validate_python(step)
    task = Task(
        step=step, target="onnx", source=("", "keras"), output="x", data=str(data), teacher=None, seed=0,
        allow_unsafe=False, checkpoint=None, **told,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as above
        done = pass_of(typed, "onnx").transform(model, Workshop(task, model.inputs, Watchers([])))
    return from_keras(done.model, "tf_keras"), done.measured


def matrices(model):
    """By layer and place: tfmot gives some weights other names when it takes its wrappers off."""
    layers = model.native.layers
    found = {f"{layer.name}/{at}": w.numpy() for layer in layers for at, w in enumerate(layer.weights)}
    return {name: array for name, array in found.items() if array.ndim > 1}


def test_what_tfmot_treats_is_asked_of_it_and_zeros_and_values_stay_through_all_steps(tmp_path):
    data = tmp_path / "d.npz"
    np.savez(data, x=np.random.default_rng(0).integers(0, 20, (32, 6)).astype("i4"), y=np.arange(32) % 3)
    few = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "teacher_weight": 0}
    pruned, found = in_the_shop({"kind": "magnitude", "sparsity": 0.15, "start": 0.1, **few}, text_model(), data)
    assert found["layers pruned"] == 5
    assert "DepthwiseConv2D" in found["left dense"]
    zeros = {name: array == 0 for name, array in matrices(pruned).items()}
    dense = {name for name, where in zeros.items() if not where.any()}
    assert {name.split("/")[0] for name in dense} == {"separable", "depthwise"}
    assert all(0.13 < where.mean() < 0.17 for name, where in zeros.items() if name not in dense)

    shared, found = in_the_shop(
        {"kind": "clusters", "clusters": 4, "skip": ["small"], **few}, pruned, data, made=("sparse",)
    )
    assert found["layers clustered"] == 4
    assert found["values a layer"] == 4
    assert "small: skipped" in found["left alone"]
    for name, array in matrices(shared).items():
        assert (array[zeros[name]] == 0).all()
        assert name in dense or name.startswith("small") or len(np.unique(array)) <= 4

    before = matrices(shared)
    rounded, found = in_the_shop({"kind": "quantize-aware", **few}, shared, data, made=("clustered", "sparse"))
    assert found["kept"] == "zeros and shared values"
    for name, array in matrices(rounded).items():
        assert (array[zeros[name]] == 0).all()
        if name.startswith(("embedding", "lstm")):
            np.testing.assert_array_equal(array, before[name])


def test_layers_that_can_t_take_a_pattern_are_pruned_one_by_one():
    from tinsmith.compress.passes.magnitude import MagnitudeStep
    from tinsmith.compress.training.sparsity import Pruning

    pattern = Pruning.of(text_model(), MagnitudeStep(pattern=(2, 4)), steps=1)
    # the recurrent kernel has 6 rows
    assert pattern.unpatterned == ("lstm",)
    block = Pruning.of(text_model(), MagnitudeStep(block=(2, 2)), steps=1)
    assert block.unpatterned == ("separable",)
    blocks = {
        layer.layer.name: layer.block_size for layer in block.wrapped.native.layers if hasattr(layer, "block_size")
    }
    assert tuple(blocks.pop("separable")) == (1, 1)
    assert {tuple(size) for size in blocks.values()} == {(2, 2)}
    spread = Pruning.of(text_model(), MagnitudeStep(allocation="erk"), steps=1)
    sizes = {
        name: sum(
            w.size for key, w in matrices(spread.stripped()).items() if key.startswith(name) and key != "separable/0"
        )
        for name in spread.sparsities
    }
    kept = sum(spread.sparsities[name] * size for name, size in sizes.items())
    assert kept == pytest.approx(0.5 * sum(sizes.values()))


def test_a_model_with_two_outputs_needs_no_score_where_nobody_asked_for_one(tmp_path):
    from tinsmith.convert.frameworks import require
    from tinsmith.convert.trained import from_keras

    keras = require("tf_keras", needed_for="the tests")
    layers, source = keras.layers, keras.Input((4,))
    x = layers.BatchNormalization()(layers.Dense(16, activation="relu")(source))
    model = from_keras(keras.Model(source, [layers.Dense(3)(x), layers.Dense(2)(x)]), "tf_keras")
    data = tmp_path / "d.npz"
    np.savez(data, x=np.random.default_rng(0).normal(size=(40, 4)).astype("f4"), y=np.arange(40) % 3)
    small, found = in_the_shop({"kind": "channels", "ratio": 0.5, "samples": 32}, model, data)
    assert found["parameters after"] < found["parameters before"]
    _, found = in_the_shop({"kind": "bn-recalibrate"}, small, data)
    assert found == {"batch-norm layers": 1}
    with pytest.raises(DataError, match="one output"):
        in_the_shop({"kind": "bn-recalibrate"}, small, data, metric="accuracy")


def test_channels_that_stay_come_in_multiples_where_asked_and_the_report_says_how_many(tmp_path):
    from tinsmith.convert.frameworks import require
    from tinsmith.convert.trained import from_keras

    keras = require("tf_keras", needed_for="the tests")
    layers, source = keras.layers, keras.Input((4,))
    x = layers.Dense(20, activation="relu", name="wide")(layers.Dense(16, activation="relu", name="first")(source))
    model = from_keras(keras.Model(source, layers.Dense(3)(x)), "tf_keras")
    data = tmp_path / "d.npz"
    np.savez(data, x=np.random.default_rng(0).normal(size=(40, 4)).astype("f4"))
    step = {"kind": "channels", "samples": 32, "multiple": 8}
    for goal in ({"ratio": 0.3}, {"macs": 0.5}, {"macs": 0.5, "allocation": "sensitivity"}):
        small, found = in_the_shop(step | goal, model, data)
        first, wide = (small.native.get_layer(name).units for name in ("first", "wide"))
        assert found["widths"] == f"first: {first} of 16; wide: {wide} of 20"
        assert (first, wide) in {(8, 16), (8, 8), (16, 8)}
        assert found["macs after"] <= 0.5 * found["macs before"]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_some_source_of_chance_does_not_take_is_refused_before_anything_runs(studio, tmp_path, seed):
    with pytest.raises(UsageError, match=f"seed {seed} is not between 0 and 4294967295"):
        compress(studio / "whole.keras", recipe(*FOUR_STEPS), tmp_path / "x.tflite", seed=seed)
    ran = subprocess.run(
        [sys.executable, "-m", "tinsmith", "compress", "m.keras", "-r", "int8", "-o", "x.tflite", "--seed", str(seed)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "4294967295" in ran.stderr
