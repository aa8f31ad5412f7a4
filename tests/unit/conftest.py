"""A small trained model with its samples, for the tests of passes that train, and recorded measurements."""

import contextlib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# A busy machine is slow, and no fault of the code.
settings.register_profile("tinsmith", deadline=None)
settings.load_profile("tinsmith")

CLASSES = 4
DENSE = Path(__file__).parents[1] / "golden" / "dense.tflite"


@pytest.fixture(scope="session")
def measured():
    """Measurements of dense.tflite on a device called a, by a fake: run times of its processes, what else it says."""
    return _measured


def _measured(times_ns, **fake):
    from tinsmith.devices.benchmarking.benchmark import benchmark
    from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
    from tinsmith.devices.benchmarking.fake import FakeMeasurer
    from tinsmith.devices.inventory import local_device

    plan = Plan(effort=replace(EFFORTS["quick"], processes=len(times_ns)), threads=1)
    device = replace(local_device(), name="a")
    return benchmark([DENSE], [device], plan, measurer_of=lambda _: FakeMeasurer(times_ns, **fake)).measurements


@pytest.fixture(scope="session")
def pictures():
    """Draws labelled pictures: (samples, seed) -> images, labels."""
    return _pictures


def _pictures(samples, seed):
    """Bars in one of four directions, at any place, under noise; values 0 to 255."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, samples)
    images = rng.normal(60, 45, (samples, 12, 12, 1))
    for image, label, at in zip(images, labels, rng.integers(2, 10, samples), strict=True):
        diagonal = np.clip(np.arange(12) + at - 6, 0, 11)
        rows, columns = [
            (at, slice(None)),
            (slice(None), at),
            (np.arange(12), diagonal),
            (np.arange(12), diagonal[::-1]),
        ][label]
        image[rows, columns, 0] += 120
    return np.clip(images, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """A folder with a trained model whose batch-norm statistics are stale, and samples."""
    folder = tmp_path_factory.mktemp("studio")
    with warnings.catch_warnings():
        # NumPy 2 warns about the way in which Keras hands out the numbers of its variables
        warnings.simplefilter("ignore", DeprecationWarning)
        _fill(folder)
    return folder


def _fill(folder):
    from tinsmith.convert.frameworks import require

    keras = require("keras", needed_for="the tests")
    for name, samples, seed in (("train", 1500, 0), ("test", 600, 1)):
        images, labels = _pictures(samples, seed)
        np.savez(folder / f"{name}.npz", x=images, y=labels)
    images, labels = _pictures(1500, 0)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1), name="picture"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, padding="same", use_bias=False, name="one"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(24, 3, strides=2, padding="same", name="two"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(24, 3, padding="same", name="three"),
            layers.ReLU(),
            layers.GlobalMaxPooling2D(),
            layers.Dense(CLASSES, activation="softmax", name="kind"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(5e-3), loss="sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images.astype("f4"), labels, epochs=6, batch_size=64, verbose=0)
    model.save(folder / "whole.keras")
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(layer.moving_mean + 1.5 * keras.ops.sqrt(layer.moving_variance))
            layer.moving_variance.assign(layer.moving_variance * 2)
    model.save(folder / "stale.keras")


@pytest.fixture(scope="session")
def int8_constants():
    return _int8_constants


def _int8_constants(path):
    """Asks the engine, which knows nothing of how the file was written."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    found = []
    for tensor in interpreter.get_tensor_details():
        with contextlib.suppress(ValueError):  # it is no constant, and nothing was allocated
            found.append(interpreter.get_tensor(tensor["index"]))
    return [array for array in found if array.dtype == np.int8]


@pytest.fixture(scope="session")
def matrix_model():
    """Writes a float .tflite of two FULLY_CONNECTED: path -> path."""
    return _matrix_model


def _matrix_model(path, depths=(64, 40), columns=48):
    """A float .tflite of two FULLY_CONNECTED: x [n, 64] to 40 to 48."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    rng = np.random.default_rng(3)
    shapes = [(1, depths[0]), (depths[1], depths[0]), (depths[1],), (1, depths[1]), (columns, depths[1]), (columns,)]
    shapes.append((1, columns))
    names = ("x", "w1", "b1", "h", "w2", "b2", "y")
    graph, model, code = schema.SubGraphT(), schema.ModelT(), schema.OperatorCodeT()
    graph.tensors = [_float_tensor(name, shape, at) for at, (name, shape) in enumerate(zip(names, shapes, strict=True))]
    for at in (0, 3, 6):
        graph.tensors[at].shapeSignature = [-1, shapes[at][1]]
    graph.inputs, graph.outputs = [0], [6]
    graph.operators = [_connected([0, 1, 2], 3), _connected([3, 4, 5], 6)]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT() for _ in range(len(names) + 1)]
    for at in (1, 2, 4, 5):
        content = rng.normal(size=shapes[at]).astype(np.float32).tobytes()
        model.buffers[at + 1].data = np.frombuffer(content, np.uint8)
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


def _float_tensor(name, shape, at):
    from ai_edge_litert import schema_py_generated as schema

    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name.encode(), list(shape), at + 1, schema.TensorType.FLOAT32
    return made


def _connected(inputs, output):
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, inputs, [output]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    return operator
