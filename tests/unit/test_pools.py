"""A pool over a whole image has a grid of its own in int8, on a .tflite file built here."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tinsmith.convert.quantization import Int8, Plan, choose_quantizer
from tinsmith.convert.quantization.pools import make_means_of_pools
from tinsmith.runtime.engines import choose_engine, open_engine
from tinsmith.runtime.session import Session

SIDE, CHANNELS = 8, 3
KINDS = schema.BuiltinOperator


def pooled(path, window=SIDE):
    """x [1, 8, 8, 3] to its average over windows."""
    left = SIDE // window
    graph, model, code, operator = schema.SubGraphT(), schema.ModelT(), schema.OperatorCodeT(), schema.OperatorT()
    graph.tensors = []
    for name, shape in ((b"x", (1, SIDE, SIDE, CHANNELS)), (b"y", (1, left, left, CHANNELS))):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        graph.tensors.append(tensor)
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    operator.builtinOptionsType, options = schema.BuiltinOptions.Pool2DOptions, schema.Pool2DOptionsT()
    options.filterHeight = options.filterWidth = options.strideH = options.strideW = window
    options.padding = schema.Padding.VALID
    operator.builtinOptions = options
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1]
    code.builtinCode = code.deprecatedBuiltinCode = KINDS.AVERAGE_POOL_2D
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], [schema.BufferT()]
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


def images(count=16):
    """One bright spot in each, so that the average is sixty times smaller than the range."""
    rng = np.random.default_rng(0)
    x = np.zeros((count, SIDE, SIDE, CHANNELS), np.float32)
    x[np.arange(count), rng.integers(0, SIDE, count), rng.integers(0, SIDE, count)] = rng.random((count, CHANNELS))
    return x


def quantized(source, **plan):
    small, quantizer = source.with_name("small.tflite"), choose_quantizer("tflite")
    quantizer.quantize(source, small, Plan(scheme=Int8(), **plan), quantizer.calibrate(source, [{"x": images()}]))
    return small


def answers(path):
    session = Session(open_engine(path, choose_engine("tflite")))
    found = [next(iter(session.run({session.inputs[0].name: row[None]}).values())) for row in images()]
    session.close()
    return np.concatenate(found)


def test_its_steps_are_those_of_the_average_and_not_of_the_image(tmp_path):
    source = pooled(tmp_path / "float.tflite")
    expected = images().mean(axis=(1, 2), keepdims=True)
    off = np.abs(answers(quantized(source)) - expected).max()

    assert answers(source) == pytest.approx(expected, abs=1e-6)
    # half a step of the average's grid, and what is left of the rounding of the one pixel
    assert off <= 0.5 * expected.max() / 255 + 0.5 * images().max() / 255 / SIDE**2 + 1e-6
    assert off < 0.1 * images().max() / 255


@pytest.mark.parametrize(("window", "kept"), [(4, ()), (SIDE, ("y",))])
def test_smaller_windows_and_kept_pools_stay(tmp_path, window, kept):
    model = flatbuffer_utils.read_model(str(pooled(tmp_path / "float.tflite", window)))
    make_means_of_pools(model, kept)

    assert [code.builtinCode for code in model.operatorCodes] == [KINDS.AVERAGE_POOL_2D]
    assert len(model.subgraphs[0].tensors) == 2
