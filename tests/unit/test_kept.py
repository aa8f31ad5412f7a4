import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from tinsmith.convert.equalization.opening import opened
from tinsmith.convert.quantization import DynamicInt8, Float16, Int8, Plan, choose_quantizer
from tinsmith.runtime.engines import choose_engine, open_engine
from tinsmith.runtime.errors import RecipeError
from tinsmith.runtime.session import Session

onnx = pytest.importorskip("onnx")

FLOAT32 = 0
_ONNX_TYPES = {2: "uint8", 3: "int8", 5: "int16"}


def images(seed=0):
    return np.random.default_rng(seed).random((16, 8, 8, 1), np.float32)


def answers(path, x):
    session = Session(open_engine(path, choose_engine(path.suffix[1:])))
    (output,) = session.run({session.inputs[0].name: x}).values()
    session.close()
    return output


def layers_of(path):
    with opened(path) as file:
        return [layer.name for layer in file.graph().layers]


def quantized(source, output, kept, scheme=None):
    quantizer, scheme = choose_quantizer(source.suffix[1:]), scheme or Int8()
    plan = Plan(scheme=scheme, kept=kept)
    quantizer.check(plan)
    quantizer.quantize(source, output, plan, quantizer.calibrate(source, [{"image": images()}]))
    return types_of_layers(output)


def types_of_layers(path):
    """For each convolution and dense layer the type of the numbers that go in, and that of its weights."""
    return _tflite_types(path) if path.suffix == ".tflite" else _onnx_types(path)


def _tflite_types(path):
    model = flatbuffer_utils.read_model(str(path))
    graph, names = model.subgraphs[0], {0: "float32", 9: "int8", 7: "int16"}
    layers = [o for o in graph.operators if model.operatorCodes[o.opcodeIndex].builtinCode in (3, 9)]
    return [tuple(names[graph.tensors[index].type] for index in layer.inputs[:2]) for layer in layers]


def _onnx_types(path):
    graph = onnx.load(str(path)).graph
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    restored = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}

    def type_of(name):
        node = restored.get(name)
        return "float32" if node is None else _ONNX_TYPES[stored[node.input[2]]]

    return [tuple(map(type_of, node.input[:2])) for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
class TestKept:
    def eight(self, suffix):
        return ("int8" if suffix == "tflite" else "uint8", "int8")

    def test_nothing_kept_is_all_in_8_bits(self, golden, tmp_path, suffix):
        assert quantized(golden / f"cnn.{suffix}", tmp_path / f"small.{suffix}", {}) == [self.eight(suffix)] * 2

    @pytest.mark.parametrize("at", [0, 1])
    def test_an_operator_kept_in_float32_has_its_own_weights(self, golden, tmp_path, suffix, at):
        source, output = golden / f"cnn.{suffix}", tmp_path / f"small.{suffix}"
        found = quantized(source, output, {layers_of(source)[at]: "float32"})

        assert found[at][1] == "float32"
        assert found[1 - at] == self.eight(suffix)

    @pytest.mark.parametrize("at", [0, 1])
    def test_an_operator_kept_in_int16x8_reads_16_bits(self, golden, tmp_path, suffix, at):
        source, output = golden / f"cnn.{suffix}", tmp_path / f"small.{suffix}"
        found = quantized(source, output, {layers_of(source)[at]: "int16x8"})

        assert found[at] == ("int16", "int8")
        assert found[1 - at] == self.eight(suffix)
        assert np.isfinite(answers(output, images(1))).all()

    def test_the_more_is_kept_the_nearer_are_the_answers(self, golden, tmp_path, suffix):
        source, output = golden / f"cnn.{suffix}", tmp_path / f"small.{suffix}"
        expected, errors = answers(source, images(1)), []
        for kept in (
            {},
            dict.fromkeys(operators_of(source), "int16x8"),
            dict.fromkeys(operators_of(source), "float32"),
        ):
            if set(kept.values()) == {"float32"}:
                kept.pop(next(iter(kept)))  # else there is nothing left to quantize
            quantized(source, output, kept)
            errors.append(float(np.abs(answers(output, images(1)) - expected).mean()))

        assert errors[2] < errors[0]
        assert errors[1] < errors[0]

    @pytest.mark.parametrize("scheme", [DynamicInt8(), Float16()])
    def test_float32_is_kept_in_schemes_without_ranges_too(self, golden, tmp_path, suffix, scheme):
        source, output = golden / f"cnn.{suffix}", tmp_path / f"small.{suffix}"
        sizes = []
        for kept in ({}, {layers_of(source)[0]: "float32"}):
            choose_quantizer(suffix).quantize(source, output, Plan(scheme=scheme, kept=kept))
            sizes.append(float_weights(output))

        assert sizes[1] - sizes[0] >= 4 * 8  # of 36 weights, less 4 scales

    @pytest.mark.parametrize("scheme", [DynamicInt8(), Float16()])
    def test_int16x8_needs_a_scheme_with_ranges(self, golden, suffix, scheme):
        plan = Plan(scheme=scheme, kept={layers_of(golden / f"cnn.{suffix}")[0]: "int16x8"})
        with pytest.raises(RecipeError, match="observes no ranges"):
            choose_quantizer(suffix).check(plan)

    @pytest.mark.parametrize("scheme", [Int8(), DynamicInt8(), Float16()])
    def test_an_unknown_name_is_refused_with_those_near_to_it(self, golden, tmp_path, suffix, scheme):
        source = golden / f"cnn.{suffix}"
        name = layers_of(source)[0]
        with pytest.raises(RecipeError, match="can't be kept as it is") as caught:
            quantized(source, tmp_path / "small", {name[:-1]: "float32"}, scheme)

        assert name in caught.value.hint
        assert list(tmp_path.iterdir()) == []


def operators_of(path):
    """By the first tensor that each computes."""
    if path.suffix == ".onnx":
        return layers_of(path)
    graph = flatbuffer_utils.read_model(str(path)).subgraphs[0]
    return [graph.tensors[operator.outputs[0]].name.decode() for operator in graph.operators]


def float_weights(path):
    """How many numbers a file stores in float32."""
    if path.suffix == ".onnx":
        tensors = onnx.load(str(path)).graph.initializer
        return sum(int(np.prod(t.dims)) for t in tensors if t.data_type == onnx.TensorProto.FLOAT)
    model = flatbuffer_utils.read_model(str(path))
    stored = [t for t in model.subgraphs[0].tensors if t.type == FLOAT32 and model.buffers[t.buffer].data is not None]
    return sum(int(np.prod(t.shape)) for t in stored)


def test_an_activation_of_an_onnx_model_is_kept_with_the_layer_in_front_of_it(golden, tmp_path):
    model = onnx.load(str(golden / "cnn.onnx"))
    (relu,) = [node for node in model.graph.node if node.op_type == "Relu"]

    kept = quantized(golden / "cnn.onnx", tmp_path / "small.onnx", {relu.output[0]: "float32"})
    plain = quantized(golden / "cnn.onnx", tmp_path / "small.onnx", {})

    assert kept[0] == ("float32", "float32") != plain[0]
    assert kept[1:] == plain[1:]
