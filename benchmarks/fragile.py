"""A MobileNetV1-0.25 that int8 breaks, and how far equalization and bias correction bring it back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figure import Figure
from benchmarks.subjects import data_folder
from tinsmith.convert.equalization import ByActivations, ByWeights, equalize
from tinsmith.convert.quantization import Int8, Plan, choose_quantizer

DATA = data_folder()
_MODEL = "tflite_support/mobilenet_v1_0.25_224_1_default_1.tflite"
# Of the outputs of these operators every channel is made up to this many times smaller.
RESCALED = (3, 8, 14, 21)
_FURTHEST = 1e3
_SIDE = 224
_CALIBRATION, _TEST = 200, 1000


def break_model(source: Path, output: Path) -> list[str]:
    """Write the model with ReLU for ReLU6 and four tensors whose channels differ by up to 1,000.

    Written without the code that is to mend it. Gives the names of the layers that were rescaled.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(source))
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if getattr(operator.builtinOptions, "fusedActivationFunction", 0):
            operator.builtinOptions.fusedActivationFunction = 1
    rng = np.random.default_rng(4)
    for at in RESCALED:
        first, second = graph.operators[at], graph.operators[at + 1]
        count = int(graph.tensors[first.outputs[0]].shape[-1])
        by = _FURTHEST ** rng.uniform(-1, 0, count).astype(np.float32)
        depthwise = int(graph.tensors[first.inputs[1]].shape[0]) == 1
        _multiply(model, first.inputs[1], by if depthwise else by.reshape(-1, 1, 1, 1))
        _multiply(model, first.inputs[2], by)
        _multiply(model, second.inputs[1], 1 / by)
    flatbuffer_utils.write_model(model, str(output))
    return [graph.tensors[graph.operators[at].outputs[0]].name.decode() for at in RESCALED]


def _multiply(model, index, by):
    tensor = model.subgraphs[0].tensors[index]
    buffer = model.buffers[tensor.buffer]
    values = np.frombuffer(bytes(buffer.data), np.float32).reshape(tensor.shape) * by
    buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)


def images(name, count):
    """CIFAR images as the model wants them, a few at a time."""
    with np.load(DATA / name) as stored:
        pictures = stored["x"][:count]
    for start in range(0, len(pictures), 20):
        large = [
            Image.fromarray(p).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR) for p in pictures[start : start + 20]
        ]
        yield np.stack([np.asarray(p, np.float32) / 127.5 - 1 for p in large])
