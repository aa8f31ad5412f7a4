"""The bridge from Keras 3 to tf_keras: what crosses gives the same outputs, what can't is named."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tinsmith.convert.bridge import comparison, crossing, to_tf_keras
from tinsmith.convert.bridge.engines import numpy_of
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import UnsupportedOperatorError, VerificationError

pytestmark = [
    pytest.mark.tensorflow,
    # Keras 3 says so when a model is built whose layers drop a mask; that is what some of these models are for.
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),
]

# Imported here, because the lists below are made of layers.
keras = require("keras", needed_for="the tests")
tf_keras = require("tf_keras", needed_for="the tests")
L = keras.layers
K = keras.ops


def scattered(model):
    """Give every weight another value than its initial one, so that a lost or swapped weight shows."""
    rng = np.random.default_rng(7)
    for weight in model.weights:
        value = numpy_of(weight)
        noise = rng.uniform(0.05, 0.3, value.shape) if "float" in str(value.dtype) else 0
        sign = 1 if "variance" in weight.path else rng.choice([-1, 1], value.shape)
        weight.assign(value + (noise * sign).astype(value.dtype))
    return model


def outputs_differ(source, target, *inputs):
    expected = keras.tree.flatten(source(inputs[0] if len(inputs) == 1 else list(inputs), training=False))
    actual = keras.tree.flatten(target(inputs[0] if len(inputs) == 1 else list(inputs), training=False))
    return max(comparison.difference(np.asarray(a), np.asarray(b)) for a, b in zip(expected, actual, strict=True))


def crossed(model):
    """Cross, which compares the outputs, and look at what tf_keras then holds."""
    target = to_tf_keras(scattered(model))

    assert isinstance(target, tf_keras.Model)
    return target


def through(*layers, shape=(6, 4), dtype="float32"):
    x = inputs = keras.Input(shape, dtype=dtype)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


IMAGE = (8, 8, 3)
VOLUME = (4, 4, 4, 2)

# A line says: the input's shape without batch, and a function that makes the layer.
SINGLE_LAYERS = {
    "dense": ((4,), lambda: L.Dense(3, activation="relu")),
    "dense on steps": ((6, 4), lambda: L.Dense(3, use_bias=False)),
    "dense with regularizer": ((4,), lambda: L.Dense(3, kernel_regularizer="l2", kernel_constraint="max_norm")),
    "dense with seeded init": ((4,), lambda: L.Dense(3, kernel_initializer=keras.initializers.HeNormal(seed=1))),
    "einsum dense": ((6, 4), lambda: L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", activation="gelu")),
    "conv1d": ((6, 4), lambda: L.Conv1D(3, 3, padding="causal", dilation_rate=2)),
    "conv2d": (IMAGE, lambda: L.Conv2D(4, 3, strides=2, padding="same", activation="silu")),
    "grouped conv2d": ((8, 8, 4), lambda: L.Conv2D(4, 3, groups=2)),
    "conv3d": (VOLUME, lambda: L.Conv3D(3, 2)),
    "conv1d transpose": ((6, 4), lambda: L.Conv1DTranspose(3, 3, strides=2)),
    "conv2d transpose": (IMAGE, lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1)),
    "conv3d transpose": (VOLUME, lambda: L.Conv3DTranspose(3, 2, strides=2)),
    "separable conv1d": ((6, 4), lambda: L.SeparableConv1D(3, 3, depth_multiplier=2)),
    "separable conv2d": (IMAGE, lambda: L.SeparableConv2D(4, 3, padding="same", activation="tanh")),
    "depthwise conv1d": ((6, 4), lambda: L.DepthwiseConv1D(3)),
    "depthwise conv2d": (IMAGE, lambda: L.DepthwiseConv2D(3, depth_multiplier=2, strides=2)),
    "batch norm": (IMAGE, lambda: L.BatchNormalization(epsilon=1e-2)),
    "batch norm without gamma": (IMAGE, lambda: L.BatchNormalization(scale=False)),
    "synchronized batch norm": (IMAGE, lambda: L.BatchNormalization(synchronized=True)),
    "batch norm along axis 1": ((6, 4), lambda: L.BatchNormalization(axis=1)),
    "group norm": ((8, 8, 4), lambda: L.GroupNormalization(groups=2)),
    "instance norm": ((8, 8, 4), lambda: L.GroupNormalization(groups=-1)),
    "layer norm": ((6, 4), lambda: L.LayerNormalization(epsilon=1e-5)),
    "layer norm on two axes": ((6, 4), lambda: L.LayerNormalization(axis=(1, 2), center=False)),
    "unit norm": ((6, 4), L.UnitNormalization),
    "normalization": ((4,), lambda: L.Normalization(mean=[1.0, 2, 3, 4], variance=[4.0, 1, 2, 9])),
    "inverted normalization": ((4,), lambda: L.Normalization(mean=2.0, variance=4.0, invert=True)),
    "rescaling": (IMAGE, lambda: L.Rescaling(1 / 127.5, offset=-1.0)),
    "rescaling per channel": (IMAGE, lambda: L.Rescaling([0.1, 0.2, 0.3], offset=[1.0, 2.0, 3.0])),
    "resizing": (IMAGE, lambda: L.Resizing(5, 7, interpolation="bilinear")),
    "center crop": (IMAGE, lambda: L.CenterCrop(4, 4)),
    "leaky relu": ((4,), lambda: L.LeakyReLU(negative_slope=0.17)),
    "prelu": (IMAGE, lambda: L.PReLU(shared_axes=[1, 2])),
    "elu": ((4,), lambda: L.ELU(alpha=0.7)),
    "relu with limits": ((4,), lambda: L.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.3)),
    "softmax": ((6, 4), lambda: L.Softmax(axis=1)),
    "softmax on two axes": ((6, 4), lambda: L.Softmax(axis=(1, 2))),
    "max pool 1d": ((6, 4), lambda: L.MaxPooling1D(2, padding="same")),
    "max pool 2d": (IMAGE, lambda: L.MaxPooling2D(3, strides=2, padding="same")),
    "max pool 3d": (VOLUME, lambda: L.MaxPooling3D(2)),
    "average pool 1d": ((6, 4), lambda: L.AveragePooling1D(2)),
    "average pool 2d": (IMAGE, lambda: L.AveragePooling2D(3, strides=2, padding="same")),
    "average pool 3d": (VOLUME, lambda: L.AveragePooling3D(2)),
    "global max pool 1d": ((6, 4), lambda: L.GlobalMaxPooling1D(keepdims=True)),
    "global max pool 2d": (IMAGE, L.GlobalMaxPooling2D),
    "global max pool 3d": (VOLUME, lambda: L.GlobalMaxPooling3D(keepdims=True)),
    "global average pool 1d": ((6, 4), L.GlobalAveragePooling1D),
    "global average pool 2d": (IMAGE, lambda: L.GlobalAveragePooling2D(keepdims=True)),
    "global average pool 3d": (VOLUME, L.GlobalAveragePooling3D),
    "channels first global pool": ((3, 8, 8), lambda: L.GlobalAveragePooling2D(data_format="channels_first")),
    "zero padding 1d": ((6, 4), lambda: L.ZeroPadding1D((1, 2))),
    "zero padding 2d": (IMAGE, lambda: L.ZeroPadding2D(((1, 2), (0, 3)))),
    "zero padding 3d": (VOLUME, lambda: L.ZeroPadding3D(1)),
    "cropping 1d": ((6, 4), lambda: L.Cropping1D((1, 2))),
    "cropping 2d": (IMAGE, lambda: L.Cropping2D(((1, 2), (0, 3)))),
    "cropping 3d": (VOLUME, lambda: L.Cropping3D(1)),
    "upsampling 1d": ((6, 4), lambda: L.UpSampling1D(2)),
    "upsampling 2d": (IMAGE, lambda: L.UpSampling2D(2, interpolation="bilinear")),
    "nearest upsampling 2d": (IMAGE, lambda: L.UpSampling2D((2, 3))),
    "upsampling 3d": (VOLUME, lambda: L.UpSampling3D(2)),
    "reshape": ((6, 4), lambda: L.Reshape((-1, 3))),
    "permute": ((6, 4), lambda: L.Permute((2, 1))),
    "flatten": (IMAGE, L.Flatten),
    "channels first flatten": (IMAGE, lambda: L.Flatten(data_format="channels_first")),
    "repeat vector": ((4,), lambda: L.RepeatVector(3)),
    "identity": ((4,), L.Identity),
    "dropout": ((4,), lambda: L.Dropout(0.5, noise_shape=(None, 1))),
    "seeded dropout": ((4,), lambda: L.Dropout(0.5, seed=3)),
    "spatial dropout": ((6, 4), lambda: L.SpatialDropout1D(0.5)),
    "alpha dropout": ((4,), lambda: L.AlphaDropout(0.5)),
    "gaussian noise": ((4,), lambda: L.GaussianNoise(0.5)),
    "gaussian dropout": ((4,), lambda: L.GaussianDropout(0.5)),
    "activity regularization": ((4,), lambda: L.ActivityRegularization(l1=0.1)),
    "random flip": (IMAGE, lambda: L.RandomFlip("horizontal")),
    "random rotation": (IMAGE, lambda: L.RandomRotation(0.1, seed=3)),
    "lstm": ((6, 4), lambda: L.LSTM(3)),
    "lstm backwards": ((6, 4), lambda: L.LSTM(3, return_sequences=True, go_backwards=True, unit_forget_bias=False)),
    "unrolled lstm": ((6, 4), lambda: L.LSTM(3, unroll=True, dropout=0.2)),
    "gru": ((6, 4), lambda: L.GRU(3)),
    "gru reset before": ((6, 4), lambda: L.GRU(3, reset_after=False, return_sequences=True)),
    "simple rnn": ((6, 4), lambda: L.SimpleRNN(3, activation="relu")),
    "rnn of a cell": ((6, 4), lambda: L.RNN(L.GRUCell(3), return_sequences=True)),
    "rnn of stacked cells": ((6, 4), lambda: L.RNN([L.LSTMCell(4), L.LSTMCell(4)])),
    "bidirectional lstm": ((6, 4), lambda: L.Bidirectional(L.LSTM(3, return_sequences=True))),
    "bidirectional gru": ((6, 4), lambda: L.Bidirectional(L.GRU(3), merge_mode="sum")),
    "bidirectional of two kinds": (
        (6, 4),
        lambda: L.Bidirectional(L.GRU(3), backward_layer=L.LSTM(3, go_backwards=True)),
    ),
    "conv lstm": ((3, 8, 8, 2), lambda: L.ConvLSTM2D(2, 3)),
    "time distributed": ((3, 8, 8, 2), lambda: L.TimeDistributed(L.Conv2D(3, 3, activation="relu6"))),
    "time distributed pooling": ((3, 8, 8, 2), lambda: L.TimeDistributed(L.GlobalMaxPooling2D())),
    "masking": ((6, 4), lambda: L.Masking(0.0)),
    "a name with a space": ((4,), lambda: L.Dense(3, name="my dense layer")),
    "a name with a leading underscore": ((4,), lambda: L.Dense(3, name="_hidden")),
    "float64": ((4,), lambda: L.Dense(3, dtype="float64")),
    "a layer as an activation": ((4,), lambda: L.Dense(3, activation=L.LeakyReLU(negative_slope=0.4))),
}

ACTIVATIONS = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
)

OPERATIONS = {
    "add": lambda x, y: x + y,
    "add a number": lambda x, y: 2 + x + 1.5,
    "add an array": lambda x, y: x + np.arange(4, dtype="float32"),
    "add another shape": lambda x, y: x + y[:, :1],
    "subtract": lambda x, y: x - y - 3,
    "subtract from a number": lambda x, y: 1.0 - x,
    "multiply": lambda x, y: x * y * np.float32(2),
    "divide": lambda x, y: x / (K.abs(y) + 1) / 3,
    "power": lambda x, y: K.abs(x) ** 1.5,
    "negative": lambda x, y: -x,
    "floor divide": lambda x, y: (x + 0.3) // 2,
    "modulo": lambda x, y: (x + 0.3) % 2,
    "maximum": K.maximum,
    "minimum": lambda x, y: K.minimum(x, 0.5),
    "matmul": lambda x, y: K.matmul(x, K.transpose(y, (0, 2, 1))),
    "matmul with an array": lambda x, y: x @ np.ones((4, 2), "float32"),
    "einsum": lambda x, y: K.einsum("bij,bkj->bik", x, y),
    "elementary": lambda x, y: K.exp(K.sin(x)) + K.log(K.square(y) + 1) + K.sqrt(K.abs(x)) + K.rsqrt(K.square(x) + 1),
    "more elementary": lambda x, y: K.cos(x) + K.floor(x) + K.ceil(y) + K.sign(x) + K.erf(y) + K.log1p(K.abs(y)),
    "rounding": lambda x, y: K.round(x) + K.reciprocal(K.square(y) + 1),
    "clip": lambda x, y: K.clip(x, -0.5, 0.7),
    "relu": lambda x, y: K.relu(x) + K.relu6(y),
    "sigmoid": lambda x, y: K.sigmoid(x) + K.tanh(y),
    "gelu": lambda x, y: K.gelu(x, approximate=False) + K.gelu(y, approximate=True),
    "units": lambda x, y: (
        K.silu(x) + K.elu(y, alpha=0.4) + K.selu(x) + K.leaky_relu(x, 0.3) + K.softplus(y) + K.celu(x)
    ),
    "hard units": lambda x, y: K.hard_sigmoid(x) + K.hard_silu(y) + K.hard_tanh(x) + K.softsign(y) + K.log_sigmoid(x),
    "softmax": lambda x, y: K.softmax(x, axis=1) + K.log_softmax(y, axis=-1),
    "mean": lambda x, y: K.mean(x, axis=1),
    "mean of all but the batch": lambda x, y: K.mean(x, axis=(1, 2), keepdims=True),
    "sum and extremes": lambda x, y: K.sum(x, axis=-1) + K.max(y, axis=2) + K.min(x, axis=2) + K.prod(y, axis=-1),
    "spread": lambda x, y: K.var(x, axis=1) + K.std(y, axis=1) + K.logsumexp(x, axis=1),
    "integer mean": lambda x, y: K.mean(K.cast(x, "int32"), axis=1),
    "reshape": lambda x, y: K.reshape(x, (-1, 2, 12)),
    "transpose": lambda x, y: K.transpose(x, (0, 2, 1)),
    "swap and move axes": lambda x, y: K.swapaxes(x, 1, 2) + K.moveaxis(y, -1, 1),
    "concatenate": lambda x, y: K.concatenate([x, y], axis=-1),
    "concatenate dtypes": lambda x, y: K.concatenate([x, K.cast(y, "int32")], axis=1),
    "stack": lambda x, y: K.stack([x, y], axis=1),
    "expand and squeeze": lambda x, y: K.squeeze(K.expand_dims(x, (1, 3)), axis=1),
    "slice": lambda x, y: x[:, 1:5:2, None, -1],
    "slice with an ellipsis": lambda x, y: x[..., 0],
    "split": lambda x, y: K.split(x, 2, axis=1)[1],
    "split at places": lambda x, y: K.split(x, [1, 3], axis=-1)[1],
    "unstack": lambda x, y: K.unstack(x, axis=2)[1],
    "take": lambda x, y: K.take(x, [0, -1, 2], axis=2),
    "comparisons": lambda x, y: K.where(x > y, x, 0.0) + K.cast(K.logical_and(x < 1, y >= 0), "float32"),
    "equality": lambda x, y: K.cast(K.logical_or(K.equal(x, x), K.logical_not(K.not_equal(x, y))), "float32"),
    "any and all": lambda x, y: K.cast(K.any(x > 1, axis=1), "float32") + K.cast(K.all(y > -9, axis=1), "float32"),
    "argmax": lambda x, y: K.argmax(x, axis=-1) + K.argmin(y, axis=-1),
    "one hot": lambda x, y: K.one_hot(K.argmax(x, axis=-1), 4),
    "pad": lambda x, y: K.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=3.0),
    "repeat and tile": lambda x, y: K.repeat(x, 2, axis=1) + K.tile(y, (1, 2, 1)),
    "flip": lambda x, y: K.flip(x, axis=1),
    "normalize": lambda x, y: K.normalize(x, axis=-1),
    "likes": lambda x, y: K.ones_like(x) + K.zeros_like(y) + K.stop_gradient(x) + K.copy(y),
}

MERGES = {
    "add": lambda x, y: L.Add()([x, y]),
    "subtract": lambda x, y: L.Subtract()([x, y]),
    "multiply": lambda x, y: L.Multiply()([x, y]),
    "average": lambda x, y: L.Average()([x, y]),
    "maximum": lambda x, y: L.Maximum()([x, y]),
    "minimum": lambda x, y: L.Minimum()([x, y]),
    "concatenate": lambda x, y: L.Concatenate(axis=1)([x, y]),
    "dot": lambda x, y: L.Dot(axes=(2, 2), normalize=True)([x, y]),
    "attention": lambda x, y: L.Attention(use_scale=True)([x, y]),
    "causal attention": lambda x, y: L.Attention(score_mode="concat")([x, y, x], use_causal_mask=True),
    "additive attention": lambda x, y: L.AdditiveAttention()([x, y]),
    "cross attention": lambda x, y: L.MultiHeadAttention(2, 3, value_dim=5, output_shape=7)(y, x),
    "attention with a key": lambda x, y: L.MultiHeadAttention(2, 3, use_bias=False)(x, value=y, key=x),
    "attention with a mask": lambda x, y: L.MultiHeadAttention(2, 3)(
        x, y, attention_mask=(x @ K.swapaxes(y, 1, 2)) > 0
    ),
    "attention with its scores": lambda x, y: L.MultiHeadAttention(2, 3)(x, y, return_attention_scores=True),
    "causal self-attention": lambda x, y: L.MultiHeadAttention(2, 3, dropout=0.1, seed=1)(x, x, use_causal_mask=True),
    "initial state": lambda x, y: L.LSTM(3)(x, initial_state=L.LSTM(3, return_state=True)(y)[1:]),
    "several states": lambda x, y: L.GRU(3, return_sequences=True, return_state=True)(x + y),
}


def two_inputs(make):
    x, y = keras.Input((6, 4), name="x"), keras.Input((6, 4), name="y")
    return keras.Model([x, y], make(x, y))


def text_model(*, mask_zero=False):
    tokens = keras.Input((12,), dtype="int32", name="tokens")
    places = keras.Input((12,), dtype="int32", name="places")
    x = L.Embedding(50, 16, mask_zero=mask_zero)(tokens) + L.Embedding(12, 16)(places)
    attended = L.MultiHeadAttention(4, 4, dropout=0.1)(x, x)
    x = L.LayerNormalization()(L.Add()([x, L.Dropout(0.1)(attended)]))
    x = L.LayerNormalization()(x + L.Dense(16)(L.Dense(32, activation="gelu")(x)))
    x = L.GlobalAveragePooling1D()(x)
    return keras.Model([tokens, places], L.Dense(3, activation="softmax")(L.Dropout(0.1)(x)))


@pytest.mark.parametrize("case", SINGLE_LAYERS)
def test_a_layer_of_keras_gives_the_same_in_tf_keras(case):
    shape, make = SINGLE_LAYERS[case]

    target = crossed(through(make(), shape=shape))

    assert target.input_shape[1:] == shape


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_gives_the_same_within_a_layer_and_as_a_layer(name):
    crossed(through(L.Dense(3, activation=name), L.Activation(name), shape=(4,)))


@pytest.mark.parametrize("case", OPERATIONS)
def test_an_operation_gives_the_same_in_tf_keras(case):
    crossed(two_inputs(OPERATIONS[case]))


@pytest.mark.parametrize("case", MERGES)
def test_a_layer_of_several_inputs_gives_the_same_in_tf_keras(case):
    crossed(two_inputs(MERGES[case]))


def settled(model):
    """Give every batch norm the statistics of its data, so that the numbers neither vanish nor explode on the way."""
    rng = np.random.default_rng(3)
    norms = [layer for layer in model.layers if isinstance(layer, L.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
        layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(rng.normal(0.0, 0.3, layer.beta.shape))
    model(rng.normal(0.0, 1.0, (4, *model.input_shape[1:])).astype("float32"), training=True)
    for layer in norms:
        layer.momentum = 0.99
    return model


def _resnet(**given):
    from keras.src.applications.resnet import ResNet, stack_residual_blocks_v1

    def stack(x):
        return stack_residual_blocks_v1(stack_residual_blocks_v1(x, 16, 2, stride1=1, name="a"), 32, 2, name="b")

    return ResNet(stack, preact=False, use_bias=True, **given)


def _densenet(**given):
    from keras.src.applications.densenet import DenseNet

    return DenseNet([2, 2, 2, 2], **given)


def _efficientnet(**given):
    from keras.src.applications.efficientnet_v2 import EfficientNetV2

    # by its name it gets the normalization of the small ones
    return EfficientNetV2(1.0, 0.3, default_size=224, name="efficientnetv2-b0", **given)


# Of the deep families, every kind of block once or twice instead of dozens of times.
APPLICATIONS = {
    "MobileNetV2": keras.applications.MobileNetV2,
    "EfficientNetV2": _efficientnet,
    "ResNet": _resnet,
    "DenseNet": _densenet,
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_of_keras_crosses(name):
    make = APPLICATIONS[name]
    source = settled(make(weights=None, input_shape=(64, 64, 3), include_top=False, pooling="avg"))

    target = to_tf_keras(source)

    assert np.ptp(source(np.ones((1, 64, 64, 3), "float32"))) > 0.1, "the comparison would say nothing"
    assert target.count_params() == source.count_params() - _normalizer_weights(source)
    assert [layer.name for layer in target.layers if layer.weights] == [
        layer.name for layer in source.layers if layer.trainable_weights
    ]


def _normalizer_weights(model):
    return sum(layer.count_params() for layer in model.layers if isinstance(layer, L.Normalization))


@pytest.mark.parametrize("mask_zero", [False, True])
def test_a_text_model_with_attention_crosses(mask_zero):
    target = crossed(text_model(mask_zero=mask_zero))

    assert target.input_names == ["tokens", "places"]


def test_a_mask_reaches_the_layers_that_heed_it():
    layers = [L.Embedding(9, 4, mask_zero=True), L.Bidirectional(L.LSTM(3, return_sequences=True)), L.Dense(4)]
    source = scattered(through(*layers, L.GRU(3), shape=(7,), dtype="int32"))
    target = to_tf_keras(source)
    padded, other = np.array([[3, 4, 0, 0, 0, 0, 0]]), np.array([[3, 4, 1, 1, 1, 1, 1]])

    assert outputs_differ(source, target, padded) < 1e-5
    assert np.abs(target(padded).numpy() - target(other).numpy()).max() > 1e-3


def test_a_mask_ends_where_keras_3_drops_it():
    tokens = keras.Input((7,), dtype="int32")
    x = L.Embedding(9, 4, mask_zero=True)(tokens)
    target = crossed(keras.Model(tokens, [L.LSTM(3)(x + x), L.LSTM(3)(K.relu(x)), L.GRU(3)(x)]))

    assert len(target.outputs) == 3


def test_a_mask_that_the_author_gives_crosses():
    x, keep = keras.Input((6, 4)), keras.Input((6,), dtype="bool")

    crossed(
        keras.Model([x, keep], L.GlobalAveragePooling1D()(L.LSTM(3, return_sequences=True)(x, mask=keep), mask=keep))
    )


def test_a_mask_enters_a_nested_model():
    inner = keras.Sequential([keras.Input((7, 4)), L.LSTM(3, return_sequences=True), L.GRU(2)])
    tokens = keras.Input((7,), dtype="int32")

    crossed(keras.Model(tokens, inner(L.Embedding(9, 4, mask_zero=True)(tokens))))


def test_a_mask_is_dropped_within_a_nested_model_where_keras_3_does_so():
    x = keras.Input((6, 8))
    inner = keras.Model(x, L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 4)(x, x) + x))
    tokens = keras.Input((6,), dtype="int32")

    crossed(keras.Model(tokens, inner(L.Embedding(9, 8, mask_zero=True)(tokens))))


def test_masks_that_the_two_merge_otherwise_are_found_out():
    a, b = keras.Input((6,), dtype="int32"), keras.Input((6,), dtype="int32")
    embedding = L.Embedding(9, 4, mask_zero=True)
    merged = L.Add()([embedding(a), embedding(b)])

    with pytest.raises(VerificationError, match=r"the first layer that differs is reader \(LSTM\)"):
        crossed(keras.Model([a, b], L.LSTM(3, name="reader")(merged)))


def test_two_encoder_blocks_with_a_mask_cross():
    x = tokens = keras.Input((8,), dtype="int32")
    x = L.Embedding(20, 8, mask_zero=True)(x)
    for _ in range(2):
        x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 4)(x, x)]))
        x = L.LayerNormalization()(L.Add()([x, L.Dense(8, activation="relu")(x)]))

    crossed(keras.Model(tokens, L.GlobalAveragePooling1D()(x)))


def test_a_sequential_model_crosses_with_its_names():
    source = keras.Sequential([keras.Input((4,)), L.Dense(3, name="first"), L.Dropout(0.2), L.Dense(2, name="second")])
    source.name = "stack"

    target = crossed(source)

    assert target.name == "stack"
    assert [layer.name for layer in target.layers if layer.weights] == ["first", "second"]


def test_several_inputs_and_outputs_keep_their_structure():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    x = L.Dense(3)(a)
    source = scattered(keras.Model({"a": a, "b": b}, {"sum": L.Add()([x, L.Dense(3)(b)]), "first": x}))

    target = to_tf_keras(source)

    given = {"a": np.ones((1, 4), "float32"), "b": np.full((1, 4), 2, "float32")}
    assert set(target(given)) == {"sum", "first"}
    for name, value in source(given).items():
        np.testing.assert_allclose(target(given)[name], value, atol=1e-5)


def test_a_shared_layer_stays_one_layer():
    a, b = keras.Input((4,)), keras.Input((4,))
    shared = L.Dense(3, activation="hard_swish", name="shared")

    target = crossed(keras.Model([a, b], L.Concatenate()([shared(a), shared(b), shared(a * 2)])))

    assert len(target.weights) == 2


def test_nested_models_cross_also_when_they_are_shared():
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, L.Dense(4, name="dense")(inner_input), name="inner")
    stack = keras.Sequential([keras.Input((4,)), inner, L.Dense(4, activation="relu6", name="dense")], name="stack")
    a, b = keras.Input((4,)), keras.Input((4,))

    target = crossed(keras.Model([a, b], [stack(a), stack(b), inner(b), L.Dense(2, name="dense")(stack(a))]))

    assert {"stack", "inner", "dense"} <= {layer.name for layer in target.layers}
    assert len(target.weights) == 6


def test_a_functional_subclass_without_code_of_its_own_crosses():
    class Named(keras.Model):
        def train_step(self, data):
            return {}

    inputs = keras.Input((4,))

    crossed(Named(inputs, L.Dense(3)(inputs)))


def test_free_axes_and_other_dtypes_of_inputs_cross():
    image, ids = keras.Input((None, None, 3), dtype="uint8"), keras.Input((None,))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(L.Rescaling(1 / 255)(image)))

    crossed(keras.Model([image, ids], x + L.GlobalMaxPooling1D()(L.Embedding(5, 4)(ids))))


def test_what_is_trainable_stays_so():
    base = keras.Sequential([keras.Input((4,)), L.Dense(4), L.BatchNormalization()], name="base")
    base.trainable = False
    inputs = keras.Input((4,))
    source = keras.Model(inputs, L.Dense(2, name="head")(base(inputs, training=False)))

    target = crossed(source)

    assert [weight.name for weight in target.trainable_weights] == ["head/kernel:0", "head/bias:0"]


def test_an_adapted_normalization_crosses():
    layer = L.Normalization(axis=-1)
    layer.adapt(np.random.default_rng(1).normal(5.0, 3.0, (64, 4)).astype("float32"))
    source = keras.Sequential([keras.Input((4,)), layer, L.Dense(2)])

    target = to_tf_keras(source)

    assert outputs_differ(source, target, np.full((1, 4), 4.0, "float32")) < 1e-5


def test_the_source_and_all_random_states_stay_as_they_are():
    source = scattered(text_model())
    before = [numpy_of(variable).copy() for variable in source.variables]
    config = source.get_config()
    tf_keras.utils.set_random_seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist()

    to_tf_keras(source)

    assert source.get_config() == config
    for variable, value in zip(source.variables, before, strict=True):
        np.testing.assert_array_equal(numpy_of(variable), value)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


def test_crossing_twice_gives_the_same_names_and_weights():
    source = scattered(text_model())

    first, second = to_tf_keras(source), to_tf_keras(source)

    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_copy_can_be_cloned_and_saved_by_tf_keras(tmp_path):
    target = crossed(two_inputs(lambda x, y: L.Dense(3, activation="hard_swish")(x[:, 1:] * 2 + y[:, :-1])))
    clone = tf_keras.models.clone_model(target)
    clone.set_weights(target.get_weights())
    target.save(tmp_path / "copy.keras")
    loaded = tf_keras.models.load_model(tmp_path / "copy.keras")

    given = [np.ones((1, 6, 4), "float32"), np.full((1, 6, 4), 2, "float32")]
    for other in (clone, loaded):
        np.testing.assert_allclose(other(given), target(given), atol=1e-6)


def test_a_model_that_keras_has_loaded_from_a_file_crosses(tmp_path):
    def body(x, y):
        sliced = x[:, 1:3, ...] * 2 + K.transpose(y, (0, 2, 1))[:, :2, 2:6]
        return K.reshape(sliced, (-1, 8)) + K.mean(x, axis=(1, 2))[:, None]

    two_inputs(body).save(tmp_path / "model.keras")

    crossed(keras.models.load_model(tmp_path / "model.keras"))


class Doubling(L.Layer):
    def call(self, x):
        return x * 2

    def compute_output_shape(self, input_shape):
        return input_shape


class Halving(L.Dense):
    pass


class Coded(keras.Model):
    def __init__(self):
        super().__init__(name="coded")
        self.dense = L.Dense(2)

    def call(self, x):
        return self.dense(x)


REFUSED = {
    "a custom layer": (lambda: Doubling(name="twice"), r"twice \(Doubling\): it is a custom class"),
    "a subclass of a layer": (lambda: Halving(3, name="half"), r"half \(Halving\): it is a custom class"),
    "a lambda": (lambda: L.Lambda(lambda x: x + 1, name="code"), r"code \(Lambda\): it runs Python code"),
    "a subclassed model": (Coded, r"coded \(Coded\): it is a model class with a call\(\) of its own"),
    "a wrapped custom layer": (
        lambda: L.TimeDistributed(Doubling(name="twice"), name="steps"),
        r"steps \(TimeDistributed\): it wraps twice \(Doubling\), which is a custom class",
    ),
    "a layer that tf_keras lacks": (lambda: L.RMSNormalization(name="rms"), r"rms .*: it has no counterpart"),
    "a setting that tf_keras lacks": (
        lambda: L.MultiHeadAttention(2, 2, use_gate=True, name="gated"),
        r"gated \(MultiHeadAttention\): it has use_gate=True",
    ),
    "a custom activation": (
        lambda: L.Dense(2, activation=lambda x: x, name="own"),
        r"own \(Dense\): it applies the activation function <lambda>",
    ),
    "an activation that tf_keras lacks": (lambda: L.Dense(2, activation="glu", name="g"), "function glu"),
    "another hard_sigmoid in a loop": (
        lambda: L.LSTM(2, recurrent_activation="hard_sigmoid", name="old"),
        r"old \(LSTM\): it has recurrent_activation=hard_sigmoid in its loop",
    ),
    "a state that is kept": (lambda: L.GRU(2, stateful=True, name="s"), r"s \(GRU\): it keeps its state"),
    "channels first": (
        lambda: L.Conv1D(2, 1, data_format="channels_first", name="cf"),
        r"cf \(Conv1D\): it has the channels first",
    ),
    "an operation that can't cross": (lambda: lambda x: K.cumsum(x, axis=1), r"\(Cumsum\): it is an operation without"),
    "a custom regularizer": (
        lambda: L.Dense(2, kernel_regularizer=OwnRegularizer(), name="r"),
        r"r \(Dense\): it holds kernel_regularizer=OwnRegularizer",
    ),
}


class OwnRegularizer(keras.regularizers.Regularizer):
    def __call__(self, x):
        return K.sum(x)

    def get_config(self):
        return {}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_cross_is_named_with_its_reason(case):
    make, message = REFUSED[case]
    layer, inputs = make(), keras.Input((6, 4), batch_size=2)
    output = layer(inputs, inputs) if isinstance(layer, L.MultiHeadAttention) else layer(inputs)

    with pytest.raises(UnsupportedOperatorError, match=message) as caught:
        to_tf_keras(keras.Model(inputs, output))

    assert caught.value.hint


# NumPy 2 says so of the variables of Keras when Keras quantizes them.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_quantized_layer_is_refused():
    model = through(L.Dense(3, name="q"), shape=(4,))
    model.get_layer("q").quantize("int8")

    with pytest.raises(UnsupportedOperatorError, match=r"q \(Dense\): it is quantized already"):
        to_tf_keras(model)


def test_all_layers_that_cannot_cross_are_named_at_once():
    inner = keras.Sequential([keras.Input((4,)), Halving(4, name="half"), L.Dense(4)])

    with pytest.raises(UnsupportedOperatorError, match="these 2 layers") as caught:
        to_tf_keras(through(Doubling(name="twice"), inner, inner, shape=(4,)))

    assert "twice (Doubling)" in caught.value.message
    assert "half (Halving)" in caught.value.message


def test_a_model_that_was_never_built_is_refused():
    with pytest.raises(UnsupportedOperatorError, match="it has no graph, because it was never built"):
        to_tf_keras(keras.Sequential([L.Dense(3)]))


def test_a_subclassed_model_itself_is_refused():
    with pytest.raises(UnsupportedOperatorError, match=r"coded \(Coded\)"):
        to_tf_keras(Coded())


def test_sparse_optional_and_text_inputs_are_refused():
    sparse, text = keras.Input((4,), sparse=True, name="s"), keras.Input((4,), dtype="string", name="t")
    layer = L.Dense(3)

    with pytest.raises(UnsupportedOperatorError, match=r"s \(InputLayer\): it is a sparse input.*t \(InputLayer\)"):
        to_tf_keras(keras.Model([sparse, text], layer(sparse)))


def test_a_model_of_tf_keras_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="not a model of Keras 3"):
        to_tf_keras(tf_keras.Sequential([tf_keras.layers.Dense(2)]))


def test_lost_weights_are_found_and_the_first_layer_is_named(monkeypatch):
    def forgetful(pairs):
        for source, target in pairs:
            if source.name != "second":
                target.set_weights(source.get_weights())
        return []

    monkeypatch.setattr(crossing, "carry_over", forgetful)
    model = scattered(through(*(L.Dense(4, name=name) for name in ("first", "second", "third")), shape=(4,)))

    with pytest.raises(VerificationError, match=r"the first layer that differs is second \(Dense\)"):
        to_tf_keras(model)


def test_weights_that_do_not_fit_are_told_with_their_layer(monkeypatch):
    monkeypatch.setattr(crossing, "rebuild", lambda _: Misfit())

    with pytest.raises(UnsupportedOperatorError, match=r"big \(Dense\): it has the weight .* of shape"):
        to_tf_keras(through(L.Dense(3), shape=(4,)))


class Misfit:
    def __init__(self):
        big, small = L.Dense(3, name="big"), tf_keras.layers.Dense(2, name="small")
        big.build((None, 4))
        small.build((None, 4))
        self.weighted = ((big, small),)


def test_nan_equals_nan_and_differs_from_a_number():
    nan = np.array([np.nan, 1.0])

    assert comparison.difference(nan, nan) == 0
    assert comparison.difference(nan, np.array([0.0, 1.0])) == float("inf")
    assert comparison.difference(np.array([0.0, 1.0]), nan) == float("inf")
    assert comparison.difference(np.array([0.0, 100.0]), np.array([1.0, 100.0])) == 0.01
