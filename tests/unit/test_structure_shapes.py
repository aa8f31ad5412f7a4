"""Taking apart models of every shape: models inside models, recurrent layers, shared layers, several outputs."""

from types import SimpleNamespace

import numpy as np
import pytest

from tinsmith.convert.data import Batch

pytestmark = pytest.mark.tensorflow


def _keras():
    import tf_keras

    return tf_keras, tf_keras.layers


def _base(name="base"):
    keras, layers = _keras()
    inner = [
        keras.Input((8, 8, 3)),
        layers.Conv2D(4, 3, activation="relu", name="head"),
        layers.BatchNormalization(name="norm"),
        layers.Conv2D(6, 3, name="second"),
    ]
    return keras.Sequential(inner, name=name)


def _backbone():
    """The usual transfer learning; one layer inside has the name of one outside."""
    keras, layers = _keras()
    source = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(_base()(source, training=False))
    return keras.Model(source, layers.Dense(3, name="head")(x))


def _twins():
    """A model inside that is used twice."""
    keras, layers = _keras()
    base = _base()
    one, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    x = layers.Flatten()(layers.Subtract()([base(one), base(other)]))
    return keras.Model([one, other], layers.Dense(2, name="answer")(x))


def _ends():
    """A model inside gives the answers, within another one."""
    keras, _ = _keras()
    source, outer = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    middle = keras.Model(source, _base("inner")(source), name="middle")
    return keras.Model(outer, [middle(outer), middle(outer * 2.0)])


def _with_other_weights(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
    return model


def _feeds(trained, count=8):
    rng = np.random.default_rng(1)
    return {spec.name: rng.uniform(0, 9, (count, *spec.shape[1:])).astype(spec.dtype) for spec in trained.inputs}


@pytest.mark.parametrize("make", [_backbone, _twins, _ends])
def test_an_opened_model_answers_the_same_under_the_same_names(make):
    from tinsmith.compress.structure.flattening import functional
    from tinsmith.convert.trained import from_keras

    model = _with_other_weights(make())
    flat = functional(model)
    assert not any(hasattr(layer, "layers") for layer in flat.layers)
    assert flat.count_params() == model.count_params()
    before, after = from_keras(model, "tf_keras"), from_keras(flat, "tf_keras")
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    for training in (False, True):
        answers = [list(each.function(_feeds(each), training=training).values()) for each in (before, after)]
        for expected, found in zip(*answers, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_layer_inside_keeps_its_name_unless_another_has_it():
    from tinsmith.compress.structure.flattening import functional

    flat = functional(_backbone())
    assert {layer.name for layer in flat.layers if layer.weights} == {"base_head", "norm", "second", "head"}


def test_a_model_that_takes_another_type_stays_whole_and_is_gone_around():
    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.flattening import functional
    from tinsmith.compress.structure.spaces import spaces_of

    keras, layers = _keras()
    source = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Conv2D(5, 1, name="after")(_base()(source))
    model = functional(keras.Model(source, layers.Dense(2)(layers.Flatten()(x))))
    coupling = couple(model)
    assert list(coupling.followed_not) == ["base"]
    assert {space.makers for space in spaces_of(coupling)} == {("after",)}


@pytest.mark.parametrize("make", [_backbone, _twins])
def test_channels_inside_a_model_go(make):
    from tinsmith.compress.structure.allocation import by_ratio
    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.flattening import functional
    from tinsmith.compress.structure.rebuild import rebuild
    from tinsmith.compress.structure.spaces import spaces_of

    model = functional(make())
    coupling = couple(model)
    spaces = spaces_of(coupling)
    assert {len(space.roots) for space in spaces} == {4, 6}
    smaller = rebuild(model, coupling, by_ratio(spaces, {}, 0.5))
    assert smaller.get_layer("second").filters == 3


def _recurrent():
    keras, layers = _keras()
    source = keras.Input((5, 4))
    x = layers.GRU(3, return_sequences=True, name="gru")(layers.Conv1D(6, 3, name="before")(source))
    x = layers.Bidirectional(layers.LSTM(4), name="both")(x)
    x = layers.Dense(8, activation="relu", name="wide")(x)
    return keras.Model(source, layers.Dense(3, activation="softmax", name="head")(x))


def _words():
    keras, layers = _keras()
    source = keras.Input((5,), dtype="int32")
    x = layers.Conv1D(8, 3, name="wide")(layers.Embedding(20, 4, name="words")(source))
    x = layers.GlobalMaxPooling1D()(x)
    return keras.Model(source, layers.Dense(3, activation="softmax", name="head")(x))


@pytest.mark.parametrize("kind", ["l1", "taylor"])
@pytest.mark.parametrize("make", [_recurrent, _words])
def test_importance_goes_around_what_has_no_entry_a_channel(make, kind):
    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.importance import importances
    from tinsmith.compress.structure.spaces import spaces_of
    from tinsmith.convert.trained import from_keras

    trained = from_keras(make(), "tf_keras")
    batch = Batch(feeds=_feeds(trained), labels=np.arange(8) % 3)
    coupling = couple(trained.native)
    scores = importances(kind, coupling, trained, lambda: [batch])
    (space,) = spaces_of(coupling)
    assert space.makers == ("wide",)
    assert len({scores[root] for root in space.roots}) > 1


def test_taylor_passes_over_a_weight_that_the_answers_do_not_depend_on():
    import tensorflow as tf

    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.importance import importances
    from tinsmith.convert.trained import from_keras

    keras, layers = _keras()
    source = keras.Input((4,))
    x = layers.Dense(6, name="wide")(source)
    x = layers.Add()([x, tf.stop_gradient(layers.Dense(6, name="still")(source))])
    trained = from_keras(keras.Model(source, layers.Dense(3, activation="softmax")(x)), "tf_keras")
    coupling = couple(trained.native)
    scores = importances("taylor", coupling, trained, lambda: [Batch(feeds=_feeds(trained), labels=np.arange(8) % 3)])
    assert all(scores[int(root)] == 0 for root in coupling.roots(coupling.layers["still"].given))


def _pair(kind):
    """One layer for two images of different sizes, with as many channels."""
    keras, layers = _keras()
    source = keras.Input((8, 8, 3))
    shared = {"flatten": layers.Flatten(), "rows": layers.Reshape((-1, 4)), "any": layers.Reshape((-1,))}[kind]
    each = [shared(layers.Conv2D(4, 3, strides=by)(source)) for by in (1, 2)]
    x = layers.Concatenate()([layers.GlobalAveragePooling1D()(x) if kind == "rows" else x for x in each])
    return keras.Model(source, layers.Dense(2)(layers.Dense(6)(x)))


def _without_half(model):
    from tinsmith.compress.structure.allocation import by_ratio
    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.rebuild import rebuild
    from tinsmith.compress.structure.sensitivity import Harm
    from tinsmith.compress.structure.spaces import spaces_of
    from tinsmith.convert.trained import from_keras

    coupling = couple(model)
    dropped = by_ratio(spaces_of(coupling), {}, 0.5)
    trained = from_keras(model, "tf_keras")
    feeds = _feeds(trained)
    with Harm(coupling, trained, lambda: [SimpleNamespace(feeds=feeds)])._unread(dropped):
        expected = trained.run(feeds)
    return dropped, expected, from_keras(rebuild(model, coupling, dropped), "tf_keras").run(feeds)


@pytest.mark.parametrize("kind", ["flatten", "rows", "any"])
def test_a_layer_shared_by_inputs_of_different_shapes_is_right_for_each(kind):
    dropped, expected, found = _without_half(_pair(kind))
    # the second Dense always can, the convolutions where their channels can be followed
    assert len(dropped) == (3 if kind == "any" else 5)
    for name, answer in expected.items():
        np.testing.assert_allclose(found[name], answer, rtol=1e-4, atol=1e-5)


def test_an_attention_that_gives_its_scores_is_gone_around():
    from tinsmith.compress.structure.coupling import couple
    from tinsmith.compress.structure.importance import importances
    from tinsmith.compress.structure.spaces import Costs, spaces_of

    keras, layers = _keras()

    def model(scores):
        source = keras.Input((5, 8))
        attention = layers.MultiHeadAttention(4, 2, name="attention")
        x, *_ = attention(source, source, return_attention_scores=True) if scores else [attention(source, source)]
        x = layers.Dense(6, name="wide")(layers.GlobalAveragePooling1D()(x))
        return keras.Model(source, layers.Dense(2)(x))

    coupling = couple(model(scores=True))
    assert coupling.followed_not == {"attention": "it gives 2 tensors"}
    assert {space.makers for space in spaces_of(coupling)} == {("wide",)}
    assert importances("l1", coupling, None, list)
    assert Costs(coupling).macs(()) == Costs(couple(model(scores=False))).macs(())


REFITTED = {
    "same": ("Conv2D", (3, 3), {"strides": 2, "padding": "same"}, (9, 8, 4)),
    "wide steps": ("Conv2D", (3, 2), {"strides": 3, "padding": "same"}, (8, 9, 4)),
    "dilated": ("Conv2D", (3, (3, 2)), {"dilation_rate": (2, 1), "padding": "same"}, (9, 8, 4)),
    "valid": ("Conv2D", (3, (2, 3)), {"strides": 2}, (9, 8, 4)),
    "causal": ("Conv1D", (3, 3), {"dilation_rate": 2, "padding": "causal"}, (9, 4)),
    "sequence": ("Conv1D", (3, 4), {"strides": 2, "padding": "same"}, (9, 4)),
    "dense": ("Dense", (3,), {}, (50, 4)),
}


@pytest.mark.parametrize("largest", [1, 3000, 2**26])
@pytest.mark.parametrize("name", REFITTED)
def test_rows_times_a_kernel_are_what_the_layer_gives_however_few_at_a_time(name, largest, monkeypatch):
    from tinsmith.compress.structure import windows

    monkeypatch.setattr(windows, "_LARGEST_BYTES", largest)
    kind, sizes, settings, shape = REFITTED[name]
    layer = getattr(_keras()[1], kind)(*sizes, **settings)
    taken = np.random.default_rng(0).standard_normal((6, *shape)).astype("f4")
    expected = layer(taken).numpy().reshape(-1, 3)
    pairs = list(windows.row_pairs(layer, taken, taken[..., :2]))
    kernel = layer.kernel.numpy().astype(np.float64)
    wide = np.concatenate([one for one, _ in pairs])
    np.testing.assert_allclose(wide @ kernel.reshape(-1, 3), expected, rtol=1e-4, atol=1e-5)
    narrow = np.concatenate([other for _, other in pairs])
    np.testing.assert_array_equal(narrow.reshape(len(wide), -1, 2), wide.reshape(len(wide), -1, 4)[..., :2])
    if largest == 3000:
        assert max(one.nbytes for one, _ in pairs) <= 3000
        assert len(pairs) > 1
