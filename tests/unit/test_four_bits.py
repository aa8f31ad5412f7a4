"""Weights in 4 bits beside activations in 8: the answers of the same integers in 8 bits, in half the bytes."""

import copy

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinsmith.convert.equalization.opening import opened
from tinsmith.convert.inspection import inspect_model
from tinsmith.convert.layers.tflite_probe import TfliteProbe
from tinsmith.convert.quantization import DynamicInt8, Int8, Int16x8, Plan, choose_quantizer
from tinsmith.convert.quantization.four_bits import narrowable, pack, unpack
from tinsmith.convert.quantization.grid import FOUR_BITS, Grid
from tinsmith.convert.slimming import slim_file
from tinsmith.runtime.engine_tables import table_of
from tinsmith.runtime.errors import RecipeError

OP = schema.BuiltinOperator
# Without XNNPACK; with it.
BUILT_IN, USUAL = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN
# An odd number of weights among them: half a byte stays empty.
KINDS = {
    "CONV_2D": ((1, 6, 6, 3), (5, 3, 3, 3), 5),
    "DEPTHWISE_CONV_2D": ((1, 6, 6, 3), (1, 3, 3, 3), 3),
    "FULLY_CONNECTED": ((1, 9), (5, 9), 5),
}


def model_of(kind, path, *, shares=0):
    """A float .tflite of one operator x to y, or of more that share its weights."""
    taken, weights, channels = KINDS[kind]
    given = (1, channels) if len(taken) == 2 else (*taken[:3], channels)
    rng, graph, model = np.random.default_rng(4), schema.SubGraphT(), schema.ModelT()
    outputs = ["y", *(f"y{n}" for n in range(shares))]
    names, shapes = ["x", "w", "b", *outputs], [taken, weights, (channels,), *[given] * len(outputs)]
    graph.tensors = [floats(name, shape, at) for at, (name, shape) in enumerate(zip(names, shapes, strict=True), 1)]
    graph.tensors[0].shapeSignature = [-1, *taken[1:]]
    model.buffers = [schema.BufferT() for _ in range(len(names) + 1)]
    for at in (1, 2):
        content = rng.normal(size=shapes[at]).astype(np.float32).tobytes()
        model.buffers[at + 1].data = np.frombuffer(content, np.uint8)
    graph.inputs, graph.outputs = [0], list(range(3, len(names)))
    graph.operators, code = [operator(kind, 3 + n) for n in range(len(outputs))], schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(OP, kind)
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


def with_tensors_apart(path):
    """The same, where operators that share weights have a tensor each, on one buffer."""
    model = flatbuffer_utils.read_model(str(path))
    graph = model.subgraphs[0]
    again = copy.deepcopy(graph.tensors[1])
    again.name = b"w again"
    graph.tensors.append(again)
    graph.operators[1].inputs[1] = len(graph.tensors) - 1
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


def floats(name, shape, buffer):
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name.encode(), list(shape), buffer, schema.TensorType.FLOAT32
    return made


def operator(kind, output):
    made, options = schema.OperatorT(), {"FULLY_CONNECTED": "FullyConnected", "CONV_2D": "Conv2D"}
    named = f"{options.get(kind, 'DepthwiseConv2D')}Options"
    made.opcodeIndex, made.inputs, made.outputs = 0, [0, 1, 2], [output]
    made.builtinOptionsType, made.builtinOptions = getattr(schema.BuiltinOptions, named), getattr(schema, f"{named}T")()
    if kind != "FULLY_CONNECTED":
        made.builtinOptions.strideH = made.builtinOptions.strideW = 1
    return made


def samples(source):
    shape = flatbuffer_utils.read_model(str(source)).subgraphs[0].tensors[0].shape
    return np.random.default_rng(1).normal(size=(12, *shape[1:])).astype(np.float32)


def quantized(source, output, names, scheme=None):
    quantizer, plan = choose_quantizer("tflite"), Plan(scheme=scheme or Int8(), kept=dict.fromkeys(names, "int8x4"))
    (name,) = [t.name.decode() for t in flatbuffer_utils.read_model(str(source)).subgraphs[0].tensors[:1]]
    quantizer.quantize(source, output, plan, quantizer.calibrate(source, [{name: samples(source)}]))
    return output


def answers(path, x, resolver):
    interpreter = Interpreter(str(path), experimental_op_resolver_type=resolver)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def widened(path, output):
    """The same integers in 8 bits."""
    model = flatbuffer_utils.read_model(str(path))
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.INT4:
            packed = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.uint8)
            model.buffers[tensor.buffer].data = unpack(packed, int(np.prod(tensor.shape))).view(np.uint8)
            tensor.type = schema.TensorType.INT8
    output.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return output


def grids(path):
    """Scale, zero point and integers of each tensor by its name, dequantizing operators left out."""
    found = {}
    model = flatbuffer_utils.read_model(str(path))
    for tensor in model.subgraphs[0].tensors:
        if tensor.quantization is not None and tensor.quantization.scale is not None:
            data = model.buffers[tensor.buffer].data
            found[tensor.name.decode()] = (tensor, None if data is None else np.frombuffer(bytes(data), np.uint8))
    return found


@given(hnp.arrays(np.int8, st.integers(0, 9), elements=st.integers(-8, 7)))
def test_what_is_packed_is_found_again(values):
    packed = pack(values)

    assert len(packed) == (len(values) + 1) // 2
    assert (unpack(packed, len(values)) == values).all()


def test_the_first_of_two_is_in_the_lower_half():
    assert list(pack(np.array([1, -2, 7], np.int8))) == [0xE1, 0x07]


@given(hnp.arrays(np.float64, (2, 12), elements=st.floats(-9, 9)))
def test_the_best_scales_cost_no_more_than_those_of_the_largest_and_are_found_again(weights):
    scales = FOUR_BITS.best_scales(weights)
    rounded = FOUR_BITS.place(weights, scales)
    plain = FOUR_BITS.place(weights, FOUR_BITS.scales(weights))

    assert (((rounded - weights) ** 2).sum(-1) <= ((plain - weights) ** 2).sum(-1)).all()
    assert FOUR_BITS.place(rounded, FOUR_BITS.best_scales(rounded)) == pytest.approx(rounded, abs=1e-12)


def test_few_steps_pay_for_cutting_off_the_largest_and_many_do_not():
    weights = np.random.default_rng(0).normal(size=(8, 500))
    ends = tuple(np.linspace(0.4, 1, 13))

    assert (FOUR_BITS.best_scales(weights) < FOUR_BITS.scales(weights)).all()
    eight = Grid(steps=127, ends=ends)
    assert eight.best_scales(weights) == pytest.approx(eight.scales(weights), rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
class TestKernels:
    def test_answers_are_those_of_the_same_integers_in_8_bits(self, tmp_path, kind):
        source = model_of(kind, tmp_path / "m.tflite")
        narrow = quantized(source, tmp_path / "narrow.tflite", ["y"])
        wide, x = widened(narrow, tmp_path / "wide.tflite"), 2 * samples(source)

        assert (answers(narrow, x, BUILT_IN) == answers(wide, x, BUILT_IN)).all()
        assert np.abs(answers(narrow, x, USUAL) - answers(wide, x, USUAL)).max() <= 1.001 * step_of(narrow)

    @pytest.mark.parametrize("resolver", [BUILT_IN, USUAL])
    def test_answers_are_those_of_the_real_numbers_that_the_integers_stand_for(self, tmp_path, kind, resolver):
        source = model_of(kind, tmp_path / "m.tflite")
        narrow, x = quantized(source, tmp_path / "narrow.tflite", ["y"]), samples(source)

        assert np.abs(answers(narrow, x, resolver) - spelled_out(source, narrow, x)).max() <= 1.001 * step_of(narrow)

    def test_half_the_bytes_a_version_that_takes_them_and_the_precision_is_said(self, tmp_path, kind):
        source = model_of(kind, tmp_path / "m.tflite")
        narrow = quantized(source, tmp_path / "narrow.tflite", ["y"])
        (use,) = [use for use in inspect_model(narrow).operators if use.name == kind]
        weights = grids(narrow)["w"][1]

        assert (use.precision, len(weights)) == ("int4", -(-np.prod(KINDS[kind][1]) // 2))
        releases = {release.version: release.newest for release in table_of("litert").releases}
        assert use.version <= releases["2.3.0"][kind]

    def test_what_slim_makes_of_it_answers_alike(self, tmp_path, kind):
        source = model_of(kind, tmp_path / "m.tflite")
        narrow, x = quantized(source, tmp_path / "narrow.tflite", ["y"]), samples(source)
        (tmp_path / "slim.tflite").write_bytes(slim_file(narrow).content)

        assert (answers(tmp_path / "slim.tflite", x, USUAL) == answers(narrow, x, USUAL)).all()

    def test_what_looks_at_layers_finds_the_reach_of_the_weights(self, tmp_path, kind):
        source = model_of(kind, tmp_path / "m.tflite")
        reaches, scales = TfliteProbe(quantized(source, tmp_path / "narrow.tflite", ["y"])).weights("y")
        exact, _ = TfliteProbe(source).weights("y")

        assert scales == len(exact)
        assert (reaches <= exact * 1.001).all()
        assert (reaches >= 0.4 * exact).all()

    def test_operators_that_share_weights_are_named_together(self, tmp_path, kind):
        source = model_of(kind, tmp_path / "m.tflite", shares=1)
        with pytest.raises(RecipeError, match="are another operator's too"):
            quantized(source, tmp_path / "narrow.tflite", ["y"])

        assert narrowable(source) == ("y", "y0")
        both = inspect_model(quantized(source, tmp_path / "narrow.tflite", ["y", "y0"])).operators
        assert [(use.count, use.precision) for use in both if use.name == kind] == [(2, "int4")]

    def test_tensors_that_share_weights_are_packed_once(self, tmp_path, kind):
        source = with_tensors_apart(model_of(kind, tmp_path / "m.tflite", shares=1))
        assert narrowable(source) == ("y", "y0")

        narrow = Interpreter(str(quantized(source, tmp_path / "narrow.tflite", ["y", "y0"])))
        narrow.allocate_tensors()
        narrow.invoke()

        y, again = (narrow.get_tensor(one["index"]) for one in narrow.get_output_details())
        np.testing.assert_array_equal(y, again)


def step_of(path):
    return float(grids(path)["y"][0].quantization.scale[0])


def spelled_out(source, narrow, x):
    """With what the quantized file holds, in float64."""
    found = grids(narrow)
    with opened(source) as file:
        (layer,) = file.graph().layers
    (weights, packed), (given, _), (bias, offsets) = (found[name] for name in ("w", "x_quantized", "b"))
    axis = int(weights.quantization.quantizedDimension)
    along = [-1 if n == axis else 1 for n in range(layer.weights.ndim)]
    real = unpack(packed, layer.weights.size).reshape(layer.weights.shape) * weights.quantization.scale.reshape(along)
    step, point = given.quantization.scale[0], given.quantization.zeroPoint[0]
    seen = (np.clip(np.rint(x / step) + point, -128, 127) - point) * step
    rows = layer.window.rows(seen, layer.weights.shape, layer.groups)
    sums = rows @ layer.window.matrices(real, layer.groups).transpose(0, 2, 1)
    shape = (*x.shape[:-1], layer.channels)
    added = offsets.view(np.int32) * bias.quantization.scale
    return clipped(np.concatenate(list(sums), axis=-1).reshape(shape) + added, found["y"][0].quantization)


def clipped(values, quantization):
    """To what the output's grid reaches."""
    step, point = quantization.scale[0], quantization.zeroPoint[0]
    return np.clip(values, (-128 - point) * step, (127 - point) * step)


class TestRefusals:
    def test_an_operator_without_such_a_kernel(self, golden, tmp_path):
        with opened(golden / "cnn.tflite") as file:
            names = {layer.name for layer in file.graph().layers}
        graph = flatbuffer_utils.read_model(str(golden / "cnn.tflite")).subgraphs[0]
        others = [graph.tensors[o.outputs[0]].name.decode() for o in graph.operators]
        (name, *_) = [name for name in others if name not in names]
        assert set(narrowable(golden / "cnn.tflite")) == names
        with pytest.raises(RecipeError, match="no kernel takes weights in 4 bits"):
            quantized(golden / "cnn.tflite", tmp_path / "x.tflite", [name])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("scheme", [DynamicInt8(), Int16x8()])
    def test_a_scheme_without_activations_in_8_bits(self, scheme):
        with pytest.raises(RecipeError, match="int8x4 go with the scheme int8"):
            choose_quantizer("tflite").check(Plan(scheme=scheme, kept={"y": "int8x4"}))

    @pytest.mark.parametrize(("target", "engine"), [("onnx", None), ("tflite", "tflite-converter")])
    def test_a_tool_that_has_no_such_weights(self, target, engine):
        with pytest.raises(RecipeError, match="no weights in 4 bits beside activations in 8"):
            choose_quantizer(target, engine).check(Plan(scheme=Int8(), kept={"y": "int8x4"}))
