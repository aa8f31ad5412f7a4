"""Shared values: found in a weight whatever its channels were multiplied with, and kept as integers."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinsmith.convert.quantization.codebooks import shared_spans


def clustered(seed, values, channels, weights, *, signs):
    """A weight whose channels draw from one codebook, each with a factor of its own."""
    rng = np.random.default_rng(seed)
    codebook = np.unique(np.round(rng.uniform(-1, 1, values), 2))
    shared = codebook[rng.integers(0, len(codebook), (channels, weights))]
    factors = np.exp(rng.uniform(-3, 3, channels)) * (rng.choice([-1, 1], channels) if signs else 1)
    return (shared * factors[:, None]).astype(np.float32), shared


def integers(weights, spans):
    return np.rint(weights / (spans[:, None] / 127)).astype(int)


@settings(max_examples=60)
@example(seed=19, values=6, channels=4, weights=64)  # one value is half of the largest: 63.5
@given(
    seed=st.integers(0, 10_000),
    values=st.integers(3, 16),
    channels=st.integers(4, 32),
    weights=st.integers(64, 200),
)
def test_equal_values_become_equal_integers_in_every_channel(seed, values, channels, weights):
    weight, shared = clustered(seed, values, channels, weights, signs=False)
    spans = shared_spans(weight, axis=0)
    assert spans is not None
    found = integers(weight, spans)
    assert np.abs(found).max() <= 127
    for value in np.unique(shared):
        assert len(np.unique(found[shared == value])) == 1


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), axis=st.integers(0, 3))
def test_the_axis_of_the_channels_may_be_any_and_signs_may_differ(seed, axis):
    weight, shared = clustered(seed, 12, 8, 90, signs=True)
    turned = np.moveaxis(weight.reshape(8, 3, 5, 6), 0, axis)
    spans = shared_spans(turned, axis=axis)
    assert spans is not None
    magnitudes = np.abs(integers(weight, spans))
    assert len(np.unique(magnitudes)) <= len(np.unique(np.abs(shared)))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), channels=st.integers(2, 40), weights=st.integers(9, 300))
def test_weights_without_a_codebook_keep_the_usual_grid(seed, channels, weights):
    weight = np.random.default_rng(seed).standard_normal((channels, weights)).astype(np.float32)
    assert shared_spans(weight, axis=0) is None


def test_codebooks_that_differ_from_channel_to_channel_are_none():
    rng = np.random.default_rng(0)
    books = rng.uniform(-1, 1, (16, 8))
    weight = np.stack([book[rng.integers(0, 8, 100)] for book in books]).astype(np.float32)
    assert shared_spans(weight, axis=0) is None


def test_empty_channels_take_any_grid():
    weight, _ = clustered(3, 8, 6, 100, signs=False)
    weight[2] = 0
    spans = shared_spans(weight, axis=0)
    assert np.isfinite(spans).all()
    assert (spans > 0).all()


@pytest.mark.tensorflow
def test_levelled_channels_compute_the_same():
    import tf_keras

    from tinsmith.compress.training.clustering import level_channels

    layers = tf_keras.layers
    source = tf_keras.Input((6, 6, 3))
    x = layers.Conv2D(5, 3, name="conv")(source)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    model = tf_keras.Model(source, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    model.get_layer("norm").set_weights(
        [rng.uniform(-2, 2, 5), rng.uniform(-1, 1, 5), rng.uniform(-1, 1, 5), rng.uniform(1e-4, 2, 5)]
    )
    images = rng.standard_normal((4, 6, 6, 3)).astype(np.float32)
    before = model(images).numpy()
    level_channels(model)
    np.testing.assert_allclose(model(images).numpy(), before, rtol=1e-4, atol=1e-5)
    kernel, norm = model.get_layer("conv").kernel.numpy(), model.get_layer("norm")
    np.testing.assert_allclose(np.abs(kernel).max(axis=(0, 1, 2)), 1, rtol=1e-6)
    assert (norm.gamma.numpy() >= 0).all()


@pytest.mark.tensorflow
def test_clusters_zeros_and_integers_are_there_in_the_artifact(studio, int8_constants, tmp_path):
    from tinsmith.compress.compression import compress
    from tinsmith.compress.recipe import Recipe

    steps = [
        {"kind": "magnitude", "sparsity": 0.5, "epochs": 2},
        {"kind": "clusters", "clusters": 8, "epochs": 1},
        {"kind": "quantize", "scheme": "int8"},
    ]
    recipe = Recipe.model_validate({"version": 1, "target": "tflite", "steps": steps})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2, about Keras' variables
        made = compress(studio / "whole.keras", recipe, tmp_path / "x.tflite", data=studio / "train.npz")
    assert made.measured[1]["values a layer"] <= 8
    kernels = [array for array in int8_constants(tmp_path / "x.tflite") if array.ndim == 4]
    assert len(kernels) == 3
    for kernel in kernels:
        assert len(np.unique(kernel)) <= 8
        assert np.mean(kernel == 0) >= 0.48
