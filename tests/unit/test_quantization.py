import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tinsmith.convert.quantization import (
    DynamicInt8,
    Float16,
    Int8,
    Int16x8,
    Plan,
    arithmetic_for,
    choose_quantizer,
)
from tinsmith.runtime.cpu import read_cpu
from tinsmith.runtime.engines import choose_engine, open_engine
from tinsmith.runtime.errors import DataError, ModelError, ModelLoadError, RecipeError, UnsupportedOperatorError
from tinsmith.runtime.session import Session

onnx = pytest.importorskip("onnx")

# How far answers may move, as a share of the float model's largest: on these models 0.0002, 0.007, 0.009 and 0.005.
# Where products of 8 bits saturate, onnxruntime's weights have 7.
CPU = read_cpu()
LOST_BIT = 2 if CPU is not None and CPU.saturates else 1
TOLERANCES = {Float16(): 0.001, DynamicInt8(): 0.015 * LOST_BIT, Int8(): 0.02 * LOST_BIT, Int16x8(): 0.01}


def conv_model(path, *, dead_channel=False, faint=False, batch=-1, names=("x", "weights", "bias", "y"), modern=True):
    """A float .tflite with one 3x3 convolution, 2 channels in and 3 out, and no signature."""
    rng = np.random.default_rng(7)
    weights = rng.normal(size=(3, 3, 3, 2)).astype(np.float32) * np.array([0.01, 1, 10], np.float32).reshape(3, 1, 1, 1)
    bias = np.array([0.5, -1, 2], np.float32)
    if dead_channel:
        weights[0] *= np.float32(1e-28)
    if faint:
        weights, bias = weights * np.float32(1e-7), bias * np.float32(1e-7)
    graph = schema.SubGraphT()
    shapes = [(abs(batch), 6, 6, 2), weights.shape, bias.shape, (abs(batch), 6, 6, 3)]
    graph.tensors = [tensor(name, shape, at) for at, (name, shape) in enumerate(zip(names, shapes, strict=True), 1)]
    for end in (graph.tensors[0], graph.tensors[3]):
        end.shapeSignature = [batch, *end.shape[1:]]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [convolution(relu6=faint)]
    code = schema.OperatorCodeT()
    code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.builtinCode = schema.BuiltinOperator.CONV_2D if modern else 0
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT() for _ in range(5)]
    model.buffers[2].data, model.buffers[3].data = (np.frombuffer(a.tobytes(), np.uint8) for a in (weights, bias))
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


def tensor(name, shape, buffer):
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name.encode(), list(shape), buffer, schema.TensorType.FLOAT32
    return made


def convolution(*, relu6):
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = options = schema.Conv2DOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU6 if relu6 else 0
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    return operator


def onnx_model(path, nodes, weights, *, shape, outputs, opset=17):
    """Float nodes from ``x`` of ``shape`` to ``y`` of ``outputs``."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", floats, shape)],
        [helper.make_tensor_value_info("y", floats, outputs)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def gemm_model(path, bias_shape=(3,), opset=17):
    rng = np.random.default_rng(1)
    weights = {
        "w": rng.normal(size=(4, 3)).astype(np.float32),
        "b": rng.normal(size=bias_shape).astype(np.float32),
    }
    node = onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    return onnx_model(path, [node], weights, shape=["n", 4], outputs=["n", 3], opset=opset)


def answers(path, x):
    """Run an artifact on real numbers and give its only output."""
    choice = choose_engine(path.suffix.removeprefix("."))
    session = Session(open_engine(path, choice))
    (output,) = session.run({session.inputs[0].name: x}).values()
    session.close()
    return output


def images(n=16, seed=0):
    return np.random.default_rng(seed).random((n, 8, 8, 1), np.float32)


def batches(x, name="image", size=5):
    return ({name: x[at : at + size]} for at in range(0, len(x), size))


def read(path):
    return flatbuffer_utils.read_model(str(path))


def quantize(source, output, scheme, samples=None):
    file_format = source.suffix.removeprefix(".")
    quantizer = choose_quantizer(file_format)
    calibration = quantizer.calibrate(source, samples) if scheme.static and samples is not None else None
    plan = Plan(scheme=scheme, arithmetic=arithmetic_for(CPU, file_format))
    return quantizer.quantize(source, output, plan, calibration)


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
class TestEveryTarget:
    @pytest.mark.parametrize("scheme", TOLERANCES)
    def test_answers_stay_near_those_of_the_float_model(self, golden, tmp_path, suffix, scheme):
        source, output = golden / f"cnn.{suffix}", tmp_path / f"small.{suffix}"

        report = quantize(source, output, scheme, batches(images()))

        expected = answers(source, images(seed=1))
        assert np.abs(answers(output, images(seed=1)) - expected).max() <= TOLERANCES[scheme] * np.abs(expected).max()
        assert report.samples == (16 if scheme.static else 0)
        assert (report.ranges > 0) == scheme.static

    @pytest.mark.parametrize("scheme", TOLERANCES)
    def test_the_same_again_gives_the_same_bytes(self, golden, tmp_path, suffix, scheme):
        outputs = [tmp_path / f"{number}.{suffix}" for number in range(2)]
        for output, size in zip(outputs, (5, 3), strict=True):
            quantize(golden / f"cnn.{suffix}", output, scheme, batches(images(), size=size))

        assert outputs[0].read_bytes() == outputs[1].read_bytes()

    @pytest.mark.parametrize("samples", [None, ()])
    @pytest.mark.parametrize("scheme", [Int8(), Int16x8()])
    def test_static_schemes_never_make_samples_up(self, golden, tmp_path, suffix, scheme, samples):
        with pytest.raises(DataError, match="must see real samples"):
            quantize(golden / f"cnn.{suffix}", tmp_path / "small", scheme, samples)

        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("scheme", TOLERANCES)
    def test_samples_of_another_shape_are_refused(self, golden, tmp_path, suffix, scheme):
        if not scheme.static:
            return
        with pytest.raises((ModelError, DataError)):
            quantize(golden / f"cnn.{suffix}", tmp_path / "small", scheme, [{"image": np.zeros((2, 5, 5, 1))}])

    def test_a_quantized_model_is_refused(self, golden, tmp_path, suffix):
        once = tmp_path / f"once.{suffix}"
        for first in (DynamicInt8(), Int8(), Float16()):
            quantize(golden / f"cnn.{suffix}", once, first, batches(images()))
            for scheme in TOLERANCES:
                with pytest.raises(RecipeError, match=r"once\.\w+ is quantized already"):
                    quantize(once, tmp_path / "twice", scheme, batches(images()))

    def test_a_damaged_file_is_refused(self, golden, tmp_path, suffix):
        damaged = tmp_path / f"damaged.{suffix}"
        damaged.write_bytes((golden / f"cnn.{suffix}").read_bytes()[:300])
        for scheme in TOLERANCES:
            with pytest.raises(ModelLoadError, match="is damaged"):
                quantize(damaged, tmp_path / "small", scheme, batches(images()))

    def test_samples_of_zeros_make_a_model_that_runs(self, golden, tmp_path, suffix):
        zeros = np.zeros((4, 8, 8, 1), np.float32)
        for scheme in (Int8(), Int16x8()):
            output = tmp_path / f"small.{suffix}"
            quantize(golden / f"cnn.{suffix}", output, scheme, batches(zeros))

            assert np.isfinite(answers(output, zeros)).all()

    def test_nothing_is_printed_and_logging_is_left_alone(self, golden, tmp_path, suffix):
        program = (
            "import logging, sys; from pathlib import Path; import numpy as np; "
            "from tinsmith.convert.quantization import *; source = Path(sys.argv[1]); x = np.ones((1, 8, 8, 1), 'f4')\n"
            "for scheme in (Float16(), DynamicInt8(), Int8(), Int16x8()):\n"
            "    quantizer = choose_quantizer(source.suffix[1:])\n"
            "    found = quantizer.calibrate(source, [{'image': x}])\n"
            "    quantizer.quantize(source, Path('small'), Plan(scheme=scheme), found)\n"
            "assert logging.root.handlers == []"
        )
        command = [sys.executable, "-W", "error", "-c", program, str(golden / f"cnn.{suffix}")]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


class TestTflite:
    @pytest.mark.parametrize(("io", "dtype"), [("int8", "int8"), ("float32", "float32")])
    def test_io_says_what_inputs_and_outputs_store(self, golden, tmp_path, io, dtype):
        output = tmp_path / "small.tflite"
        quantize(golden / "cnn.tflite", output, Int8(io=io), batches(images()))

        engine = open_engine(output, choose_engine("tflite"))
        assert [spec.dtype for spec in (*engine.inputs, *engine.outputs)] == [dtype, dtype]
        assert [spec.name for spec in (*engine.inputs, *engine.outputs)] == ["image", "score"]

    def test_int8_ends_change_no_answer(self, golden, tmp_path):
        found = []
        for io in ("int8", "float32"):
            output = tmp_path / f"{io}.tflite"
            quantize(golden / "cnn.tflite", output, Int8(io=io), batches(images()))
            found.append(answers(output, images(seed=1)))

        assert np.array_equal(*found)

    def test_weights_have_one_scale_a_channel(self, tmp_path):
        source, output = conv_model(tmp_path / "conv.tflite"), tmp_path / "small.tflite"
        quantize(source, output, Int8(), [{"x": np.random.default_rng(0).random((8, 6, 6, 2), np.float32)}])

        weights = next(t for t in read(output).subgraphs[0].tensors if t.name == b"weights")

        assert weights.type == schema.TensorType.INT8
        assert len(weights.quantization.scale) == 3
        assert np.ptp(np.log10(weights.quantization.scale)) > 2

    @pytest.mark.parametrize("scheme", TOLERANCES)
    @pytest.mark.parametrize(
        "quirk",
        [
            {"batch": 2},
            {"modern": False},
            {"names": ("x", "same", "same", "y")},
            {"names": ("", "w", "b", "")},
            {"dead_channel": True},
        ],
        ids=["fixed batch", "old operator codes", "names twice", "no names", "dead channel"],
    )
    def test_odd_files_are_quantized_like_others(self, tmp_path, quirk, scheme):
        source, output = conv_model(tmp_path / "conv.tflite", **quirk), tmp_path / "small.tflite"
        x = np.random.default_rng(0).random((6, 6, 6, 2), np.float32)

        quantize(source, output, scheme, [{"x": x[:3]}, {"x": x[3:]}])

        expected = answers(source, x[:2])
        errors = np.abs(answers(output, x[:2]) - expected).max(axis=(0, 1, 2))
        assert (errors <= TOLERANCES[scheme] * np.abs(expected).max()).all()

    def test_the_bias_of_a_dead_channel_survives(self, tmp_path):
        source, output = conv_model(tmp_path / "conv.tflite", dead_channel=True), tmp_path / "small.tflite"
        x = np.random.default_rng(0).random((4, 6, 6, 2), np.float32)

        quantize(source, output, Int16x8(), [{"x": x}])

        assert answers(output, x)[..., 0] == pytest.approx(0.5, abs=0.005)

    @pytest.mark.parametrize("scheme", [Int8(), Int16x8()])
    def test_activations_so_faint_that_the_limit_of_relu6_overflows_their_grid(self, tmp_path, scheme):
        source, output = conv_model(tmp_path / "conv.tflite", faint=True), tmp_path / "small.tflite"
        x = np.random.default_rng(0).random((4, 6, 6, 2), np.float32)

        quantize(source, output, scheme, [{"x": x}])

        expected = answers(source, x)
        assert np.abs(answers(output, x) - expected).max() <= 0.02 * np.abs(expected).max()

    def test_a_model_with_loops_has_no_ranges(self, golden, tmp_path):
        with pytest.raises(UnsupportedOperatorError, match="ranges inside them can't be observed"):
            quantize(golden / "endless.tflite", tmp_path / "small", Int8(), [{"x": np.ones(1, np.float32)}])

    def test_a_model_with_nothing_to_quantize_is_refused(self, golden, tmp_path):
        with pytest.raises(RecipeError, match=r"finds nothing in endless\.tflite"):
            quantize(golden / "endless.tflite", tmp_path / "small", DynamicInt8())

    def test_tensorflow_stays_out(self, golden, tmp_path):
        program = (
            "import sys; from pathlib import Path; from tinsmith.convert.quantization import *; "
            "choose_quantizer('tflite').quantize(Path(sys.argv[1]), Path('small.tflite'), Plan(scheme=DynamicInt8())); "
            "print(sorted({'tensorflow', 'onnx', 'onnxruntime', 'scipy.linalg'} & set(sys.modules)))"
        )
        command = [sys.executable, "-c", program, str(golden / "cnn.tflite")]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

        assert result.stdout.strip() == "[]"


class TestOnnx:
    def test_int8_ends_are_refused_with_the_way_out(self, golden, tmp_path):
        with pytest.raises(RecipeError, match="can't have int8 inputs") as caught:
            quantize(golden / "cnn.onnx", tmp_path / "small.onnx", Int8(io="int8"), batches(images()))

        assert "make a .tflite" in caught.value.hint

    @pytest.mark.parametrize("scheme", TOLERANCES)
    def test_the_file_follows_the_standard_and_keeps_its_ends(self, golden, tmp_path, scheme):
        output = tmp_path / "small.onnx"
        quantize(golden / "cnn.onnx", output, scheme, batches(images()))

        model = onnx.load(str(output))
        engine = open_engine(output, choose_engine("onnx"))
        onnx.checker.check_model(model)
        assert [spec.dtype for spec in (*engine.inputs, *engine.outputs)] == ["float32", "float32"]

    def test_weights_have_one_scale_a_channel(self, golden, tmp_path):
        output = tmp_path / "small.onnx"
        quantize(golden / "cnn.onnx", output, Int8(), batches(images()))

        model = onnx.load(str(output))
        stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        restored = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
        weights = restored[next(node for node in model.graph.node if node.op_type == "Conv").input[1]]

        assert stored[weights.input[0]].dtype == np.int8
        assert stored[weights.input[1]].shape == (4,)

    def test_dynamic_int8_stores_convolutions_in_8_bits_too(self, golden, tmp_path):
        output = tmp_path / "small.onnx"
        quantize(golden / "cnn.onnx", output, DynamicInt8())

        model = onnx.load(str(output))
        floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]
        assert floats == []
        assert "ConvInteger" not in {node.op_type for node in model.graph.node}

    def test_int16_activations_are_16_bits_wide(self, golden, tmp_path):
        output = tmp_path / "small.onnx"
        quantize(golden / "cnn.onnx", output, Int16x8(), batches(images()))

        zeros = [t for t in onnx.load(str(output)).graph.initializer if t.name.endswith("zero_point")]
        assert onnx.TensorProto.INT16 in {t.data_type for t in zeros}

    @pytest.mark.parametrize("scheme", TOLERANCES)
    @pytest.mark.parametrize(("bias", "opset"), [((3,), 17), ((1, 3), 17), ((3,), 21), ((3,), 9)])
    def test_any_opset_and_shape_of_bias(self, tmp_path, scheme, bias, opset):
        source, output = gemm_model(tmp_path / "gemm.onnx", bias, opset), tmp_path / "small.onnx"
        x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)

        quantize(source, output, scheme, [{"x": x}])

        expected = answers(source, x)
        assert np.abs(answers(output, x) - expected).max() <= TOLERANCES[scheme] * np.abs(expected).max()

    @pytest.mark.parametrize("scheme", TOLERANCES)
    @pytest.mark.parametrize("size", [1e-28, 1e-40, 0.0])
    def test_the_bias_of_a_dead_channel_survives(self, tmp_path, scheme, size):
        rng = np.random.default_rng(0)
        weights = rng.normal(size=(3, 2, 3, 3)).astype(np.float32)
        weights[0] *= np.float32(size)
        nodes = [onnx.helper.make_node("Conv", ["x", "w", "b"], ["y"])]
        constants = {"w": weights, "b": np.array([0.5, -1, 2], np.float32)}
        source = onnx_model(tmp_path / "conv.onnx", nodes, constants, shape=["n", 2, 6, 6], outputs=["n", 3, 4, 4])
        x = rng.random((4, 2, 6, 6), np.float32)

        quantize(source, tmp_path / "small.onnx", scheme, [{"x": x}])

        assert answers(tmp_path / "small.onnx", x)[:, 0] == pytest.approx(0.5, abs=0.05)

    def test_weights_that_are_inputs_too_become_constants(self, tmp_path):
        source, output = gemm_model(tmp_path / "gemm.onnx"), tmp_path / "small.onnx"
        model = onnx.load(str(source))
        model.ir_version = 3
        for name, shape in (("w", [4, 3]), ("b", [3])):
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        onnx.save(model, str(source))

        quantize(source, output, Int8(), [{"x": np.eye(4, dtype=np.float32)}])

        assert [entry.name for entry in onnx.load(str(output)).graph.input] == ["x"]

    def test_a_model_with_nothing_to_quantize_is_refused(self, tmp_path):
        node = onnx.helper.make_node("Relu", ["x"], ["y"])
        source = onnx_model(tmp_path / "relu.onnx", [node], {}, shape=["n", 4], outputs=["n", 4])
        for scheme in (Float16(), DynamicInt8()):
            with pytest.raises(RecipeError, match="finds nothing"):
                quantize(source, tmp_path / "small.onnx", scheme)
