"""Fine-tuning: what is frozen stays, new heads learn, numbers are predicted, and nothing fits by accident."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tinsmith.__main__ import run
from tinsmith.compress.bench import Bench
from tinsmith.compress.compression import compress
from tinsmith.compress.passes.finetune import Finetune, FinetuneStep
from tinsmith.compress.recipe import Recipe
from tinsmith.compress.train import TrainJob, plan_training, step_of, train
from tinsmith.compress.training.building import model_of
from tinsmith.compress.training.checkpoint import Checkpoint, Standing
from tinsmith.compress.training.watching import Watchers
from tinsmith.convert.data import open_dataset
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.convert.model import Model
from tinsmith.runtime.errors import DataError, OutputError, RecipeError, UsageError

NETWORK = """
import keras
from keras import layers

def network():
    return keras.Sequential([
        keras.Input((12, 12, 1), name="picture"), layers.Rescaling(1 / 255),
        layers.Conv2D(12, 3, use_bias=False, name="bars"), layers.BatchNormalization(momentum=0.9), layers.ReLU(),
        layers.GlobalMaxPooling2D(), layers.Dropout(0.1), layers.Dense(4, activation="softmax", name="kind"),
    ])

class Doubled(layers.Layer):
    def call(self, x):
        return x * 2

def odd():
    return keras.Sequential([keras.Input((12, 12, 1)), Doubled(), layers.Flatten(), layers.Dense(4)])

def asks(classes):
    return network()

def fails():
    raise ValueError("no luck")

def number():
    return 3

def unbuilt():
    return keras.Sequential([layers.Dense(4)])
"""


@pytest.fixture
def mine(tmp_path):
    """A module of the user in the present folder."""
    (tmp_path / "mine.py").write_text(NETWORK)


@pytest.fixture(scope="session")
def carried_out(tmp_path_factory):
    return _carried_out


def _carried_out(source, data, *, metric="accuracy", teacher=None, **settings):
    """Fine-tune in this process: gives the model as it was, as it became, and what was measured."""
    from tinsmith.compress.training.task import Task
    from tinsmith.compress.training.trainable import load_trainable
    from tinsmith.compress.training.workshop import Workshop
    from tinsmith.convert.frameworks import require
    from tinsmith.convert.model import identify

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy 2 warns about how Keras hands out numbers
        step = FinetuneStep(**settings)
        task = Task(
            step=step.document(), target="tflite", source=(str(source), "keras"), output="x", data=str(data),
            teacher=teacher and (str(teacher), "keras"), seed=0, allow_unsafe=False, checkpoint=None, metric=metric,
        )  # fmt: skip
        require("tf_keras", needed_for="the tests").utils.set_random_seed(0)
        before, model = load_trainable(identify(source)), load_trainable(identify(source))
        done = Finetune(step, target="tflite").transform(model, Workshop(task, model.inputs, Watchers([])))
        return before.native, done.model, done.measured


def weights(model, *layers):
    return [array for layer in layers for array in model.get_layer(layer).get_weights()]


def norms(model):
    return [layer.name for layer in model.layers if "BatchNormalization" in type(layer).__name__]


@pytest.mark.tensorflow
def test_what_is_frozen_keeps_every_bit_with_its_statistics_and_is_free_afterwards(studio, carried_out):
    before, after, measured = carried_out(
        studio / "stale.keras", studio / "train.npz", epochs=1, freeze=["one", "two", "batch*"]
    )
    frozen = ["one", "two", *norms(before)]
    assert len(frozen) == 4
    for old, new in zip(weights(before, *frozen), weights(after, *frozen), strict=True):
        np.testing.assert_array_equal(old, new)
    for name in ("three", "kind"):
        assert not np.array_equal(weights(before, name)[0], weights(after, name)[0])
    assert all(layer.trainable for layer in after.layers)
    assert measured["weights frozen"] == sum(array.size for array in weights(before, *frozen))
    assert measured["weights frozen"] + measured["weights trained"] == before.count_params()


@pytest.mark.tensorflow
def test_unfrozen_statistics_are_measured_again(studio, carried_out):
    before, after, _ = carried_out(studio / "stale.keras", studio / "train.npz", epochs=0, freeze=1)
    for name in norms(before):
        assert not np.array_equal(weights(before, name)[2], weights(after, name)[2])


@pytest.mark.tensorflow
def test_a_new_head_learns_new_classes_on_a_frozen_backbone(studio, pictures, carried_out, tmp_path):
    images, labels = pictures(900, 5)
    np.savez(tmp_path / "six.npz", x=images, y=5 - labels)
    before, after, measured = carried_out(
        studio / "whole.keras", tmp_path / "six.npz",
        epochs=8, learning_rate=0.02, freeze="backbone", classes=6, dropout=0.1,
    )  # fmt: skip
    assert after.output_shape == (None, 6)
    assert after.layers[-1].name == "kind"
    assert after.layers[-2].rate == pytest.approx(0.1)
    for old, new in zip(weights(before, "one", "three"), weights(after, "one", "three"), strict=True):
        np.testing.assert_array_equal(old, new)
    assert measured["validation accuracy"] > 0.75


@pytest.mark.tensorflow
def test_heads_of_many_forms_are_made_anew_and_others_refused():
    from tinsmith.compress.structure.head import with_new_head
    from tinsmith.convert.frameworks import require
    from tinsmith.convert.trained import from_keras
    from tinsmith.runtime.errors import UnsupportedOperatorError

    for framework in ("keras", "tf_keras"):
        keras = require(framework, needed_for="the tests")
        layers = keras.layers
        inner = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(5, 3), layers.Flatten(), layers.Dense(4)])
        forms = [
            [layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(4), layers.Softmax()],
            [layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid")],
            [layers.Conv2D(4, 1), layers.GlobalAveragePooling2D(), layers.Activation("softmax")],
            [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(4, 1), layers.Reshape((4,))],
            [inner, layers.Softmax()],
        ]
        ends = ["softmax", "softmax", "softmax", "linear", "softmax"]
        for form, end in zip(forms, ends, strict=True):
            model = keras.Sequential([keras.Input((8, 8, 3)), *form])
            changed = with_new_head(from_keras(model, framework), 7, dropout=0.5)
            assert changed.outputs[0].shape == (None, 7)
            answers = next(iter(changed.run({changed.inputs[0].name: np.ones((2, 8, 8, 3), "f4")}).values()))
            assert (abs(answers.sum(axis=1) - 1).max() < 1e-5) == (end == "softmax")
        merged = keras.Input((3,))
        both = keras.Model(merged, layers.Add()([layers.Dense(4)(merged), layers.Dense(4)(merged)]))
        with pytest.raises(UnsupportedOperatorError, match="no single layer"):
            with_new_head(from_keras(both, framework), 7)
        normed = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.LayerNormalization()])
        with pytest.raises(UnsupportedOperatorError, match="no classifier"):
            with_new_head(from_keras(normed, framework), 7)


@pytest.fixture(scope="session")
def numbers(tmp_path_factory, pictures):
    """A folder with models that answer numbers and truth values, and samples for them."""
    from tinsmith.convert.frameworks import require

    keras = require("tf_keras", needed_for="the tests")
    folder = tmp_path_factory.mktemp("numbers")
    images, labels = pictures(600, 7)
    rows = images[..., 0].astype("f4") / 255
    truths = np.stack([labels < 2, labels % 2 == 0, rows.mean((1, 2)) > 0.3], axis=1)
    np.savez(folder / "truths.npz", x=images, y=truths.astype("f4"))
    np.savez(folder / "values.npz", x=images, y=np.stack([rows.mean((1, 2)), rows.std((1, 2))], axis=1) * 10 - 3)
    np.savez(folder / "classes.npz", x=images, y=labels)
    for name, count, activation in (("values", 2, None), ("truths", 3, "sigmoid"), ("classes", 4, "softmax")):
        keras.utils.set_random_seed(0)
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((12, 12, 1), name="picture"),
                layers.Rescaling(1 / 255),
                layers.Flatten(),
                layers.Dense(16, activation="relu"),
                layers.Dense(count, activation=activation),
            ]
        )
        model.save(folder / f"{name}.keras")
    return folder


@pytest.mark.tensorflow
@pytest.mark.parametrize(("what", "metric", "better"), [("values", "mae", -1), ("truths", "map", 1)])
def test_numbers_and_several_truths_a_sample_are_learned(numbers, carried_out, what, metric, better):
    scores = [
        carried_out(
            numbers / f"{what}.keras", numbers / f"{what}.npz", metric=metric, epochs=epochs, learning_rate=0.01
        )[2][f"validation {metric}"]
        for epochs in (0, 12)
    ]
    assert better * (scores[1] - scores[0]) > 0.15


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("model", "data", "match"),
    [
        ("values", "truths", "3 numbers a sample, but the model gives 2"),
        ("values", "classes", "1 number a sample, but the model gives 2|the label 3, but the model knows 2"),
        ("truths", "values", "2 numbers a sample, but the model gives 3"),
        ("truths", "classes", "the label 3, but the model knows 3 classes"),
        ("classes", "values", "softmax names one class"),
    ],
)
def test_samples_that_the_model_has_no_answer_for_are_refused(numbers, carried_out, model, data, match):
    with pytest.raises(DataError, match=match) as caught:
        carried_out(numbers / f"{model}.keras", numbers / f"{data}.npz", epochs=1)
    assert caught.value.hint


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("freeze", "match"),
    [("conv*", "no layer with weights is named 'conv"), (6, "has 6 layers"), (["*"], "every weight")],
)
def test_a_freeze_that_fits_nothing_is_refused(studio, carried_out, freeze, match):
    with pytest.raises(UsageError, match=match) as caught:
        carried_out(studio / "whole.keras", studio / "train.npz", epochs=1, freeze=freeze)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"freeze": True}, "freeze"),
        ({"classes": 1}, "classes"),
        ({"dropout": 0.5}, "give classes"),
        ({"learning_rat": 1}, "learning_rat"),
    ],
)
def test_settings_that_make_no_sense_are_refused_without_a_framework(settings, match):
    with pytest.raises(UsageError, match=match):
        step_of(settings)


def test_a_step_reads_every_way_to_freeze_and_gives_it_back():
    for freeze in ("backbone", 3, -1, 0, ("conv1", "block_*"), None):
        step = FinetuneStep(freeze=freeze)
        assert FinetuneStep.model_validate(step.document()).freeze == freeze


def recipe(*steps):
    return Recipe.model_validate({"version": 1, "target": "tflite", "steps": steps})


@pytest.mark.tensorflow
def test_a_recipe_makes_an_artifact_with_new_classes(studio, pictures, tmp_path):
    images, labels = pictures(400, 5)
    np.savez(tmp_path / "two.npz", x=images, y=labels % 2)
    steps = [{"kind": "finetune", "classes": 2, "freeze": "backbone", "epochs": 6, "learning_rate": 0.02}]
    made = compress(studio / "whole.keras", recipe(*steps), tmp_path / "x.tflite", data=tmp_path / "two.npz")
    assert made.delivery.artifact.outputs[0].shape[-1] == 2
    assert made.delivery.from_source is None
    (found,) = evaluate_models([tmp_path / "x.tflite"], tmp_path / "two.npz")
    assert found.accuracy > 0.75


def test_a_teacher_that_is_not_there_is_refused_before_anything_runs(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 12, 12, 1), "f4"), y=np.arange(4))
    bench = Bench(folder=tmp_path, dataset=open_dataset("x.npz", None), seed=0, data="x.npz")
    model = Model(path=tmp_path / "x.keras", format="keras")
    with pytest.raises(RecipeError, match="no teacher"):
        Finetune(FinetuneStep(teacher_weight=0.5), target="tflite").apply(model, bench)


@pytest.mark.tensorflow
def test_a_teacher_of_other_classes_is_refused_only_where_somebody_listens(studio, carried_out):
    settings = {"epochs": 0, "classes": 6, "teacher": studio / "whole.keras"}
    with pytest.raises(UsageError, match=r"the teacher answers \[\[4\]\], but the model \[\[6\]\]") as caught:
        carried_out(studio / "whole.keras", studio / "train.npz", teacher_weight=0.5, **settings)
    assert "teacher_weight: 0" in caught.value.hint
    assert carried_out(studio / "whole.keras", studio / "train.npz", **settings)[1].output_shape == (None, 6)


@pytest.mark.tensorflow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_training_whose_process_was_killed_goes_on_to_the_same_bytes(studio, mine, tmp_path):
    def command(output, *more):
        settings = ["--epochs", "5", "--augment", "flip", "--patience", "9"]
        given = ["mine:network", "--data", str(studio / "train.npz"), "-o", output, *settings, *more]
        return [sys.executable, "-m", "tinsmith", "train", *given]

    straight = subprocess.Popen(command("straight.keras"), cwd=tmp_path, stderr=subprocess.PIPE)
    killed = subprocess.Popen(command("killed.keras"), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "killed.keras.work" / "1-finetune.npz"
    while not checkpoint.exists() and killed.poll() is None:
        time.sleep(0.005)
    os.kill(child_of(killed.pid), signal.SIGKILL)
    said = killed.communicate()[1]
    assert killed.returncode == 4
    assert "the process of finetune died (SIGKILL)" in said
    assert "--resume" in said
    assert checkpoint.exists()
    assert not (tmp_path / "killed.keras").exists()
    subprocess.run(command("killed.keras", "--resume"), check=True, cwd=tmp_path, capture_output=True)
    assert straight.wait() == 0
    straight.stderr.close()
    assert (tmp_path / "killed.keras").read_bytes() == (tmp_path / "straight.keras").read_bytes()
    assert not checkpoint.parent.exists()


def child_of(pid):
    """The process that trains."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid and b"training.child" in (entry / "cmdline").read_bytes():
                return int(entry.name)
    raise AssertionError("it does not train")


@pytest.mark.tensorflow
def test_a_plan_builds_the_model_and_trains_nothing(studio, mine, tmp_path):
    job = TrainJob(source="mine:network", data=studio / "train.npz", output=tmp_path / "x.keras")
    plan = plan_training(job, tmp_path)
    assert (plan.built.framework, plan.built.inputs[0].name, len(plan.dataset)) == ("keras", "picture", 1500)
    assert plan.to_json()["settings"]["epochs"] == 10
    assert not job.output.exists()


@pytest.mark.tensorflow
def test_a_layer_of_ones_own_is_named_and_leaves_nothing(studio, mine, tmp_path, capsys):
    before = {path.name for path in tmp_path.iterdir()}
    assert run(["train", "mine:odd", "--data", str(studio / "train.npz"), "-o", "x.keras"]) == 4
    said = capsys.readouterr().err
    assert "mine.Doubled" in said
    assert "hint:" in said
    assert {path.name for path in tmp_path.iterdir()} - before <= {"__pycache__"}


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("function", "match"),
    [
        ("mine:asks", "needs arguments"),
        ("mine:fails", "ValueError: no luck"),
        ("mine:number", "gave int"),
        ("mine:unbuilt", "no Input layer"),
        ("mine:missing", "no function 'missing'"),
        ("nowhere:network", "can't be imported"),
    ],
)
def test_a_function_that_builds_no_model_says_why(mine, function, match):
    with pytest.raises(UsageError, match=match) as caught:
        model_of(function)
    assert caught.value.hint


def test_an_output_that_is_no_keras_file_or_the_source_is_refused_before_anything_runs(mine, tmp_path):
    (tmp_path / "here.keras").write_bytes(b"")
    for source, output, match in (
        ("mine:network", "x.tflite", "no .keras file"),
        ("here.keras", "here.keras", "would change the source"),
        ("mine:network", "nowhere/x.keras", "cannot write"),
    ):
        with pytest.raises((UsageError, OutputError), match=match):
            train(TrainJob(source=source, data="no.npz", output=Path(output)))


def test_a_checkpoint_that_finds_the_disk_full_leaves_the_last_one(small_disk):
    path = small_disk / "finetune.npz"
    checkpoint = Checkpoint(path, "run")
    small = Standing(variables=[np.ones(1000, "f4")], optimizer=[], training="a", best=None, average=None, history=())
    checkpoint.save(small)
    before = path.read_bytes()
    for size in (4_000, 8_000, 100_000):
        large = Standing(
            variables=[np.ones(1000, "f4")],
            optimizer=[np.ones(size, "f4")],
            training="a",
            best=None,
            average=None,
            history=(),
        )
        with pytest.raises(OutputError, match="No space left"):
            checkpoint.save(large)
        assert path.read_bytes() == before
        assert [p.name for p in small_disk.iterdir()] == ["finetune.npz"]
    assert checkpoint.load().variables[0].shape == (1000,)


@pytest.mark.tensorflow
def test_a_model_that_finds_the_disk_full_leaves_nothing(numbers, small_disk):
    from tinsmith.compress.training.trainable import load_trainable, save_trainable
    from tinsmith.convert.model import identify

    model = load_trainable(identify(numbers / "values.keras")).native
    with pytest.raises(OutputError, match="No space left") as caught:
        save_trainable(model, small_disk / "x.keras")
    assert caught.value.exit_code == 3
    assert list(small_disk.iterdir()) == []
