"""Every trained format is loaded by the framework that its file needs, and never runs code of its author."""

import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from tinsmith.convert.loading import load_trained
from tinsmith.convert.model import identify
from tinsmith.runtime.errors import ModelError, ModelLoadError, UnsafeModelError

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def keras():
    import keras

    return keras


@pytest.fixture(scope="module")
def tf_keras():
    import tf_keras

    return tf_keras


def small(keras):
    """Two inputs, two outputs, named."""
    a, b = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = keras.layers.Concatenate()([a, b])
    return keras.Model([a, b], [keras.layers.Dense(2, name="p")(joined), keras.layers.Dense(1, name="q")(joined)])


FEEDS = {
    "left": np.random.default_rng(0).random((5, 4)).astype(np.float32),
    "right": np.random.default_rng(1).random((5, 3)).astype(np.float32),
}


def check(path, framework, expected):
    trained = load_trained(identify(path))

    answers = trained.run(FEEDS)

    assert trained.framework == framework
    assert [(s.name, s.dtype, s.shape) for s in trained.inputs] == [
        ("left", "float32", (None, 4)),
        ("right", "float32", (None, 3)),
    ]
    assert [s.name for s in trained.outputs] == ["p", "q"]
    for name, want in zip(("p", "q"), expected, strict=True):
        np.testing.assert_allclose(answers[name], want, atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_keras_3_wrote_loads_in_keras_3(keras, tmp_path, suffix):
    model = small(keras)
    model.save(tmp_path / f"m{suffix}")

    check(tmp_path / f"m{suffix}", "keras", model([FEEDS["left"], FEEDS["right"]]))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_tf_keras_wrote_loads_in_tf_keras(tf_keras, tmp_path, suffix):
    model = small(tf_keras)
    model.save(tmp_path / f"m{suffix}")

    check(tmp_path / f"m{suffix}", "tf_keras", model([FEEDS["left"], FEEDS["right"]]))


def test_old_arguments_that_keras_3_refuses_load(tf_keras, tmp_path):
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            tf_keras.Input((6, 6, 2)),
            layers.DepthwiseConv2D(3),
            layers.Reshape((16, 2)),
            layers.LSTM(3),
        ]
    )
    model.save(tmp_path / "old.h5")

    trained = load_trained(identify(tmp_path / "old.h5"))

    x = np.random.default_rng(0).random((2, 6, 6, 2)).astype(np.float32)
    (name,) = (spec.name for spec in trained.inputs)
    np.testing.assert_allclose(next(iter(trained.run({name: x}).values())), model(x), atol=1e-6)


def test_dict_structures_and_integer_inputs_keep_their_names(keras, tmp_path):
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    embedded = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4)(tokens))
    model = keras.Model({"words": tokens}, {"mood": keras.layers.Dense(2, name="mood_layer")(embedded)})
    model.save(tmp_path / "m.keras")

    trained = load_trained(identify(tmp_path / "m.keras"))

    feeds = np.random.default_rng(0).integers(0, 20, (3, 7)).astype(np.int32)
    assert [(s.name, s.dtype) for s in trained.inputs] == [("tokens", "int32")]
    np.testing.assert_allclose(trained.run({"tokens": feeds})["mood_layer"], model({"words": feeds})["mood"], atol=1e-6)


def test_a_savedmodel_answers_by_its_signature(keras, tmp_path):
    model = small(keras)
    model.export(tmp_path / "saved", verbose=False)

    trained = load_trained(identify(tmp_path / "saved"))

    assert trained.framework == "savedmodel"
    assert len(trained.inputs) == 2
    answers = trained.run(FEEDS)
    assert sorted(a.shape for a in answers.values()) == [(5, 1), (5, 2)]


def save_functions(folder, **functions):
    import tensorflow as tf

    spec = tf.TensorSpec([None, 3], tf.float32, name="x")
    signatures = {name: tf.function(f, input_signature=[spec]).get_concrete_function() for name, f in functions.items()}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


def test_the_only_signature_is_taken_and_several_without_a_default_are_listed(tmp_path):
    save_functions(tmp_path / "one", score=lambda x: {"y": x * 2})
    save_functions(tmp_path / "two", left=lambda x: {"y": x}, right=lambda x: {"y": x})

    assert [s.name for s in load_trained(identify(tmp_path / "one")).outputs] == ["y"]
    with pytest.raises(ModelLoadError, match="left, right"):
        load_trained(identify(tmp_path / "two"))


def test_a_savedmodel_that_reads_files_or_calls_python_is_refused(tmp_path):
    import tensorflow as tf

    def reading(x):
        return {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)}

    def calling(x):
        return {"y": tf.py_function(lambda v: v, [x], tf.float32)}

    for name, function in (("reading", reading), ("calling", calling)):
        save_functions(tmp_path / name, serving_default=function)
        with pytest.raises(UnsafeModelError, match=r"ReadFile|EagerPyFunc"):
            load_trained(identify(tmp_path / name))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_layers_are_refused_also_inside_nested_models(keras, tmp_path, suffix):
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2, name="doubling")])
    model = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(2)])
    path = tmp_path / f"m{suffix}"
    model.save(path)

    with pytest.raises(UnsafeModelError, match="doubling") as caught:
        load_trained(identify(path))
    assert "--force unsafe-layers" in caught.value.hint

    trained = load_trained(identify(path), allow_unsafe=True)
    assert len(trained.outputs) == 1


def test_a_custom_layer_is_named(keras, tmp_path):
    @keras.saving.register_keras_serializable("someone")
    class Twice(keras.layers.Layer):
        def call(self, x):
            return x * 2

    keras.Sequential([keras.Input((4,)), Twice(name="twice_layer")]).save(tmp_path / "m.keras")
    keras.saving.get_custom_objects().clear()

    with pytest.raises(ModelLoadError, match="twice_layer"):
        load_trained(identify(tmp_path / "m.keras"))


def rewritten(source, target, change):
    """A copy of a .keras file with another configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, json.dumps(change(json.loads(content))) if name == "config.json" else content)
    return target


@pytest.mark.parametrize("module", ["os", "subprocess", "numpy.testing"])
def test_a_configuration_that_names_a_foreign_module_is_never_imported(golden, tmp_path, module):
    def change(config):
        config["config"]["layers"][1].update(module=module, class_name="system", registered_name=None)
        return config

    path = rewritten(golden / "cnn.keras", tmp_path / "evil.keras", change)

    with pytest.raises(ModelLoadError, match=module):
        load_trained(identify(path))


def test_a_zip_that_claims_to_unpack_to_a_terabyte_is_refused(golden, tmp_path):
    path = tmp_path / "bomb.keras"
    shutil.copy(golden / "cnn.keras", path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("assets/zeros", "w") as stream:
        for _ in range(1100):
            stream.write(bytes(1 << 20))

    with pytest.raises(ModelLoadError, match="claims to unpack"):
        load_trained(identify(path))


def test_weights_alone_are_no_model(keras, tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["kernel"] = np.ones(3)

    with pytest.raises(ModelLoadError, match="weights only"):
        load_trained(identify(tmp_path / "weights.h5"))


@pytest.mark.parametrize("share", [0.05, 0.4, 0.7, 0.95, 0.999])
def test_truncated_files_are_refused(keras, golden, tmp_path, share):
    model = small(keras)
    model.save(tmp_path / "m.h5")
    for source, name in ((golden / "cnn.keras", "cut.keras"), (tmp_path / "m.h5", "cut.h5")):
        content = source.read_bytes()
        (tmp_path / name).write_bytes(content[: int(share * len(content))])

        with pytest.raises(ModelError):
            load_trained(identify(tmp_path / name))


def test_a_damaged_savedmodel_is_refused(tmp_path):
    save_functions(tmp_path / "m", serving_default=lambda x: {"y": x})
    content = (tmp_path / "m" / "saved_model.pb").read_bytes()
    (tmp_path / "m" / "saved_model.pb").write_bytes(content[: len(content) // 2])

    with pytest.raises(ModelLoadError):
        load_trained(identify(tmp_path / "m"))
