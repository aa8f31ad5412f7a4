"""Inspection reads what stands in a file, believes no name, and survives damage."""

import json
import shutil
import zipfile

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
    assert precisions(path)["com.microsoft.MatMulNBits"] == "int4"


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


def test_a_keras_file_is_read_without_building_it(golden, tmp_path):
    found = inspect_model(golden / "cnn.keras")

    assert found.view.parameters == CNN_PARAMETERS
    assert dict(found.view.layers)["Conv2D"] == 1
    assert found.view.writer.startswith("Keras 3")
    assert found.view.unsafe == ()


def test_lambda_layers_are_told_before_anybody_loads_them(golden, tmp_path):
    path = tmp_path / "lambda.keras"
    with zipfile.ZipFile(golden / "cnn.keras") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["class_name"] = "Lambda"
                content = json.dumps(config).encode()
            target.writestr(name, content)

    assert len(inspect_model(path).view.unsafe) == 1


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["cnn_int8.tflite", "cnn.tflite", "cnn.onnx", "cnn.keras"]))
def test_damage_is_an_error_of_ours_or_harmless(golden, tmp_path, data, name):
    content = bytearray((golden / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = tmp_path / name
    damaged.write_bytes(content[: data.draw(st.integers(1, len(content)))])

    try:
        inspect_model(damaged)
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
