"""Where sums of two products overflow 16 bits: the lint against a simulation of the instruction, and of the CPU."""

import itertools
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn

from tinsmith.convert.inspection import saturation_of
from tinsmith.convert.inspection.saturation import overflowing_pairs
from tinsmith.runtime.engines.ort import forbid_telemetry

onnx = pytest.importorskip("onnx")
forbid_telemetry()

EMULATOR = "qemu-x86_64-static"
needs_emulator = pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"{EMULATOR} is missing: make emulator")

ALL = np.arange(-128, 128)


def vpmaddubsw(activations, weights):
    """Intel's definition: products of unsigned and signed bytes, neighbours added with signed saturation to 16 bits."""
    products = activations.astype(np.int32) * weights.astype(np.int32)
    return np.clip(products[..., 0::2] + products[..., 1::2], -32768, 32767)


def test_the_lint_is_exact_for_every_pair_of_weights():
    one, other = np.meshgrid(ALL, ALL, indexing="ij")
    weights = np.stack([one.ravel(), other.ravel()]).astype(np.int8)
    clipped = np.zeros(weights.shape[1], bool)
    # products grow with activations, so that the extremes are reached at the ends of their range
    for activations in itertools.product((0, 255), repeat=2):
        exact = (np.array(activations)[:, None] * weights.astype(np.int32)).sum(axis=0)
        clipped |= vpmaddubsw(np.array(activations), weights.T)[:, 0] != exact

    assert np.array_equal(overflowing_pairs(weights)[0], clipped)


@given(
    drawn.arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 4))),
    st.integers(0, 2**32 - 1),
)
def test_without_an_overflowing_pair_no_activations_saturate(weights, seed):
    rng = np.random.default_rng(seed)
    even = np.concatenate([weights, np.zeros((len(weights) % 2, weights.shape[1]), np.int8)])
    samples = np.concatenate([rng.choice([0, 255], (64, len(even))), rng.integers(0, 256, (64, len(even)))])
    safe = ~overflowing_pairs(weights)

    summed = np.stack([vpmaddubsw(samples, column) for column in even.T], axis=-1)
    exact = (samples[:, :, None] * even.astype(np.int32)).reshape(len(samples), -1, 2, even.shape[1]).sum(axis=2)

    assert np.array_equal(summed[:, safe], exact[:, safe])


def constant(array, name):
    return onnx.numpy_helper.from_array(array, name)


def saved(path, nodes, inputs, outputs, constants):
    kinds = {"uint8": onnx.TensorProto.UINT8, "int8": onnx.TensorProto.INT8, "int32": onnx.TensorProto.INT32,
             "float32": onnx.TensorProto.FLOAT}  # fmt: skip
    ends = [[onnx.helper.make_tensor_value_info(n, kinds[d], s) for n, d, s in group] for group in (inputs, outputs)]
    graph = onnx.helper.make_graph(nodes, "g", *ends, constants)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def product(path, weights, *, activations="uint8"):
    depth, width = weights.shape
    node = onnx.helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    return saved(path, [node], [("x", activations, [None, depth])], [("y", "int32", [None, width])],
                 [constant(weights, "w")])  # fmt: skip


def convolution(path, weights, *, groups=1, step=1.0):
    """A QLinearConv with scale 1 in and for the weights, and ``step`` out."""
    names = ["x", "one", "zero", "w", "ones", "zeros", "step", "zero"]
    node = onnx.helper.make_node("QLinearConv", names, ["y"], group=groups)
    outs, ins = weights.shape[:2]
    constants = [constant(np.float32(1), "one"), constant(np.uint8(0), "zero"), constant(weights, "w"),
                 constant(np.ones(outs, np.float32), "ones"), constant(np.zeros(outs, np.int8), "zeros"),
                 constant(np.float32(step), "step")]  # fmt: skip
    return saved(path, [node], [("x", "uint8", [1, ins * groups, 4, 4])], [("y", "uint8", [1, outs, None, None])],
                 constants)  # fmt: skip


def test_the_operator_is_named_with_the_share_of_its_pairs(tmp_path):
    weights = np.zeros((4, 2), np.int8)
    weights[:2, 0] = 127

    found = saturation_of(product(tmp_path / "m.onnx", weights))

    assert [(o.name, o.operator, o.share) for o in found.operators] == [("y", "MatMulInteger", 0.25)]
    assert found.said == "can saturate in 1 of 1 operators that multiply integers"


@pytest.mark.parametrize(
    ("activations", "weights"),
    [("int8", np.int8(127)), ("uint8", np.uint8(255)), ("uint8", np.int8(64)), ("uint8", np.int8(-64))],
)
def test_signed_activations_unsigned_weights_and_seven_bits_never_saturate(tmp_path, activations, weights):
    path = product(tmp_path / "m.onnx", np.full((8, 2), weights), activations=activations)

    assert saturation_of(path).to_json() == {"operators": [], "products": 1}


def test_weights_that_are_not_in_the_file_may_saturate(tmp_path):
    node = onnx.helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    path = saved(tmp_path / "m.onnx", [node], [("x", "uint8", [2, 4]), ("w", "int8", [4, 2])],
                 [("y", "int32", [2, 2])], [])  # fmt: skip

    assert [o.share for o in saturation_of(path).operators] == [None]


def test_a_transposed_gemm_is_read_along_its_summed_axis(tmp_path):
    weights = np.zeros((2, 4), np.int8)
    weights[0, :2] = 127  # [out, in]: a pair along the summed axis; along the other one there is none
    path = quantized_gemm(tmp_path / "m.onnx", weights)

    assert [o.share for o in saturation_of(path).operators] == [0.25]


def quantized_gemm(path, weights):
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["x", "one", "zero"], ["rx"]),
        onnx.helper.make_node("DequantizeLinear", ["w", "one"], ["rw"]),
        onnx.helper.make_node("Gemm", ["rx", "rw"], ["ry"], transB=1),
        onnx.helper.make_node("QuantizeLinear", ["ry", "one", "zero"], ["y"]),
    ]
    constants = [constant(np.float32(1), "one"), constant(np.uint8(0), "zero"), constant(weights, "w")]
    outs, ins = weights.shape
    return saved(path, nodes, [("x", "uint8", [1, ins])], [("y", "uint8", [1, outs])], constants)


# Runs each file on 255 everywhere.
RUN = """
import sys, numpy as np, onnxruntime
onnxruntime.set_default_logger_severity(3)
for path in sys.argv[1:]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    shape = [n if isinstance(n, int) else 3 for n in given.shape]
    print(int(session.run(None, {given.name: np.full(shape, 255, np.uint8)})[0].ravel()[0]))
"""


def on_haswell(paths):
    command = [EMULATOR, "-cpu", "Haswell", sys.executable, "-c", RUN, *map(str, paths)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [int(line) for line in said.stdout.split()]


@needs_emulator
def test_the_lint_says_what_a_cpu_without_vnni_does(tmp_path):
    """Two weights of 127 somewhere, all others 0: it saturates exactly where they are a pair of the lint."""
    right, paths = [], []
    for depth, rows in itertools.product((8, 9), ((0, 1), (1, 2), (2, 3), (0, 2))):
        weights = np.zeros((depth, 16), np.int8)
        weights[list(rows)] = 127
        paths.append(product(tmp_path / f"{len(paths)}.onnx", weights))
        right.append(2 * 127 * 255)
    for (ins, outs, groups), places in itertools.product(
        ((3, 8, 1), (4, 8, 1), (1, 8, 8), (1, 8, 4), (1, 8, 1), (4, 16, 4)),
        (((0, 0, 0), (-1, 0, 0)), ((0, 0, 0), (0, 0, 1)), ((-1, 0, 0), (0, 0, 1)), ((0, 0, 0), (0, 1, 0))),
    ):
        weights = np.zeros((outs, ins, 3, 3), np.int8)
        for place in places:
            weights[(slice(None), *place)] = 127
        paths.append(convolution(tmp_path / f"{len(paths)}.onnx", weights, groups=groups, step=1000))
        right.append(round(int(weights[0].astype(int).sum()) * 255 / 1000))

    saturated = [found != wanted for found, wanted in zip(on_haswell(paths), right, strict=True)]

    assert saturated == [bool(saturation_of(path).operators) for path in paths]
    assert 5 < sum(saturated) < len(saturated) - 5


@needs_emulator
def test_the_product_of_the_issue_saturates(tmp_path):
    path = product(tmp_path / "m.onnx", np.full((64, 1), 127, np.int8))

    assert on_haswell([path]) == [1_048_544]
    assert saturation_of(path).operators[0].share == 1
