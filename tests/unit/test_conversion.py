"""Whatever is converted answers as its source did, under the same names, with the batch axis that was asked for."""

import numpy as np
import pytest

from tinsmith.convert.comparison import Samples, compare_predictors, seeded_feeds
from tinsmith.convert.conversion import convert, convert_model
from tinsmith.convert.formats import FORMATS, markdown_table
from tinsmith.convert.inspection import operator_precisions
from tinsmith.convert.loading import load_trained
from tinsmith.convert.model import identify
from tinsmith.convert.predictors import SandboxedArtifact, run_samples
from tinsmith.runtime.errors import HostError, UnsupportedOperatorError, UsageError

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def convolutional(k):
    layers = [k.layers.Conv2D(4, 3, use_bias=False), k.layers.BatchNormalization(), k.layers.ReLU(), k.layers.Flatten()]
    return k.Sequential([k.Input((8, 8, 2), name="image"), *layers, k.layers.Dense(3, activation="softmax")])


def two_ways(k):
    a, b = k.Input((4,), name="left"), k.Input((3,), name="right")
    joined = k.layers.Concatenate()([b, a])
    return k.Model([a, b], [k.layers.Dense(2, name="z")(joined), k.layers.Dense(3, name="c")(joined)])


def shared(k):
    a, b = k.Input((4,), name="left"), k.Input((4,), name="right")
    both = k.layers.Dense(3, activation="relu")
    inner = k.Sequential([k.Input((3,)), k.layers.Dense(2)], name="inner")
    return k.Model([a, b], k.layers.Add(name="sum")([inner(both(a)), inner(both(b))]))


def recurrent(k):
    steps = k.Input((6, 3), name="steps")
    return k.Model(steps, k.layers.Dense(2, name="y")(k.layers.Bidirectional(k.layers.GRU(4))(steps)))


def attentive(k):
    tokens = k.Input((5,), dtype="int32", name="tokens")
    x = k.layers.Embedding(20, 8)(tokens)
    x = k.layers.LayerNormalization()(x + k.layers.MultiHeadAttention(2, 4)(x, x))
    return k.Model(tokens, k.layers.Dense(2, name="mood")(k.layers.GlobalAveragePooling1D()(x)))


def passing(k):
    x = k.Input((3,), name="x")
    return k.Model(x, [x, k.layers.Dense(2, name="y")(x)])


MODELS = {f.__name__: f for f in (convolutional, two_ways, shared, recurrent, attentive, passing)}


# A batch axis is free or fixed; two models are fixed at 1 as well, a length that broadcasts.
BATCHES = [(name, batch) for name in MODELS for batch in (None, 4) if (name, batch) != ("recurrent", None)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each model saved once, with what loads it."""
    import keras

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models")
    saved = {}
    for name, build in MODELS.items():
        build(keras).save(folder / f"{name}.keras")
        saved[name] = identify(folder / f"{name}.keras")
    return saved


@pytest.fixture(scope="module")
def sources(models):
    return {name: load_trained(model) for name, model in models.items()}


@pytest.mark.parametrize(
    ("name", "target", "batch"),
    [
        *[(name, target, batch) for target in ("tflite", "onnx") for name, batch in BATCHES],
        ("recurrent", "onnx", None),  # TFLite has no such thing; the next test holds the error
        ("recurrent", "tflite", 1),
        ("convolutional", "onnx", 1),
    ],
)
def test_a_converted_model_answers_as_its_source(models, sources, tmp_path, name, target, batch):
    source, output = sources[name], tmp_path / f"m.{target}"

    convert_model(models[name], target, output, batch=batch)

    samples = Samples(feeds=seeded_feeds(source.inputs, samples=7, seed=0), origin="a test")
    with SandboxedArtifact(output) as artifact:
        found, _ = compare_predictors(source, artifact, samples)
        assert {s.name for s in artifact.inputs} == {s.name for s in source.inputs}
        assert {s.batch for s in artifact.inputs} == {batch}
    assert max(d.relative for d in found.differences) < 1e-5


def test_a_recurrent_layer_with_a_free_batch_says_how_to_fix_it(models, tmp_path):
    with pytest.raises(UnsupportedOperatorError, match="recurrent") as caught:
        convert_model(models["recurrent"], "tflite", tmp_path / "m.tflite")

    assert "--batch 1" in caught.value.hint


def test_weights_become_constants_and_batch_norm_is_folded(models, tmp_path):
    convert_model(models["convolutional"], "tflite", tmp_path / "m.tflite")

    free_batch = {"SHAPE", "PACK", "STRIDED_SLICE"}
    names = {use.name for use in operator_precisions(tmp_path / "m.tflite")}
    assert names - free_batch == {"CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"}


def test_an_operator_without_a_builtin_is_named(tmp_path):
    import tensorflow as tf

    spec = tf.TensorSpec([None, 3], tf.float32, name="x")
    function = tf.function(lambda x: {"y": tf.math.betainc(x, x, x)}, input_signature=[spec])
    signatures = {"serving_default": function.get_concrete_function()}
    tf.saved_model.save(tf.Module(), str(tmp_path / "m"), signatures=signatures)

    with pytest.raises(UnsupportedOperatorError, match="Betainc"):
        convert_model(identify(tmp_path / "m"), "tflite", tmp_path / "m.tflite")


def test_a_savedmodel_gives_the_same_bytes_however_long_the_process_has_lived(tmp_path):
    """The weights that its functions capture are named after a number that TensorFlow counts up."""
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(tf.random.stateless_normal([3, 4], [0, 1]))
    spec = tf.TensorSpec([None, 3], tf.float32, name="x")
    function = tf.function(lambda x: {"y": tf.nn.relu(x @ module.weight)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": function.get_concrete_function()})

    for name in ("a", "b"):
        convert_model(identify(tmp_path / "m"), "tflite", tmp_path / f"{name}.tflite")

    assert (tmp_path / "a.tflite").read_bytes() == (tmp_path / "b.tflite").read_bytes()


@pytest.mark.parametrize(("name", "limit"), [("cnn.tflite", 1e-6), ("cnn_int8.tflite", 1.01 / 256)])
def test_tflite_becomes_onnx_float_or_quantized(golden, tmp_path, name, limit):
    convert_model(identify(golden / name), "onnx", tmp_path / "m.onnx")

    with SandboxedArtifact(golden / name) as before, SandboxedArtifact(tmp_path / "m.onnx") as after:
        feeds = {"image": np.random.default_rng(0).random((6, 8, 8, 1)).astype(np.float32)}
        assert [s.name for s in after.inputs] == ["image"]
        assert [s.dtype for s in (*after.inputs, *after.outputs)] == ["float32", "float32"]
        np.testing.assert_allclose(run_samples(after, feeds)[0], run_samples(before, feeds)[0], atol=limit)


def test_the_same_conversion_gives_the_same_bytes(models, tmp_path):
    for target in ("tflite", "onnx"):
        for name in ("a", "b"):
            convert_model(models["convolutional"], target, tmp_path / f"{name}.{target}")

        assert (tmp_path / f"a.{target}").read_bytes() == (tmp_path / f"b.{target}").read_bytes()


def test_half_precision_is_proven_within_its_tolerance(models, tmp_path):
    made = convert(models["convolutional"].path, tmp_path / "m.tflite", precision="float16", batch=2)

    assert "float16" in {use.precision for use in made.proof.operators}
    assert made.proof.batch == "free before, fixed at 2 now"


def test_a_format_is_not_converted_into_itself(golden, tmp_path):
    with pytest.raises(UsageError, match="already"):
        convert_model(identify(golden / "cnn.tflite"), "tflite", tmp_path / "m.tflite")
    with pytest.raises(UsageError, match="batch axis"):
        convert_model(identify(golden / "cnn.tflite"), "onnx", tmp_path / "m.onnx", batch=2)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Install a program in place of onnx2tf."""

    def install(script):
        path = tmp_path / "onnx2tf"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("TINSMITH_ONNX2TF", str(path))

    return install


def test_without_onnx2tf_the_command_that_makes_its_environment_is_printed(golden, tmp_path, monkeypatch):
    for name in ("HOME", "PATH", "TINSMITH_ONNX2TF"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))

    with pytest.raises(HostError, match="onnx2tf") as caught:
        convert_model(identify(golden / "cnn.onnx"), "tflite", tmp_path / "m.tflite")

    assert caught.value.exit_code == 3
    assert "-m venv" in caught.value.hint
    assert "pip install onnx2tf" in caught.value.hint


def test_onnx2tf_is_told_to_keep_shapes_and_its_file_is_taken(golden, tmp_path, program):
    program(f'echo "$@" > {tmp_path}/said; mkdir -p "$4"; cp {golden}/cnn.tflite "$4/model_float32.tflite"')

    convert(golden / "cnn.onnx", tmp_path / "m.tflite", batch=None)

    assert (tmp_path / "m.tflite").read_bytes() == (golden / "cnn.tflite").read_bytes()
    assert (tmp_path / "said").read_text().endswith("-kat image\n")


def test_when_onnx2tf_fails_its_operator_is_named(golden, tmp_path, program):
    program('echo "ERROR: onnx_op_name: strange_7"; echo "ValueError: no"; exit 1')

    with pytest.raises(UnsupportedOperatorError, match=r"strange_7.*ValueError: no"):
        convert_model(identify(golden / "cnn.onnx"), "tflite", tmp_path / "m.tflite")


def test_the_table_has_a_row_a_format():
    assert [row.format for row in FORMATS] == ["keras", "hdf5", "savedmodel", "tflite", "onnx"]
    assert markdown_table().count("\n") == 6
