"""Inspection reads what stands in a file, believes no name, and survives damage."""

import json
import shutil

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tinsmith.__main__ import run
from tinsmith.convert.inspection import inspect_model, operator_precisions
from tinsmith.runtime.errors import ModelLoadError, TinsmithError

# golden/cnn: conv 3x3x1 to 4 on 8x8 (36 places x 4 filters x 9 weights), dense 4 to 3
CNN_MACS = 36 * 4 * 9 + 4 * 3
CNN_PARAMETERS = (9 * 4 + 4) + (4 * 3 + 3)


def precisions(path):
    return {use.name: use.precision for use in operator_precisions(path)}


@pytest.mark.parametrize("name", ["cnn.tflite", "cnn_int8.tflite", "cnn.onnx"])
def test_macs_and_parameters_are_those_counted_by_hand(golden, name):
    found = inspect_model(golden / name)

    assert found.macs == CNN_MACS
    assert found.weights.parameters == CNN_PARAMETERS
    assert found.weights.channels == 4 + 3


def test_sizes_add_up(golden):
    found = inspect_model(golden / "cnn_int8.tflite")

    assert found.file_bytes == (golden / "cnn_int8.tflite").stat().st_size
    assert sum(found.overhead.values()) < found.file_bytes - found.weights.constant_bytes
    assert 0 < found.zip_bytes < found.file_bytes
    assert found.weights.constant_bytes >= 9 * 4 + 4 * 3 + 4 * (4 + 3)


def test_inputs_and_outputs_keep_free_axes_and_quantization(golden):
    found = inspect_model(golden / "cnn_int8.tflite")

    (spec,) = found.inputs
    assert (spec.dtype, spec.shape) == ("int8", (None, 8, 8, 1))
    assert spec.quantization.scale[0] == pytest.approx(1 / 255, rel=0.01)


def test_float_and_int8_files_say_what_they_compute_in(golden):
    assert set(precisions(golden / "cnn.tflite").values()) == {"float32"}
    assert precisions(golden / "cnn_int8.tflite")["CONV_2D"] == "int8"
    assert inspect_model(golden / "cnn_int8.tflite").precision_shares == {"int8": 1.0}
    assert precisions(golden / "cnn.onnx")["Conv"] == "float32"


@pytest.mark.parametrize(
    ("name", "original", "said"),
    [
        ("net_float32.tflite", "cnn_int8.tflite", "the name says float"),
        ("net_int8.tflite", "cnn.tflite", "the name says quantized"),
        ("net.tflite", "cnn_int8.tflite", None),
    ],
)
def test_a_name_that_lies_is_told(golden, tmp_path, name, original, said):
    shutil.copy(golden / original, tmp_path / name)

    remarks = " ".join(inspect_model(tmp_path / name).remarks)

    assert (said in remarks) if said else not remarks


def test_dead_channels_and_small_weights_are_found_without_being_zero(tmp_path):
    weights = np.ones((4, 1, 3, 3), np.float32)
    weights[1] = 1e-30
    weights[2] = 0
    weights[3, 0, 0, 0] = 1e-30
    path = write(tmp_path, [helper.make_node("Conv", ["x", "w"], ["y"])], w=weights, shape=[1, 1, 8, 8])

    found = inspect_model(path).weights

    assert (found.dead_channels, found.channels) == (2, 4)
    assert found.zeros == pytest.approx(9 / 36)
    assert found.near_zeros == pytest.approx(19 / 36)


def write(tmp_path, nodes, *, shape=(2, 4), opset=21, domains=(), **constants):
    """An .onnx file with float input x and output y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    path = tmp_path / "made.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def quantized(kind):
    """x through Q/DQ of one type, times w through DQ."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["wf"]),
        helper.make_node("MatMul", ["xf", "wf"], ["y"]),
    ]
    constants = {
        "s": np.float32(0.1), "z": np.array(0, kind), "wz": np.array(0, np.int8), "w": np.ones((4, 3), np.int8)
    }  # fmt: skip
    return nodes, constants


@pytest.mark.parametrize(
    ("kind", "precision"), [(np.int8, "int8"), (np.uint8, "int8"), (np.int16, "int16x8"), (np.uint16, "int16x8")]
)
def test_qdq_pairs_say_the_precision_between_them(tmp_path, kind, precision):
    nodes, constants = quantized(kind)

    path = write(tmp_path, nodes, **constants)

    assert precisions(path)["MatMul"] == precision
    assert inspect_model(path).macs == 2 * 3 * 4


def test_weights_alone_in_integers_are_weight_only(tmp_path):
    nodes, constants = quantized(np.int8)
    nodes = [nodes[2], helper.make_node("MatMul", ["x", "wf"], ["y"])]

    path = write(tmp_path, nodes, **constants)

    assert precisions(path)["MatMul"] == "weight-only-int8"


def test_dynamic_and_four_bit_operators_are_told_by_their_kind(tmp_path):
    dynamic = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["xq", "w", "xz"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    path = write(tmp_path, dynamic, w=np.ones((4, 3), np.int8))
    assert precisions(path)["MatMulInteger"] == "dynamic-int8"

    four = [helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=4, N=3, bits=4)]
    path = write(
        tmp_path, four, domains=["com.microsoft"], w=np.ones((3, 1, 16), np.uint8), s=np.ones(3, np.float32)
    )  # fmt: skip
    assert precisions(path)["com.microsoft.MatMulNBits"] == "weight-only-int4"
    assert inspect_model(path).macs == 2 * 3 * 4
    assert inspect_model(path).weights.parameters == 3 * 4


def test_a_quantized_activation_does_not_make_float_weights_integers(tmp_path):
    nodes, constants = quantized(np.int8)
    nodes = [nodes[0], nodes[1], helper.make_node("MatMul", ["xf", "w"], ["y"])]

    path = write(tmp_path, nodes, **{**constants, "w": np.ones((4, 3), np.float32)})

    assert precisions(path)["MatMul"] == "float32"


@pytest.mark.parametrize(("packed_again", "precision"), [(True, "int8"), (False, "weight-only-int8")])
def test_a_convolution_is_int8_only_if_its_result_is_quantized_again(tmp_path, packed_again, precision):
    unpack = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"]),
        helper.make_node("Conv", ["xf", "wf"], ["c"]),
        helper.make_node("Relu", ["c"], ["r" if packed_again else "y"]),
    ]
    pack = [
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["y"]),
    ]
    weights = {"w": np.ones((1, 1, 3, 3), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    path = write(tmp_path, unpack + pack * packed_again, shape=[1, 1, 5, 5], **weights)

    assert precisions(path)["Conv"] == precision
    assert precisions(path)["Relu"] == ("int8" if packed_again else "float32")
    assert inspect_model(path).weights.parameters == 9


def test_zero_is_the_zero_point_wherever_the_graph_keeps_it(tmp_path):
    weights = np.full((4, 3), 128, np.uint8)
    weights[:, 2] = 7
    points = np.array([128, 128, 9], np.uint8)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], axis=1),
        helper.make_node("MatMul", ["x", "wf"], ["y"]),
    ]
    path = write(tmp_path, nodes, w=weights, s=np.ones(3, np.float32), z=points)

    found = inspect_model(path).weights

    assert (found.dead_channels, found.channels, found.parameters) == (2, 3, 12)


def test_old_files_without_listed_initializers_and_weights_behind_a_reshape_are_counted(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["a"], auto_pad="SAME_UPPER"),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),
        helper.make_node("Reshape", ["d", "two"], ["e"]),
        helper.make_node("MatMul", ["b", "e"], ["y"]),
    ]
    shapes = {"flat": np.array([1, 32]), "two": np.array([32, 5])}
    weights = {"c": np.ones((2, 1, 3, 3), np.float32), "d": np.ones((2, 4, 4, 5), np.float32)}
    path = write(tmp_path, nodes, shape=[1, 1, 4, 4], opset=8, **shapes, **weights)
    model = onnx.load(path)
    model.ir_version = 3
    onnx.save(model, path)

    found = inspect_model(path)

    assert found.macs == 16 * 2 * 9 + 32 * 5
    assert (found.weights.parameters, found.weights.channels) == (18 + 160, 2 + 5)


def test_shapes_go_on_behind_operators_of_onnxruntime(tmp_path):
    nodes = [
        helper.make_node("Gelu", ["x"], ["g"], domain="com.microsoft"),
        helper.make_node("MatMul", ["g", "w"], ["y"]),
    ]
    path = write(tmp_path, nodes, domains=["com.microsoft"], w=np.ones((4, 3), np.float32))

    assert set(precisions(path).values()) == {"float32"}
    assert inspect_model(path).macs == 2 * 3 * 4


def test_the_operators_of_the_integer_format_are_counted_like_the_floats(tmp_path):
    ends = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["a"])]
    ends += [helper.make_node("DequantizeLinear", ["d", "s", "z"], ["y"])]
    middle = [
        helper.make_node("QLinearAdd", ["a", "s", "z", "o", "s", "z", "s", "z"], ["b"], domain="com.microsoft"),
        helper.make_node("QLinearMatMul", ["b", "s", "z", "w", "s", "z", "s", "z"], ["d"]),
    ]
    constants = {"s": np.float32(0.1), "z": np.uint8(9), "w": np.full((4, 3), 9, np.uint8), "o": np.ones(4, np.uint8)}
    path = write(tmp_path, [ends[0], *middle, ends[1]], domains=["com.microsoft"], **constants)

    found = inspect_model(path)

    assert found.precision_shares == {"int8": 1.0}
    assert (found.macs, found.uncounted) == (2 * 3 * 4, ())
    assert (found.weights.parameters, found.weights.dead_channels) == (12 + 4, 3)


def test_what_multiplies_and_is_not_counted_is_named(tmp_path):
    nodes = [
        helper.make_node("Einsum", ["x", "w"], ["e"], equation="ij,jk->ik"),
        helper.make_node("Mine", ["e"], ["y"], domain="my.own"),
    ]

    found = inspect_model(write(tmp_path, nodes, domains=["my.own"], w=np.ones((4, 3), np.float32)))

    assert found.uncounted == ("Einsum", "my.own.Mine")
    assert found.custom == ("my.own.Mine",)
    assert any("my.own.Mine" in remark for remark in found.remarks)


def test_external_data_are_weights_and_not_negative_overhead(tmp_path):
    path = write(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"])], w=np.ones((4, 300), np.float32))
    outside = tmp_path / "outside.onnx"
    onnx.save(onnx.load(path), outside, save_as_external_data=True, location="w.bin", size_threshold=0)

    found = inspect_model(outside)
    (tmp_path / "w.bin").unlink()
    lost = inspect_model(outside)

    assert (found.external_bytes, found.weights.parameters) == (4800, 1200)
    assert found.overhead_bytes == found.file_bytes
    assert any("external data of w" in remark for remark in lost.remarks)


def test_half_precision_and_index_arithmetic(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Shape", ["m"], ["n"]),
        helper.make_node("Add", ["n", "n"], ["twice"]),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    path = write(tmp_path, nodes, w=np.ones((4, 3), np.float16))

    assert precisions(path) == {"Cast": "-", "MatMul": "float16", "Shape": "-", "Add": "integer"}


def test_gemm_counts_the_inner_axis_whichever_way_its_weights_lie(tmp_path):
    for transposed, shape in ((0, (4, 3)), (1, (3, 4))):
        node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=transposed)
        weights = np.ones(shape, np.float32)
        weights[(slice(None), 0) if not transposed else 0] = 0
        found = inspect_model(write(tmp_path, [node], w=weights))

        assert found.macs == 2 * 3 * 4
        assert (found.weights.dead_channels, found.weights.channels) == (1, 3)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["cnn_int8.tflite", "cnn.tflite", "cnn.onnx"]))
def test_damage_is_an_error_of_ours_or_harmless(golden, tmp_path, data, name):
    damaged = tmp_path / name
    content = bytearray((golden / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged.write_bytes(content[: data.draw(st.integers(1, len(content)))])

    try:
        found = inspect_model(tmp_path / name)
        json.dumps(found.to_json(), allow_nan=False)
    except TinsmithError as error:
        refused = error
        assert name in refused.message


def test_a_vector_that_claims_to_be_huge_is_refused_at_once(golden, tmp_path):
    content = bytearray((golden / "cnn.tflite").read_bytes())
    for at in range(8, len(content) - 4, 4):
        content[at : at + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "huge.tflite").write_bytes(content)

    with pytest.raises(ModelLoadError, match=r"huge\.tflite"):
        inspect_model(tmp_path / "huge.tflite")


@pytest.mark.parametrize("name", ["cnn.tflite", "cnn_int8.tflite", "cnn.onnx", "cnn.keras"])
def test_the_command_prints_a_table_of_a_hundred_columns_and_one_document(golden, capsys, name):
    assert run(["inspect", str(golden / name)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100

    assert run(["inspect", str(golden / name), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["inspection"]["file_bytes"] == (golden / name).stat().st_size
